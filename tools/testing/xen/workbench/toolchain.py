# SPDX-License-Identifier: GPL-2.0
"""The toolchain: a Debian root in the cache, and running programs in it.

Nothing of the host's tools is used to build or to boot, so that everybody's
result comes from the same compilers and the same QEMU. A program in the root
runs in a mount namespace of its own: its mounts vanish with it.
"""

import os
import pathlib
import shutil

from . import cache, proc, say
from .errors import Failure

SUITE = "trixie"
BACKPORTS = "trixie-backports"
FROM_BACKPORTS = """
    rustc rust-src rustfmt rust-clippy libelf-dev cargo
    libstd-rust-dev:arm64
""".split()
# QEMU is the suite's own: under 11.1 guests stand still at times, with a CPU asleep
# in the WFE of a spinlock of Xen.
PACKAGES = """
    qemu-system-arm bindgen clang lld llvm gcc libc6-dev
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross make flex bison bc perl
    python3 pkg-config libssl-dev libncurses-dev xz-utils cpio rsync patch
    git kmod device-tree-compiler codespell sparse dpkg-dev
    librust-vm-memory+xen-dev librust-virtio-queue-dev
    librust-virtio-bindings-dev librust-vmm-sys-util-dev librust-libc-dev
""".split()
# The oldest Rust that Linux takes is the suite's own.
OLDEST_RUST = ("rustc", "libstd-rust-dev", "libstd-rust-1.85", "rust-src")
RUSTC = """\
#!/bin/sh
usr=${0%/*}/usr
export LD_LIBRARY_PATH="$usr/lib/x86_64-linux-gnu"
exec "$usr/bin/rustc" "$@"
"""
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# Runs inside the new mount namespace: $1 is the root, then rw:PATH and
# ro:PATH until --, then the command. A folder is seen at the same path
# inside as outside, so that messages name files that exist.
ENTER = r"""
set -e
root=$1; shift
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
while [ "$1" != -- ]; do
    path=${1#*:}
    if [ -d "$path" ]; then mkdir -p "$root$path"
    else mkdir -p "$root${path%/*}"; : >"$root$path"; fi
    mount --bind "$path" "$root$path"
    # A user namespace may not change a mount that it did not make itself;
    # nothing in here writes to such a folder anyway.
    case $1 in
    ro:*) mount -o remount,bind,ro "$root$path" 2>/dev/null || : ;;
    esac
    shift
done
shift
cd "$root"
exec chroot "$root" /usr/bin/env -i "$@"
"""

# What apt's own configuration dump has in it that is no setting of the
# host's, or is ours to decide.
ACQUIRE_OWN = ("IndexTargets", "Changelogs", "cdrom", "CompressionTypes",
               "Languages", "GzipIndexes")


def acquire_settings(dump):
    """From `apt-config dump Acquire`: the host's own settings, as a file.

    Proxies, retries and date checks that the host's apt needs to reach its
    mirror are needed by the root's apt just the same.
    """
    kept = []
    for text in dump.splitlines():
        name, _, value = text.partition(" ")
        parts = name.split("::")
        if (len(parts) < 2 or parts[0] != "Acquire"
                or parts[1] in ACQUIRE_OWN or value == '"";'):
            continue
        kept.append(text)
    return "".join(text + "\n" for text in kept)


def pick_mirror(targets):
    """The first mirror of Debian proper among the host's apt sources."""
    for text in targets.splitlines():
        site, _, label = text.strip().partition(" ")
        if label == "Debian" or (
                not label and "security" not in site and "debian" in site):
            return site
    return None


