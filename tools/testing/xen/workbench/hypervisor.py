# SPDX-License-Identifier: GPL-2.0
"""Xen and programs of the guests: Debian's binaries; and a debug build of Xen."""

import hashlib
import re

from . import cache, say
from .errors import Failure

PACKAGE = "xen-hypervisor-4.20-arm64:arm64"
BUSYBOX = "busybox-static:arm64"
E2FSCK = "e2fsck-static:arm64"
OPTIONS = """EXPERT UNSUPPORTED DEBUG IOREQ_SERVER PERF_COUNTERS PERF_ARRAYS
    STATIC_SHM STATIC_MEMORY ARM_SMMU_V3 LLC_COLORING""".split()


def parse_showsrc(text, version):
    """(file name, SHA256) of the orig tarball in `apt-cache showsrc`."""
    upstream = version.rsplit("-", 1)[0]
    for record in re.split(r"\n\s*\n", text):
        if f"Version: {version}\n" not in record + "\n":
            continue
        section = record.partition("Checksums-Sha256:")[2]
        match = re.search(r"\b([0-9a-f]{64}) \d+ (xen_\S+\.orig\.tar\.\w+)",
                          section)
        if match and upstream in match[2]:
            return match[2], match[1]
    return None


class Hypervisor:
    """The images that the guests boot with."""

    def __init__(self, settings, toolchain):
        self.settings = settings
        self.toolchain = toolchain
        self.cache = settings.cache
        self.stock = None
        self.debug = None
        self.debug_missing = "not asked for"
        self.version = "unknown"
        self.busybox = None
        self.e2fsck = None

    def ensure(self):
        """Get the stock hypervisor and programs; build the debug one."""
        log = self.settings.logs / "xen.log"
        box = self._unpacked("busybox-static", BUSYBOX, log)
        self.busybox = box / "usr/bin/busybox"
        e2fsck = self._unpacked("e2fsck-static", E2FSCK, log)
        self.e2fsck = e2fsck / "usr/sbin/e2fsck.static"
        if self.settings.xen:
            self.stock = self.settings.xen
            self.version = f"own image {self.settings.xen.name}"
            self.debug_missing = "XEN= was given"
            return
        folder = self._unpacked("xen-hypervisor", PACKAGE, log)
        images = sorted((folder / "boot").glob("xen-*arm64"))
        if not images:
            raise Failure(f"the package {PACKAGE} has no hypervisor in it",
                          "give one with XEN=FILE")
        self.stock = images[0]
        self.version = (folder / "version").read_text().strip()
        self._ensure_debug(log)

    def _unpacked(self, name, package, log):
        folder = self.cache.path / name
        if not folder.exists():
            with say.step(f"package {package}"), \
                    self.cache.making(name) as target:
                self.toolchain.download(package, target, log,
                                        f"fetch the package {package}")
        return folder

    def _ensure_debug(self, log):
        name = "xen-debug-" + cache.key(self.version, self.toolchain.key,
                                        *OPTIONS)
        folder = self.cache.path / name
        if not folder.exists():
            with say.step("Xen: debug build with performance counters"
                          ) as note:
                try:
                    with self.cache.making(name) as target:
                        self._build(target, log, note)
                except Failure as failure:
                    self.debug_missing = str(failure)
                    say.line(f"no debug build of Xen: {failure}")
                    return
        self.debug = folder / "xen"

    def _build(self, target, log, note):
        listing = self.toolchain.output(["apt-cache", "showsrc", "xen"])
        found = parse_showsrc(listing or "", self.version)
        if not found:
            raise Failure(f"no source of Xen {self.version} is listed")
        name, digest = found
        target.mkdir()
        self.toolchain.run(
            ["apt-get", "source", "--download-only", "--only-source",
             f"xen={self.version}"], log, "fetch the source of Xen",
            cwd=target, check=False, append=True, note=note, timeout=900)
        tarball = target / name
        if not tarball.exists():
            raise Failure("the source of Xen cannot be fetched", log=log)
        if hashlib.sha256(tarball.read_bytes()).hexdigest() != digest:
            raise Failure(f"{name} is not what the package index says",
                          log=log)
        config = "".join(f"CONFIG_{option}=y\n" for option in OPTIONS)
        (target / "config").write_text(config)
        script = """
            mkdir src
            tar -C src --strip-components=1 -xf "$1"
            cp config src/xen/arch/arm/configs/workbench_defconfig
            set -- XEN_TARGET_ARCH=arm64 \
                CROSS_COMPILE=aarch64-linux-gnu- XEN_CONFIG_EXPERT=y
            make -C src/xen "$@" workbench_defconfig
            make -C src/xen "$@" -j"$JOBS" build
            cp src/xen/xen xen
            cp src/xen/.config built-config
            rm -rf src ./*.tar.* ./*.dsc
        """
        self.toolchain.run(["sh", "-ec", script, "sh", name], log,
                           "build Xen", cwd=target, append=True, note=note,
                           env={"JOBS": self.settings.jobs}, timeout=1800)
        if not (target / "xen").exists():
            raise Failure("the build of Xen made no image", log=log)
