# SPDX-License-Identifier: GPL-2.0
"""make matrix: every configuration once, with the tests that fit it."""

import re
import time

from . import report, say
from .bench import BASE, DISK, Bench
from .errors import Failure
from .guest import Boot
from .kernel import SWITCHES, Kernel
from .ktap import Result
from .menu import CONFIGS

# Which parts are in Rust; the DMA buffers need the pool. The other two of the
# six combinations are the C and the Rust kernel.
COMBINATIONS = {"rust-pool": "ynn", "rust-pool-buffers": "yyn",
                "rust-pool-dma": "yny", "rust-dma": "nny"}
# Seconds that a guest on a kernel with checkers may take.
LIMIT = 1800

# Kernels of machines that nothing here boots are compiled, as far as they are
# Xen's: configuration target, options, what is compiled.
COMPILED = {
    "x86_64": ("x86_64_defconfig xen.config",
               "XEN_PV XEN_PVH XEN_DOM0 XEN_GNTDEV_DMABUF "
               "XEN_GRANT_DMA_ALLOC XEN_UNPOPULATED_ALLOC XEN_VIRTIO RUST",
               "drivers/xen/ arch/x86/xen/"),
    "arm": ("multi_v7_defconfig xen.config",
            "XEN_DOM0 XEN_GNTDEV_DMABUF XEN_GRANT_DMA_ALLOC XEN_VIRTIO",
            "drivers/xen/ arch/arm/xen/"),
}


# In the order in which they are built.
NAMES = ("c", "rust", "cpus-1", "cpus-4", "memory-256M", "memory-6G",
         "no-regions", "native", *COMBINATIONS, "pages-16K", "pages-64K",
         "ubsan", "kmemleak", *COMPILED)


class Row:
    """One configuration: a kernel, and the guests that it is booted in."""

    def __init__(self, kernel, *boots):
        self.kernel = kernel
        self.boots = boots

    def run(self):
        """The outcome of all its tests."""
        result = Result()
        self.kernel.build()
        for boot in self.boots[0].bench.boot_all(list(self.boots)):
            result.add(boot.result)
            for text in boot.problems:
                result.failed += 1
                result.failures.append(f"{text} (log: {boot.log})")
        return result


class NativeRow(Row):
    """Without Xen all tests are skipped, and nothing else happens."""

    def run(self):
        result = super().run()
        if result.passed or not result.skipped:
            result.failed += 1
            result.failures.append("without Xen tests were not skipped")
        return result


class CompiledRow:
    """A kernel of another architecture: it compiles without a warning."""

    def __init__(self, bench, name):
        self.bench = bench
        self.name = name
        self.targets, self.options, self.folders = COMPILED[name]

    def run(self):
        """One test for each folder."""
        bench, result = self.bench, Result()
        log = bench.settings.logs / f"matrix-{self.name}.log"
        obj = bench.tree.work / f"matrix-{self.name}"
        obj.mkdir(exist_ok=True)
        script = """
            run="make -s LLVM=1 ARCH=$ARCH O=$O"
            $run $TARGETS
            for option in $OPTIONS; do
                ./scripts/config --file "$O/.config" -e $option
            done
            # Not with each compiler can objtool's warnings be had.
            ./scripts/config --file "$O/.config" -d OBJTOOL_WERROR
            $run olddefconfig
            for option in $OPTIONS; do
                grep -q "^CONFIG_$option=y" "$O/.config" || {
                    echo "CONFIG_$option is not to be had"; exit 1; }
            done
            $run -j"$JOBS" prepare
            $run -j"$JOBS" W=1 $FOLDERS
        """
        env = {"ARCH": self.name, "O": obj, "TARGETS": self.targets,
               "OPTIONS": self.options, "FOLDERS": self.folders,
               "JOBS": bench.settings.jobs}
        with say.step(f"compiling for {self.name}") as note:
            status = bench.toolchain.run(
                ["sh", "-ec", script], log, "", cwd=bench.tree.path, env=env,
                check=False, note=note, timeout=7200)
        text = log.read_text(errors="replace")
        warned = re.search(r"^(?:drivers|arch/\w+)/xen/.*warning: .*$", text,
                           re.MULTILINE)
        if status == 0 and not warned:
            result.passed += 1
        else:
            result.failed += 1
            why = warned[0] if warned else f"status {status}"
            result.failures.append(f"{why} (log: {log})")
        return result


