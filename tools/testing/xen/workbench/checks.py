# SPDX-License-Identifier: GPL-2.0
"""Style checks of the series: rustfmt, clippy, checkpatch."""

import re
from concurrent import futures

from . import proc, say
from .cache import key
from .ktap import Result

# New files of drivers/xen, rust/ and so on fall under entries that
# MAINTAINERS has: checkpatch asks about every new file. What is exported in C
# and stands in Rust cannot follow its function. Devices that only the machines
# of the tests have are not described as hardware.
IGNORED = "FILE_PATH_CHANGES,EXPORT_SYMBOL,UNDOCUMENTED_DT_STRING"

# Names in the kernel that codespell takes for mistakes.
SPELLED_SO = "filp"


def new_file_diff(name, text, mode="100644"):
    """A file as the diff that adds it."""
    lines = text.split("\n")
    ended = lines[-1] == ""
    if ended:
        lines.pop()
    diff = (f"diff --git a/{name} b/{name}\nnew file mode {mode}\n"
            "index 000000000000..111111111111\n--- /dev/null\n"
            f"+++ b/{name}\n@@ -0,0 +1,{len(lines)} @@\n")
    diff += "".join(f"+{text}\n" for text in lines)
    return diff if ended else diff + "\\ No newline at end of file\n"


def as_sent(patch, repo, number, total, author):
    """A patch of the series as the mail that it would be."""
    subject, body = patch.message()
    if "Signed-off-by:" not in body:
        body += f"\n\nSigned-off-by: {author}"
    diff = patch.diff()
    for name in patch.new_files:
        path = repo / name
        mode = "100755" if path.stat().st_mode & 0o111 else "100644"
        diff += ("" if not diff or diff.endswith("\n") else "\n")
        diff += new_file_diff(name, path.read_text(encoding="utf-8"), mode)
    return (f"From 0123456789012345678901234567890123456789 Mon Sep 17 "
            f"00:00:00 2001\nFrom: {author}\nDate: Mon, 1 Jan 2024 12:00:00 "
            f"+0000\nSubject: [PATCH {number}/{total}] {subject}\n\n"
            f"{body.strip()}\n---\n\n{diff}-- \n2.47.0\n")


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

    def checkpatch(self):
        """One test for each patch, as it would be sent.

        A patch that was good is not looked at again until it changes.
        """
        result = Result()
        self.dir.mkdir(parents=True, exist_ok=True)
        author = self._author()
        patches = self.tree.patches
        script = (self.tree.path / "scripts/checkpatch.pl").read_text()

        def good(numbered):
            number, patch = numbered
            text = as_sent(patch, self.tree.repo, number, len(patches),
                           author)
            passed = self.dir / f"good-{key(text, script, IGNORED)}"
            if passed.exists():
                return True
            path = self.dir / patch.name
            path.write_text(text, encoding="utf-8")
            # checkpatch's own --codespell takes minutes for a long patch.
            status = [self.bench.toolchain.run(
                command + [path], self._patch_log(patch), "", check=False,
                cwd=self.tree.path, append=append)
                for command, append in (
                    (["perl", "scripts/checkpatch.pl", "--strict",
                      "--no-summary", "--color=never", "--ignore", IGNORED],
                     False),
                    (["codespell", "-L", SPELLED_SO], True))]
            if not any(status):
                passed.touch()
            return not any(status)

        with say.step("checkpatch --strict"), \
                futures.ThreadPoolExecutor(self.bench.settings.jobs) as pool:
            for patch, fine in zip(patches, pool.map(
                    good, enumerate(patches, 1))):
                self._count(result, fine, f"checkpatch: patches/{patch.name}"
                            f" (log: {self._patch_log(patch)})")
        return result

    def _patch_log(self, patch):
        return self.logs / f"checkpatch-{patch.name}.log"

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

    def _author(self):
        listed = proc.output(["git", "-C", self.tree.repo, "log", "-1",
                              "--format=%an <%ae>"])
        return (listed or "").strip() or "A U Thor <author@example.com>"
