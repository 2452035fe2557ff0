# SPDX-License-Identifier: GPL-2.0
"""Style checks of the series: rustfmt, clippy, checkpatch."""

import re
from concurrent import futures

from . import say
from .cache import key
from .ktap import Result

# New files of drivers/xen, rust/ and so on fall under entries that
# MAINTAINERS has: checkpatch asks about every new file. What is exported in C
# and stands in Rust cannot follow its function. Devices that only the machines
# of the tests have are not described as hardware. A packaged source has no
# history in which the commits of Fixes tags could be looked up.
IGNORED = ("FILE_PATH_CHANGES,EXPORT_SYMBOL,UNDOCUMENTED_DT_STRING,"
           "UNKNOWN_COMMIT_ID")

# Names in the kernel that codespell takes for mistakes.
SPELLED_SO = "filp"


# Where arguments from C, memory and grants become types. All other files of
# drivers/xen are logic, and have no unsafe code.
BOUNDARY = """
    drivers/xen/grant_dma_alloc.rs drivers/xen/grant_dma_alloc/ram.rs
    drivers/xen/grant_dma_ops/cache.rs drivers/xen/grant_dma_ops/list.rs
    drivers/xen/grant_dma_ops/memory.rs drivers/xen/grant_dma_ops/owner.rs
    drivers/xen/grant_dma_ops/xen_grant_dma.rs
    drivers/xen/unpopulated/chunk.rs drivers/xen/unpopulated/glue.rs
    drivers/xen/unpopulated/xen_unpopulated.rs
""".split()


def count_unsafe(text):
    """How many blocks, functions and implementations are unsafe."""
    code = re.sub(r"//[^\n]*", "", text)
    return len(re.findall(r"\bunsafe\s+(?:fn|impl|extern)\b|\bunsafe\s*\{",
                          code))


def lasting(mail):
    """A mail without what changes each time it is made."""
    return re.sub(r"^(From [0-9a-f]{40} |Date: |base-commit: ).*\n", "", mail,
                  flags=re.MULTILINE)


