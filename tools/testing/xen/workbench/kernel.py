# SPDX-License-Identifier: GPL-2.0
"""Kernels: configuration, build, and the selftests that belong to each.

The C and the Rust kernel have one configuration but for the switches. The C
kernel is built first; the Rust kernel's object tree begins as a copy of it,
so that only what the switches reach is built twice.
"""

import re

from . import cache, say
from .errors import Failure

MAKE = ["make", "LLVM=1", "ARCH=arm64"]
SWITCHES = ("XEN_UNPOPULATED_ALLOC_RUST", "XEN_GRANT_DMA_ALLOC_RUST",
            "XEN_GRANT_DMA_OPS_RUST")


def parse_config(text):
    """Option -> value ('n' for `is not set`) of a configuration."""
    values = {}
    for raw in text.splitlines():
        match = re.match(r"CONFIG_(\w+)=(.*)$", raw)
        if match:
            values[match[1]] = match[2]
            continue
        match = re.match(r"# CONFIG_(\w+) is not set$", raw)
        if match:
            values[match[1]] = "n"
    return values


def not_taken(wanted, got):
    """The options that kconfig did not set as they were asked for."""
    return sorted(name for name, value in wanted.items()
                  if got.get(name, "n") != value)


class Kernel:
    """One kernel: a name, a configuration, an object tree."""

    def __init__(self, bench, name, fragments, options, seed=None,
                 make=()):
        self.bench = bench
        self.name = name
        self.fragments = fragments
        self.options = options
        self.seed = seed
        self.make = make
        self.dir = bench.tree.work / name
        self.obj = self.dir / "build"
        self.image = self.obj / "arch/arm64/boot/Image"
        self.install = self.dir / "kselftest"
        self.initrd = self.dir / "initrd.gz"
        self.stamp = self.dir / "built"
        self.log = bench.settings.logs / f"build-{name}.log"

    # Configuration ----------------------------------------------------

    def wanted(self):
        """What the configuration is asked to be, and its text."""
        text = ""
        for fragment in self.fragments:
            text += fragment.read_text()
        for option, value in self.options.items():
            text += (f"# CONFIG_{option} is not set\n" if value == "n"
                     else f"CONFIG_{option}={value}\n")
        return text

    def config(self):
        """The configuration as built."""
        try:
            return parse_config((self.obj / ".config").read_text())
        except OSError:
            return {}

    def _is_configured(self):
        """Whether the configuration was made from what is wanted now."""
        stamp = self.dir / "config.wanted"
        return (stamp.exists() and (self.obj / ".config").exists()
                and stamp.read_text()
                == self.wanted() + self.bench.kconfig_state())

    def _configure(self):
        """tinyconfig and what is wanted on top; only when that changed."""
        if self._is_configured():
            return
        text = self.wanted()
        stamp = self.dir / "config.wanted"
        stamp.unlink(missing_ok=True)
        # Test modules are not built anew for another configuration.
        cache.remove(self.dir / "farm")
        fragment = self.dir / "fragment.config"
        fragment.write_text(text)
        script = """
            cp "$FRAGMENT" "$O/.fragment"
            make -s LLVM=1 ARCH=arm64 "$@" O="$O" tinyconfig
            ./scripts/kconfig/merge_config.sh -m -O "$O" "$O/.config" \
                "$O/.fragment" >"$O/.merge" 2>&1
            make -s LLVM=1 ARCH=arm64 "$@" O="$O" olddefconfig
        """
        self._inside(["sh", "-ec", script, "configure", *self.make],
                     f"configure the {self.name} kernel",
                     env={"FRAGMENT": fragment, "O": self.obj})
        missing = not_taken(parse_config(text), self.config())
        if missing:
            raise Failure(
                f"the {self.name} kernel's configuration does not take "
                + ", ".join(f"CONFIG_{name}" for name in missing),
                "see what they depend on in the tree's Kconfig files")
        if self.config().get("RUST") != "y":
            raise Failure("the toolchain cannot build Rust for this kernel",
                          "see `make rustavailable`", self.log)
        stamp.write_text(text + self.bench.kconfig_state())

    # Building ---------------------------------------------------------

    def build(self):
        """Build the kernel, its selftests and its initramfs."""
        self.dir.mkdir(parents=True, exist_ok=True)
        stamp = self.stamp
        state = self._state()
        if state and stamp.exists() and stamp.read_text() == state:
            return
        stamp.unlink(missing_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        self._begin()
        with say.step(f"building the {self.name} kernel") as note:
            self.bench.settings.cache.need_space(2, "a kernel build")
            self._require_switches()
            self._configure()
            jobs = f"-j{self.bench.settings.jobs}"
            self._inside([*MAKE, *self.make, jobs, f"O={self.obj}", "Image",
                          "modules", "headers"],
                         f"build the {self.name} kernel", note=note)
            self._selftests(note)
        if state:
            stamp.write_text(state)

    def compile_with(self, flags, objects):
        """Compile some objects of a built kernel anew; return (status, what
        was said)."""
        self.forget()
        start = self.log.stat().st_size if self.log.exists() else 0
        jobs = f"-j{self.bench.settings.jobs}"
        status = self._inside([*MAKE, *self.make, "-k", jobs, *flags,
                               f"O={self.obj}", *objects], "", check=False)
        text = self.log.read_bytes()[start:].decode(errors="replace")
        return status, text

    def forget(self):
        """Have make look at everything again next time."""
        self.stamp.unlink(missing_ok=True)

    def _state(self):
        """What it is made from, in short; None: make has to look."""
        state = self.bench.state()
        return state and f"{state}\n{self.make}\n{self.wanted()}"

    def _require_switches(self):
        """Say it plainly when the tree has no such switch at all."""
        text = ""
        for path in (self.bench.tree.path / "drivers/xen").glob("Kconfig*"):
            text += path.read_text()
        for name, value in self.options.items():
            if (value == "y" and name in SWITCHES
                    and not re.search(rf"^config {name}$", text, re.M)):
                raise Failure(f"the tree has no option {name}: the Rust "
                              "kernel is not there yet",
                              "build the C kernel alone with IMPL=c")

    def _begin(self):
        """Begin the object tree as a copy of another kernel's.

        Also when the configuration is a new one: nearly all would be compiled
        again, and the other kernel has most of it.
        """
        if self.obj.exists() and (self.seed is None or self._is_configured()):
            return
        if self.seed is None or not self.seed.image.exists():
            self.obj.mkdir(exist_ok=True)
            return
        # So that half a tree is not taken for one, if this is cut short.
        (self.dir / "config.wanted").unlink(missing_ok=True)
        cache.remove(self.obj)
        beside = self.dir / "build.making"
        cache.remove(beside)
        with say.step(f"copying the {self.seed.name} kernel's objects"):
            self.bench.toolchain.run(
                ["cp", "-a", self.seed.obj, beside], self.log,
                "copy an object tree")
            # The copy's own selftests are made anew.
            cache.remove(beside / "kselftest")
            beside.rename(self.obj)

    def _selftests(self, note):
        """Build the kselftests for this kernel and pack its initramfs.

        The test module is built inside the source folder by kselftest's
        rules, so each kernel gets its own copy of tools/testing/selftests.
        """
        tree = self.bench.tree.path
        has_tests = (tree / "tools/testing/selftests/xen/Makefile").exists()
        farm = self.dir / "farm"
        script = r"""
            link() { # link every entry of $1/$2 into the farm, but $3
                mkdir -p "$FARM/$2"
                for entry in "$1/$2"/* "$1/$2"/.[!.]*; do
                    [ -e "$entry" ] || continue
                    [ "${entry##*/}" = "$3" ] ||
                        ln -sfn "$entry" "$FARM/$2/${entry##*/}"
                done
            }
            link "$TREE" . tools
            link "$TREE" tools testing
            link "$TREE" tools/testing selftests
            to=$FARM/tools/testing/selftests
            mkdir -p "$to"
            from=$TREE/tools/testing/selftests
            rsync -a --exclude='*/' "$from/" "$to/"
            rsync -a "$from/kselftest" "$to/"
            rsync -a --delete --exclude='*.o' --exclude='*.ko' \
                --exclude='.*.cmd' --exclude='*.mod' --exclude='*.mod.c' \
                --exclude=Module.symvers --exclude=modules.order \
                "$from/xen" "$to/"
            # What an interrupt cut short looks finished to kselftest's rules.
            rm -rf "$INSTALL.making" "$OBJ/kselftest"
            make -C "$to" TARGETS=xen LLVM=1 ARCH=arm64 "$@" FORCE_TARGETS=1 \
                CROSS_COMPILE=aarch64-linux-gnu- O="$OBJ" KDIR="$OBJ" \
                KSFT_INSTALL_PATH="$INSTALL.making" install
            rm -rf "$INSTALL"
            mv "$INSTALL.making" "$INSTALL"
        """
        env = {"FARM": farm, "TREE": tree, "OBJ": self.obj,
               "INSTALL": self.install,
               "CARGO_TARGET_DIR": self.bench.cargo}
        tests = []
        if has_tests:
            self._inside(["sh", "-ec", script, "selftests", *self.make],
                         f"build the selftests of the {self.name} kernel",
                         env=env, note=note)
            tests = ["-s", self.install]
        harness = self.bench.harness
        self._inside([harness / "mkinitramfs.sh", "-b",
                      self.bench.hypervisor.busybox, "-f",
                      self.bench.hypervisor.e2fsck, "-o", self.initrd,
                      *tests], "make the initramfs", note=note)

    def _inside(self, argv, what, note=None, env=None, check=True):
        return self.bench.toolchain.run(
            argv, self.log, what, cwd=self.bench.tree.path, append=True,
            note=note, env=env, check=check, timeout=7200)

    def release(self):
        """The kernel's release, as it says itself."""
        path = self.obj / "include/config/kernel.release"
        return path.read_text().strip() if path.exists() else "unknown"
