# SPDX-License-Identifier: GPL-2.0
"""The kernel source: Debian's package, or the user's own tree."""

import re

from . import say
from .cache import key

PACKAGE = "linux-source-7.3"

# What a build leaves in a tree; a user's tree may have been built in place.
BUILT = ("/.config*", "/include/config/", "/include/generated/",
         "/arch/*/include/generated/", "*.o", "*.ko", "*.a", "*.cmd",
         "*.mod", "*.mod.c", "*.rmeta", "*.so", "/vmlinux*", "/.git",
         "/Module.symvers", "/modules.order", "/arch/*/boot/Image*",
         "/usr/include/", "/.tmp_*")


class Source:
    """A pristine kernel tree that nothing here ever writes to."""

    def __init__(self, settings, toolchain):
        self.settings = settings
        self.toolchain = toolchain
        if settings.ksrc:
            self.path = settings.ksrc
            self.key = "own-" + key(settings.ksrc)
        else:
            self.path = settings.cache.path / PACKAGE
            self.key = PACKAGE
        self.own = settings.ksrc is not None

    def ensure(self):
        """Fetch and unpack the package if it is needed and not there."""
        if self.own or self.path.exists():
            return
        log = self.settings.logs / "source.log"
        cache = self.settings.cache
        with say.step(f"kernel source: package {PACKAGE}") as note, \
                cache.making(PACKAGE + ".deb") as deb, \
                cache.making(PACKAGE) as tree:
            self.toolchain.download(
                PACKAGE, deb, log, f"fetch the package {PACKAGE}",
                hint="give a kernel tree of your own with KSRC=DIR")
            tree.mkdir()
            self.toolchain.run(
                ["sh", "-ec", 'tar -C "$2" --strip-components=1 -xf '
                 '"$1"/usr/src/*.tar.xz', "sh", deb, tree], log,
                "unpack the kernel source", append=True, note=note,
                timeout=900)
        self._drop(PACKAGE + ".deb")

    def _drop(self, name):
        from .cache import remove
        remove(self.settings.cache.path / name)

    def version(self):
        """The kernel's version, as its Makefile has it."""
        text = (self.path / "Makefile").read_text(encoding="utf-8")[:2000]
        parts = dict(re.findall(
            r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)$", text,
            re.MULTILINE))
        return (f"{parts.get('VERSION')}.{parts.get('PATCHLEVEL')}."
                f"{parts.get('SUBLEVEL')}{parts.get('EXTRAVERSION', '')}")