class Checks:
    """The checks of one tree."""

    def __init__(self, bench):
        self.bench = bench
        self.tree = bench.tree
        self.dir = bench.tree.work / "checks"
        self.logs = bench.settings.logs

    def rust_files(self):
        """Our .rs files, and upstream's that a patch edits."""
        names = [name for patch in self.tree.patches
                 for name in patch.new_files + patch.edits()]
        return sorted({name for name in names if name.endswith(".rs")
                       and (self.tree.path / name).exists()})

    def unsafe_code(self):
        """One test for each file of logic, and what there is in each file."""
        result, table = Result(), {}
        ours = {name for patch in self.tree.patches
                for name in patch.new_files}
        for name in self.rust_files():
            if name not in ours or name.startswith("tools/"):
                continue
            text = (self.tree.path / name).read_text()
            table[name] = {"lines": text.count("\n"),
                           "unsafe": count_unsafe(text)}
            if name.startswith("drivers/xen/") and name not in BOUNDARY:
                self._count(result, not table[name]["unsafe"],
                            f"unsafe code in logic: {name}")
        return result, table

    def rustfmt(self):
        """One test for each file."""
        result = Result()
        log = self.logs / "rustfmt.log"
        with say.step("rustfmt"):
            for name in self.rust_files():
                status = self.bench.toolchain.run(
                    ["sh", "-c", 'rustfmt --edition 2021 <"$0" | '
                     'diff -u "$0" -', name], log, "", check=False,
                    cwd=self.tree.path, append=True)
                self._count(result, status == 0,
                            f"rustfmt: {name} (log: {log})")
        return result

    @staticmethod
    def _count(result, good, text):
        if good:
            result.passed += 1
        else:
            result.failed += 1
            result.failures.append(text)

    def clippy(self, kernel):
        """From the log of a build with CLIPPY=1: one test for each file.

        Make does not compile again what has not changed, so a file with a
        warning is made to look newer, to be warned about next time too. A
        kernel that did not have to be built had no warnings.
        """
        result = Result()
        log = kernel.log
        text = log.read_text(errors="replace") if log.exists() else ""
        warned = {}
        for match in re.finditer(
                r"^(?:warning|error)[^\n]*\n(?:[^\n]*\n)??\s*--> ([^\s:]+)",
                text, re.MULTILINE):
            name = match[1].removeprefix(f"{self.tree.path}/")
            warned.setdefault(name.removeprefix("./"),
                              match[0].split("\n")[0])
        for name in self.rust_files():
            if name in warned:
                (self.tree.path / name).touch()
                kernel.forget()
            self._count(result, name not in warned,
                        f"clippy: {name}: {warned.get(name)} "
                        f"(log: {log})")
        return result

    def clippy_backend(self, kernel):
        """The backend of disks: one test, where there is what it needs."""
        result = Result()
        log = self.logs / "clippy-backend.log"
        folder = (kernel.dir / "farm/tools/testing/selftests/xen/backend")
        with say.step("clippy, the backend of disks"):
            status = self.bench.toolchain.run(
                ["cargo", "clippy", "--offline", "--release", "--", "-D",
                 "warnings"], log, "", cwd=folder, check=False,
                env={"CARGO_TARGET_DIR": self.bench.cargo}, timeout=1800)
        self._count(result, status == 0, f"clippy: the backend (log: {log})")
        return result

    def checkpatch(self, mails):
        """One test for each mail of the series.

        A mail that was good is not looked at again until it changes.
        """
        result = Result()
        self.dir.mkdir(parents=True, exist_ok=True)
        script = (self.tree.path / "scripts/checkpatch.pl").read_text()

        def good(mail):
            text = mail.read_text(encoding="utf-8")
            passed = self.dir / f"good-{key(lasting(text), script, IGNORED)}"
            if passed.exists():
                return True
            path = self.dir / mail.name
            path.write_text(text, encoding="utf-8")
            # checkpatch's own --codespell takes minutes for a long patch.
            commands = [["codespell", "-L", SPELLED_SO]]
            if not mail.name.startswith("0000-"):
                commands.append(
                    ["perl", "scripts/checkpatch.pl", "--strict",
                     "--no-summary", "--color=never", "--ignore", IGNORED])
            log = self._mail_log(mail)
            log.unlink(missing_ok=True)
            status = [self.bench.toolchain.run(
                command + [path], log, "", check=False, cwd=self.tree.path,
                append=True) for command in commands]
            if not any(status):
                passed.touch()
            return not any(status)

        with say.step("checkpatch --strict and codespell"), \
                futures.ThreadPoolExecutor(self.bench.settings.jobs) as pool:
            for mail, fine in zip(mails, pool.map(good, mails)):
                self._count(result, fine, f"checkpatch: {mail.name}"
                            f" (log: {self._mail_log(mail)})")
        return result

    def _mail_log(self, mail):
        return self.logs / f"checkpatch-{mail.stem}.log"

    def bare_commands(self):
        """The commands that people use in their own tree, as far as to the
        configuration: the fragments have to take."""
        result = Result()
        log = self.logs / "bare-commands.log"
        log.unlink(missing_ok=True)
        commands = {
            "make defconfig xen.config xen-rust.config":
                'make -s LLVM=1 ARCH=arm64 O="$O" defconfig xen.config '
                'xen-rust.config && grep -q '
                '"^CONFIG_XEN_UNPOPULATED_ALLOC_RUST=y" "$O/.config"',
            "kunit.py config --kunitconfig=drivers/xen":
                './tools/testing/kunit/kunit.py config --arch=arm64 '
                '--make_options LLVM=1 --build_dir "$O" '
                '--kunitconfig=drivers/xen',
        }
        with say.step("the in-tree commands of the README"):
            for number, (name, script) in enumerate(commands.items()):
                build = self.dir / f"bare-{number}"
                build.mkdir(parents=True, exist_ok=True)
                status = self.bench.toolchain.run(
                    ["sh", "-ec", script], log, "", check=False,
                    cwd=self.tree.path, append=True, env={"O": build})
                self._count(result, status == 0, f"{name} (log: {log})")
        return result
