# SPDX-License-Identifier: GPL-2.0
"""The workbench's own menu: the top-level Kconfig and .config."""

import os
import shutil
import subprocess

from . import kernel
from .errors import Failure
from .settings import HERE, REPO

CONFIGS = HERE / "configs"
# The kernel's options for pages of each size. A configuration that began with
# small ones keeps small pageblocks, others have them as large as can be.
PAGES = {"4K": {"ARM64_4K_PAGES": "y"},
         "16K": {"ARM64_16K_PAGES": "y", "PAGE_BLOCK_MAX_ORDER": "11"},
         "64K": {"ARM64_64K_PAGES": "y", "PAGE_BLOCK_MAX_ORDER": "13"}}


class Menu:
    """The user's choices of the menu, completed by kconfig."""

    def __init__(self, bench):
        self.bench = bench
        self.dir = bench.tree.work / "menu"
        self.values = {}

    def _argv(self, target):
        shutil.copyfile(REPO / "Kconfig", self.dir / "Kconfig.workbench")
        return ["make", "-s", f"O={self.dir / 'obj'}", "ARCH=arm64",
                f"KBUILD_KCONFIG={self.dir / 'Kconfig.workbench'}",
                f"KCONFIG_CONFIG={self.dir / 'config'}", target]

    def _take(self):
        self.dir.mkdir(exist_ok=True)
        (self.dir / "config").unlink(missing_ok=True)
        if (REPO / ".config").exists():
            shutil.copyfile(REPO / ".config", self.dir / "config")

    def load(self):
        """Complete the choices with the defaults, and read them."""
        self._take()
        given = kernel.parse_config(
            (REPO / ".config").read_text()) if (
                REPO / ".config").exists() else {}
        self.bench.toolchain.run(
            self._argv("olddefconfig"), self.bench.settings.logs / "menu.log",
            "read the menu's choices", cwd=self.bench.tree.path, timeout=300,
            hint="remove .config, or mend it with make menuconfig")
        self.values = kernel.parse_config((self.dir / "config").read_text())
        refused = kernel.not_taken(given, self.values)
        if refused:
            raise Failure(".config: a wrong value for "
                          + ", ".join(f"CONFIG_{name}" for name in refused),
                          "mend it with make menuconfig, or remove .config")

    def edit(self):
        """Let the user choose; keep the choice in .config."""
        self._take()
        command = self.bench.toolchain.command(
            self._argv("menuconfig"), cwd=self.bench.tree.path)
        status = subprocess.run(command, check=False).returncode
        if status != 0:
            raise Failure("the menu could not be shown",
                          "it needs a terminal of at least 19 lines by 80 "
                          "columns")
        if (self.dir / "config").exists():
            beside = REPO / ".config.new"
            shutil.copyfile(self.dir / "config", beside)
            os.replace(beside, REPO / ".config")

    def on(self, name):
        """Whether a yes-or-no choice is on."""
        return self.values.get(name) == "y"

    def number(self, name):
        """A number that was chosen."""
        return int(self.values[name])

    def layout(self):
        """The name of the memory layout that was chosen."""
        for name, value in self.values.items():
            if name.startswith("LAYOUT_") and value == "y":
                return name[len("LAYOUT_"):].lower()
        return "default"

    def machine(self):
        """Kernel options of the chosen machine."""
        for size, options in PAGES.items():
            if self.on(f"PAGE_{size}"):
                return dict(options)
        return {}

    def switches(self):
        """The Rust switches with their values, for the Rust kernel."""
        return {f"XEN_{name}": "y" if self.on(name) else "n"
                for name in ("UNPOPULATED_ALLOC_RUST",
                             "GRANT_DMA_ALLOC_RUST",
                             "GRANT_DMA_OPS_RUST")}

    def checkers(self):
        """The fragments of the checkers that are on."""
        names = ["check-rust"]
        for name in sorted(self.values):
            if name.startswith("CHECK_") and self.on(name):
                names.append(name.lower().replace("_", "-"))
        return [CONFIGS / f"{name}.config" for name in names]