class Toolchain:
    """The root, built on first use."""

    def __init__(self, settings):
        self.cache = settings.cache
        self.log = settings.logs
        self.key = cache.key(SUITE, *FROM_BACKPORTS, *PACKAGES, "1")
        self.root = self.cache.path / f"toolchain-{self.key}"

    # Entering ---------------------------------------------------------

    def _namespace(self):
        argv = ["unshare", "--mount"]
        if os.geteuid() != 0:
            argv += ["--user", "--map-root-user", "--map-auto"]
        return argv

    def command(self, argv, *, root=None, cwd=None, read=(), write=(),
                env=None):
        """The command line that runs argv in the root."""
        root = root or self.root
        binds = [f"rw:{self.cache.path}"]
        binds += [f"rw:{path}" for path in write]
        binds += [f"ro:{path}" for path in read]
        names = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8",
                 "TERM": os.environ.get("TERM", "dumb"),
                 "DEBIAN_FRONTEND": "noninteractive"}
        for name in ("http_proxy", "https_proxy", "no_proxy"):
            if name in os.environ:
                names[name] = os.environ[name]
        names.update(env or {})
        argv = [str(arg) for arg in argv]
        if cwd:
            argv = ["sh", "-c", 'cd "$0" && exec "$@"', str(cwd), *argv]
        return [*self._namespace(), "--", "sh", "-c", ENTER, "enter-root",
                str(root), *binds, "--",
                *(f"{name}={value}" for name, value in names.items()),
                *argv]

    def run(self, argv, log, what, *, cwd=None, read=(), write=(), env=None,
            root=None, **kwargs):
        """Run a program in the root; like proc.run()."""
        return proc.run(self.command(argv, root=root, cwd=cwd, read=read,
                                     write=write, env=env),
                        log, what, **kwargs)

    def output(self, argv, **kwargs):
        """A short program's output, or None."""
        return proc.output(self.command(argv, **kwargs))

    # Building ---------------------------------------------------------

    def ensure(self):
        """Build the root if it is not there."""
        self._check_namespaces()
        if (self.root / "etc/workbench-complete").exists():
            return
        self._host_tools()
        self.cache.need_space(8, "a first run")
        with say.step("toolchain: Debian root with compilers and QEMU"
                      ) as note, self.cache.making(self.root.name) as root:
            self._bootstrap(root, note)
            self._sources(root)
            self._install(root, note)
            (root / "etc/workbench-complete").touch()

    def _check_namespaces(self):
        if shutil.which("unshare") is None:
            raise Failure("the program unshare is missing",
                          "install the package util-linux")
        test = proc.output([*self._namespace(), "--", "true"])
        if test is not None:
            return
        if os.geteuid() == 0:
            raise Failure("this system lets not even root make a mount "
                          "namespace", "run outside the container, or give "
                          "it CAP_SYS_ADMIN")
        raise Failure(
            "this system does not let an ordinary user make the namespaces "
            "that the build needs",
            "run as root, or allow user namespaces (sysctl "
            "kernel.unprivileged_userns_clone=1), install the package uidmap "
            "and give the user a range in /etc/subuid and /etc/subgid")

    def _host_tools(self):
        if shutil.which("mmdebstrap"):
            return
        if shutil.which("apt-get") is None:
            raise Failure("mmdebstrap is missing", "install it (it is a "
                          "package of that name on Debian and Ubuntu)")
        if os.geteuid() != 0:
            raise Failure("mmdebstrap is missing", "as root, "
                          "`apt-get install mmdebstrap uidmap`")
        say.line("installing the package mmdebstrap on this machine")
        log = self.log / "host-tools.log"
        install = ["apt-get", "install", "-y", "--no-install-recommends",
                   "mmdebstrap"]
        env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        if proc.run(install, log, "", env=env, check=False):
            proc.run(["apt-get", "update"], log,
                     "refresh the package lists", env=env, append=True)
            proc.run(install, log, "install mmdebstrap", env=env,
                     append=True)

    def _bootstrap(self, root, note):
        settings = root.with_name(root.name[:-len(".making")] + ".apt.making")
        settings.write_text(
            acquire_settings(proc.output(["apt-config", "dump", "Acquire"])
                             or "") + 'Acquire::Languages "none";\n'
            + 'APT::Sandbox::User "root";\n')
        targets = proc.output(["apt-get", "indextargets", "--format",
                               "$(SITE) $(LABEL)"])
        mirror = pick_mirror(targets or "")
        argv = ["mmdebstrap", "--mode=root", "--variant=minbase",
                "--architectures=amd64,arm64", f"--aptopt={settings}",
                "--include=ca-certificates", SUITE, root]
        if mirror:
            argv.append(mirror)
        try:
            proc.run([*self._namespace(), "--", *argv],
                     self.log / "toolchain-bootstrap.log",
                     "make the Debian root", note=note, timeout=1800)
        finally:
            settings.unlink()

    @staticmethod
    def _sources(root):
        """Derive the other suites from the mirror that served the first."""
        main = root / "etc/apt/sources.list"
        entries = []
        for path in [main, *(root / "etc/apt/sources.list.d").glob("*")]:
            if path.exists():
                entries += [text for text in path.read_text().splitlines()
                            if text.startswith("deb ")]
        for text in entries:
            fields = text.split()
            if SUITE in fields:
                site = fields[fields.index(SUITE) - 1]
                break
        else:
            raise Failure("the new Debian root has no package source",
                          "check that `apt-get update` works on this "
                          "machine")
        main.write_text(f"deb {site} {SUITE} main\n"
                        f"deb-src {site} {SUITE} main\n"
                        f"deb {site} {BACKPORTS} main\n")
        for name in ("resolv.conf", "hosts"):
            source = pathlib.Path("/etc") / name
            if source.exists():
                target = root / "etc" / name
                target.unlink(missing_ok=True)
                target.write_text(source.read_text())

    def _install(self, root, note):
        log = self.log / "toolchain-install.log"
        install = ["apt-get", "install", "-y", "--no-install-recommends"]
        steps = [["apt-get", "update"],
                 [*install, "-t", BACKPORTS, *FROM_BACKPORTS],
                 [*install, *PACKAGES],
                 ["apt-get", "clean"]]
        for number, argv in enumerate(steps):
            self.run(argv, log, "install the compilers into the root",
                     root=root, note=note, append=number > 0, timeout=3600)

    def add(self, packages, log):
        """Install what only some commands need, the first time they do."""
        stamp = self.root / f"etc/workbench-{cache.key(*packages)}"
        if stamp.exists():
            return
        with say.step("toolchain: " + ", ".join(packages)) as note:
            for number, argv in enumerate([
                    ["apt-get", "update"],
                    ["apt-get", "install", "-y", "--no-install-recommends",
                     *packages], ["apt-get", "clean"]]):
                self.run(argv, log, "install more into the Debian root",
                         note=note, append=number > 0, timeout=1800)
        stamp.touch()

    def oldest_rust(self):
        """What tells make to use OLDEST_RUST, which is fetched if need be."""
        target = self.cache.path / f"rust-{SUITE}"
        if not target.exists():
            with say.step(f"the Rust compiler of Debian {SUITE}"), \
                    self.cache.making(target.name) as making:
                for package in OLDEST_RUST:
                    self.download(f"{package}/{SUITE}", making,
                                  self.log / "toolchain-oldest-rust.log",
                                  f"fetch the package {package}")
                (making / "rustc").write_text(RUSTC)
                (making / "rustc").chmod(0o755)
        rustc = target / "rustc"
        (source,) = target.glob("usr/src/rustc-*/library")
        return (f"RUSTC={rustc}", f"HOSTRUSTC={rustc}",
                f"RUST_LIB_SRC={source}")

    def download(self, package, target, log, what, hint=""):
        """Fetch a package and unpack it, not installed, at target."""
        script = ('cd /tmp && apt-get download "$1" && '
                  'mkdir -p "$2" && dpkg-deb -x ./*.deb "$2" && '
                  'dpkg-deb -f ./*.deb Version >"$2/version"')
        update = "apt-get update -qq && "
        argv = ["sh", "-ec", script, "sh", package, target]
        if self.run(argv, log, what, check=False, timeout=1800):
            argv[2] = update + script
            self.run(argv, log, what, append=True, hint=hint, timeout=1800)