def rows(bench):
    """What NAMES has, in that order."""
    xen = bench.hypervisor.stock
    machine, switches = bench.menu.machine(), bench.menu.switches()
    c_kernel = bench.kernel_c()
    rust = bench.kernel_rust(seed=c_kernel)

    def testing(name, kernel, *extra, **kwargs):
        return Boot(bench, kernel, f"matrix-{name}", xen=xen,
                    limit=kwargs.pop("limit",
                                     bench.menu.number("TIME_LIMIT")),
                    extra=extra, **kwargs)

    def kunit(name, kernel, **kwargs):
        return Boot(bench, kernel, f"matrix-{name}-kunit", mode="kunit",
                    **kwargs)

    def checked(name, *fragments):
        kernel = Kernel(bench, name,
                        [BASE, *(CONFIGS / f"check-{part}.config"
                                 for part in ("rust", *fragments))],
                        {**machine, **switches})
        return Row(kernel,
                   testing(name, kernel, limit=LIMIT,
                           kargs=f"xentest.timeout={LIMIT // 2}"),
                   kunit(name, kernel, limit=LIMIT))

    yield Row(c_kernel, testing("c", c_kernel))
    yield Row(rust, testing("rust", rust), kunit("rust", rust))
    for cpus in (1, 4):
        yield Row(rust,
                  testing(f"cpus-{cpus}", rust, "-p", cpus))
    yield Row(rust, testing("memory-256M", rust, "-M", 256))
    yield Row(rust, testing("memory-6G", rust, layout="several"))
    yield Row(rust, testing("no-regions", rust, layout="none"))
    yield NativeRow(rust, Boot(bench, rust, "matrix-native",
                              limit=bench.menu.number("TIME_LIMIT")))
    for name, values in COMBINATIONS.items():
        kernel = Kernel(bench, name, [BASE, DISK],
                        {**machine, **dict(zip(SWITCHES, values))}, c_kernel)
        yield Row(kernel, testing(name, kernel), kunit(name, kernel))
    for size, extra in (("16K", ("-m", "max", "-d", "1")), ("64K", ())):
        name = f"rust-{size.lower()}"
        kernel = Kernel(bench, name, [BASE],
                        {f"ARM64_{size}_PAGES": "y", **switches})
        yield Row(kernel, testing(name, kernel, *extra),
                  kunit(name, kernel))
    yield checked("ubsan", "ubsan")
    yield checked("kmemleak", "kmemleak", "locking")
    for name in COMPILED:
        yield CompiledRow(bench, name)


def matrix(settings):
    """make matrix: all rows, or the one that is named."""
    start = time.monotonic()
    target = settings.out / "matrix.json"
    target.unlink(missing_ok=True)
    if settings.row and settings.row not in NAMES:
        raise Failure(f"ROW={settings.row} is no row of the matrix",
                      "give one of " + ", ".join(NAMES))
    settings.impls = ("c", "rust")
    bench = Bench(settings)
    bench.prepare()
    table, failed = {}, 0
    for name, row in zip(NAMES, rows(bench), strict=True):
        if settings.row in ("", name):
            try:
                table[name] = row.run()
            except Failure as failure:
                table[name] = Result(failed=1, failures=[str(failure)])
            for text in table[name].failures:
                say.line(f"  FAILED: {name}: {text}")
    say.line()
    for name, result in table.items():
        failed += result.failed
        say.line(f"  {name:<20}{result.passed:>6} passed{result.failed:>6} "
                 f"failed{result.skipped:>6} skipped{result.xfail:>6} "
                 "failed as expected")
    if not settings.row:
        report.write_json(target, {
            "schema": report.SCHEMA, "kernel": bench.source.version(),
            "xen": bench.hypervisor.version,
            "rows": {name: result.counts()
                     for name, result in table.items()}})
        say.line(f"result: {target}")
    spent = say.duration(time.monotonic() - start)
    say.line(f"make matrix: {len(table)} configurations, {failed} failed "
             f"({spent})")
    return 1 if failed else 0
