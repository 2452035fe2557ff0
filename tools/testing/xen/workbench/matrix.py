# SPDX-License-Identifier: GPL-2.0
"""make matrix: every configuration once, with the tests that fit it."""

import time

from . import report, say
from .bench import BASE, DISK, Bench
from .compiled import COMPILED, Compiled
from .domains import FEWER
from .errors import Failure
from .guest import Boot
from .kernel import SWITCHES, Kernel
from .ktap import Result
from .menu import CONFIGS, PAGES
from .settings import matching

# Which parts are in Rust; the DMA buffers need the pool. The other two of the
# six combinations are the C and the Rust kernel.
COMBINATIONS = {"rust-pool": "ynn", "rust-pool-buffers": "yyn",
                "rust-pool-dma": "yny", "rust-dma": "nny"}
# All code in C that the series adds or changes. The tree does not instrument
# Rust for KCSAN, but sees from C when a value changes under its eyes.
KCSAN_OBJECTS = """
    glue grant-dma-param helpers grant-table gntdev gntdev-dmabuf gntalloc
    balloon mem-reservation
""".split()
# Seconds that a guest on a kernel with checkers may take.
LIMIT = 1800

# In the order in which they are built.
NAMES = ("c", "rust", "cpus-1", "cpus-4", "memory-256M", "memory-6G",
         "no-regions", "native", *COMBINATIONS, "pages-16K", "pages-64K",
         "pages-64K-c", "gcc", "rustc-1.85", "checked", "checked-domains",
         "ubsan", "kmemleak", "kmemleak-native", "kcsan", *COMPILED)


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


class OldestRustRow(Row):
    """With the oldest Rust, which has to be fetched."""

    def run(self):
        self.kernel.make = self.kernel.bench.toolchain.oldest_rust()
        return super().run()


class NativeRow(Row):
    """Without Xen all tests are skipped, and nothing else happens."""

    def run(self):
        result = super().run()
        if result.passed or not result.skipped:
            result.failed += 1
            result.failures.append("without Xen tests were not skipped")
        return result


def rows(bench):
    """What NAMES has, in that order."""
    xen = bench.hypervisor.stock
    machine, switches = bench.menu.machine(), bench.menu.switches()
    c_kernel = bench.kernel_c()
    rust = bench.kernel_rust(seed=c_kernel)

    limit = bench.menu.number("TIME_LIMIT")

    def testing(name, kernel, *extra, limit=limit, **kwargs):
        return Boot(bench, kernel, f"matrix-{name}", xen=xen, limit=limit,
                    extra=extra, **kwargs)

    def kunit(name, kernel, **kwargs):
        return Boot(bench, kernel, f"matrix-{name}-kunit", mode="kunit",
                    **kwargs)

    def slow(name, kernel):
        return Row(kernel,
                   testing(name, kernel, limit=LIMIT,
                           kargs=f"xentest.timeout={LIMIT // 2}"),
                   kunit(name, kernel, limit=LIMIT))

    def checked(name, *more, make=()):
        return slow(name, Kernel(
            bench, name,
            [BASE, *(CONFIGS / f"check-{part}.config"
                     for part in ("rust", name, *more))],
            {**machine, **switches}, make=make))

    yield Row(c_kernel, testing("c", c_kernel))
    yield Row(rust, testing("rust", rust), kunit("rust", rust))
    for cpus in (1, 4):
        yield Row(rust,
                  testing(f"cpus-{cpus}", rust, "-p", cpus))
    yield Row(rust, testing("memory-256M", rust, "-M", 256))
    yield Row(rust, testing("memory-6G", rust, layout="several"))
    yield Row(rust, testing("no-regions", rust, layout="none"))
    yield NativeRow(rust, Boot(bench, rust, "matrix-native", limit=limit))
    for name, values in COMBINATIONS.items():
        kernel = Kernel(bench, name, [BASE, DISK],
                        {**machine, **dict(zip(SWITCHES, values))}, c_kernel)
        yield Row(kernel, testing(name, kernel), kunit(name, kernel))
    # fail_nth waits for chunks to go, which are large where pages are.
    for size, extra, times in (("16K", ("-m", "max", "-d", "1"), 1),
                               ("64K", (), 2)):
        name = f"rust-{size.lower()}"
        kernel = Kernel(bench, name, [BASE], {**PAGES[size], **switches})
        yield Row(kernel, testing(name, kernel, *extra, limit=times * limit),
                  kunit(name, kernel, extra=extra))
    c_64k = Kernel(bench, "c-64k", [BASE], PAGES["64K"], bench.kernel_64k())
    # C has no use for the regions of the layout that the tests of DMA are for.
    yield Row(c_64k, testing("c-64k", c_64k, layout="several"),
              testing("c-64k-dma", c_64k, layout="several",
                      kargs="xentest.test=grant_dma xentest.layout=default"))
    gcc = Kernel(bench, "gcc", [BASE], {**machine, **switches},
                 make=("LLVM=", "CROSS_COMPILE=aarch64-linux-gnu-"))
    yield Row(gcc, testing("gcc", gcc), kunit("gcc", gcc))
    oldest = Kernel(bench, "rustc-1.85", [BASE, DISK],
                    {**machine, **switches}, c_kernel)
    yield OldestRustRow(oldest, testing("rustc-1.85", oldest),
                        kunit("rustc-1.85", oldest))
    with_checkers = bench.kernel_checked()
    yield slow("checked", with_checkers)
    yield Row(with_checkers,
              Boot(bench, with_checkers, "matrix-checked-domains", xen=xen,
                   mode="domains", limit=2 * LIMIT,
                   kargs=f"{FEWER} xentest.timeout={LIMIT // 2}",
                   extra=["-d", "1", "-u", "xentest.run=domains"]))
    yield checked("ubsan")
    kmemleak = checked("kmemleak", "fault-injection")
    yield kmemleak
    yield NativeRow(kmemleak.kernel,
                    Boot(bench, kmemleak.kernel, "matrix-kmemleak-native",
                         limit=LIMIT))
    yield checked("kcsan", make=(
        "KCSAN_SANITIZE=n",
        *(f"KCSAN_SANITIZE_{name}.o=y" for name in KCSAN_OBJECTS)))
    for name in COMPILED:
        yield Compiled(bench, name)


def matrix(settings):
    """make matrix: all rows, or the one that is named."""
    start = time.monotonic()
    target = settings.out / "matrix.json"
    target.unlink(missing_ok=True)
    chosen = matching(NAMES, settings.row or "*")
    if not chosen:
        raise Failure(f"ROW={settings.row} is no row of the matrix",
                      "give one of " + ", ".join(NAMES))
    settings.impls = ("c", "rust")
    bench = Bench(settings)
    bench.prepare()
    table, failed = {}, 0
    for name, row in zip(NAMES, rows(bench), strict=True):
        if name in chosen:
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
