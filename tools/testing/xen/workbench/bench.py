# SPDX-License-Identifier: GPL-2.0
"""Everything that a command works with, in the order in which it is made."""

import concurrent.futures
import hashlib
import json

from . import proc, series
from .errors import Failure
from .guest import Boot
from .hypervisor import Hypervisor
from .kernel import SWITCHES, Kernel
from .menu import CONFIGS, PAGES, Menu
from .settings import REPO
from .source import Source
from .toolchain import Toolchain
from .tree import Tree

BASE = CONFIGS / "base.config"
DISK = CONFIGS / "disk.config"
RUN_LIMIT_ICOUNT = 240


class Bench:
    """The workbench of one run."""

    def __init__(self, settings):
        self.settings = settings
        self.toolchain = Toolchain(settings)
        self.source = Source(settings, self.toolchain)
        self.hypervisor = Hypervisor(settings, self.toolchain)
        self.tree = Tree(settings, self.toolchain, self.source, REPO)
        self.menu = Menu(self)
        self.harness = (self.tree.path
                        / "tools/testing/selftests/xen/qemu")
        # What the backend of disks is built from takes longer than itself.
        self.cargo = settings.cache.path / f"cargo-{self.toolchain.key}"
        self._state = None

    def prepare(self):
        """All that comes before the first kernel."""
        try:
            self.settings.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Failure(f"cannot write to {self.settings.out}: "
                          f"{error.strerror}") from error
        self.settings.cache.open()
        self.settings.cache.lock()
        self.toolchain.ensure()
        self.source.ensure()
        self.hypervisor.ensure()
        self.tree.assemble()
        self.menu.load()

    # What kernels are made from ---------------------------------------

    def overlay(self):
        """Names of the files that are ours in the tree."""
        return json.loads(self.tree.manifest.read_text())

    def state(self):
        """A digest of everything that the kernels are made from, or None
        where that cannot be told (a tree of the user's)."""
        if self.source.own:
            return None
        if self._state is None:
            digest = hashlib.sha256(
                f"{self.source.key} {self.source.version()} "
                f"{self.toolchain.key}".encode())
            for name in self.overlay():
                path = self.tree.path / name
                digest.update(f"\0{name}\0".encode())
                if path.exists():
                    digest.update(path.read_bytes())
            self._state = digest.hexdigest()
        return self._state

    def kconfig_state(self):
        """A digest of the Kconfig files that are ours."""
        digest = hashlib.sha256()
        for name in self.overlay():
            path = self.tree.path / name
            if "Kconfig" in path.name and path.exists():
                digest.update(path.read_bytes())
        return f"# Kconfig files: {digest.hexdigest()}\n"

    # Kernels ----------------------------------------------------------

    def kernel_c(self):
        """Today's kernel."""
        options = dict(self.menu.machine())
        options.update({name: "n" for name in SWITCHES})
        return Kernel(self, "c", [BASE, DISK], options)

    def kernel_rust(self, seed=None):
        """The same with the switches on."""
        options = dict(self.menu.machine())
        options.update(self.menu.switches())
        return Kernel(self, "rust", [BASE, DISK], options, seed)

    def kernel_checked(self):
        """The Rust kernel with the checkers, compiled by clippy."""
        options = dict(self.menu.machine())
        options.update(self.menu.switches())
        return Kernel(self, "checked",
                      [BASE, *self.menu.checkers()], options,
                      make=("CLIPPY=1",))

    def kernel_64k(self):
        """The Rust kernel with pages of 64 KiB."""
        options = dict(PAGES["64K"])
        options.update(self.menu.switches())
        return Kernel(self, "rust-64k", [BASE], options)

    def kernels(self, *others):
        """The kernels that were asked for, built; others are built beside."""
        c_kernel = self.kernel_c()
        made = {"c": c_kernel, "rust": self.kernel_rust(seed=c_kernel)}
        wanted = {impl: kernel for impl, kernel in made.items()
                  if impl in self.settings.impls}

        def in_order():
            for kernel in wanted.values():
                kernel.build()

        self._at_once((self._workers,
                       [in_order, *(kernel.build for kernel in others)]))
        return wanted

    @property
    def _workers(self):
        """How many kernels to build, and guests to boot, at once.

        Crates are compiled, and kernels linked, by one process each.
        """
        return max(1, min(2, self.settings.jobs))

    @staticmethod
    def _at_once(*groups):
        """Call the functions of groups, of each as many at once as it says."""
        pools, futures = [], []
        try:
            for workers, calls in groups:
                pool = concurrent.futures.ThreadPoolExecutor(workers)
                pools.append(pool)
                futures += [pool.submit(call) for call in calls]
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BaseException:
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
            proc.end_all()
            raise
        for pool in pools:
            pool.shutdown()

    # Guests -----------------------------------------------------------

    def boots_of(self, impl, kernel):
        """The boots of make run: two that measure, one that tests."""
        layout = self.menu.layout()
        boots = [self.measuring(impl, kernel, self.hypervisor.stock, "")]
        if self.hypervisor.debug:
            boots.append(self.measuring(impl, kernel, self.hypervisor.debug,
                                        "-counters"))
        boots += self.testing(impl, kernel, layout)
        return boots

    def measuring(self, impl, kernel, xen, suffix):
        """A boot that counts instructions."""
        return Boot(self, kernel, f"{impl}-measure{suffix}", xen=xen,
                    mode="measure", count=True, limit=RUN_LIMIT_ICOUNT)

    def testing(self, impl, kernel, layout, **kwargs):
        """A boot that runs the kselftests in a layout."""
        limit = kwargs.pop("limit", self.menu.number("TIME_LIMIT"))
        extra = ["-p", self.menu.number("GUEST_CPUS")]
        if self.menu.on("PAGE_16K"):
            extra += ["-m", "max", "-d", "1"]
        return [Boot(self, kernel, f"{impl}-{layout}", layout=layout,
                     xen=self.hypervisor.stock, limit=limit, extra=extra,
                     **kwargs)]

    def boot_all(self, boots):
        """Run boots, as many at once as there are jobs (two at most).

        Those that count instructions come beside them, one after the other:
        the others sleep much of their time, and a count is what it is however
        long that takes.
        """
        counting = [boot.run for boot in boots if boot.count]
        others = [boot.run for boot in boots if not boot.count]
        if self._workers == 1:
            others, counting = others + counting, []
        self._at_once((self._workers, others), (1, counting))
        return boots

    def patches(self):
        """The series."""
        return series.read_series(REPO)
