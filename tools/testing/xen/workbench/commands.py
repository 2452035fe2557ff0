# SPDX-License-Identifier: GPL-2.0
"""The commands: what make run, make test and the others do."""

import os
import re
import shutil
import subprocess
import sys
import time

from . import domains, host, proc, report, say, series_check
from .bench import Bench
from .benchmark import bench as benchmark
from .checks import Checks
from .errors import Failure
from .guest import Boot, PlantedBoot
from .host import host_mutants, host_tests
from .ktap import Result
from .matrix import matrix
from .mutants import mutants
from .receive import make_import
from .send import make_branch, make_series
from .settings import HERE
from .soak import soak

NAMES = {"c": "C", "rust": "Rust"}
# Random calls in each test of ioctl_fuzz on the checked kernel.
CHECKED_CALLS = 5000


def run(settings):
    """make run: build both, boot both, compare."""
    start = time.monotonic()
    (settings.out / "run.json").unlink(missing_ok=True)
    bench = Bench(settings)
    bench.prepare()
    kernels = bench.kernels()
    boots = {impl: bench.boots_of(impl, kernel)
             for impl, kernel in kernels.items()}
    bench.boot_all([boot for group in boots.values() for boot in group])
    results, figures, problems = {}, {}, []
    for impl, group in boots.items():
        results[impl] = Result()
        for boot in group:
            results[impl].add(boot.result)
            problems += [f"guest {boot.name}: {text} (log: {boot.log})"
                         for text in boot.problems]
        figures[impl] = _figures(bench, group)
    _show_run(bench, kernels, figures, results)
    missing = report.missing(figures)
    problems += _not_measured(bench, figures, missing)
    failed = _show_failures(results, problems)
    spent = say.duration(time.monotonic() - start)
    if len(kernels) == 2 and not problems:
        _write(bench, kernels, figures, results, missing)
        say.line(f"result: {settings.out / 'run.json'}")
    say.line(f"make run: {'failed' if failed else 'all is well'} ({spent})")
    return 1 if failed else 0


def _not_measured(bench, figures, missing):
    """Say what was not measured; return what makes the run fail."""
    problems = [f"the measuring program printed nothing on the {NAMES[impl]} "
                "kernel" for impl, values in figures.items() if not values]
    for name, reason in missing.items():
        if not figures[name.split(".")[1]]:
            continue
        say.line(f"not measured: {name}: {reason}")
        if bench.hypervisor.debug or not name.endswith(".hypercalls"):
            problems.append(f"{name} was not measured")
    return problems


def _figures(bench, group):
    """Put a kernel's figures together.

    Instructions are counted under the hypervisor that people run, since its
    own are counted too; hypercalls under the one with counters in it.
    """
    figures = {}
    for boot in group:
        if boot.mode != "measure":
            continue
        measured = boot.measured()
        if boot.xen == bench.hypervisor.stock:
            kept = figures.get("dma_buffer.hypercalls")
            figures.update(measured)
            if isinstance(kept, int):
                figures["dma_buffer.hypercalls"] = kept
        elif "dma_buffer.hypercalls" in measured:
            figures["dma_buffer.hypercalls"] = \
                measured["dma_buffer.hypercalls"]
    if figures and not bench.hypervisor.debug and not isinstance(
            figures.get("dma_buffer.hypercalls"), int):
        figures["dma_buffer.hypercalls"] = (
            "no debug build of Xen: " + bench.hypervisor.debug_missing)
    return figures


def _show_run(bench, kernels, figures, results):
    say.line()
    say.line(f"Linux {bench.source.version()} as dom0 of Xen "
             f"{bench.hypervisor.version}, layout {bench.menu.layout()}")
    report.show(report.table(figures))
    for impl in kernels:
        passed = report.faults_passed(results[impl].passes)
        say.line(f"  fault tests passed, {NAMES[impl]}: {len(passed)} of "
                 f"{len(report.FAULTS)}")
    say.line()
    for impl in kernels:
        say.line(f"kselftests, {NAMES[impl]} kernel: " + _counts(
            results[impl]))


def _counts(result):
    return (f"{result.passed} passed, {result.failed} failed, "
            f"{result.skipped} skipped, {result.xfail} failed as expected")


def _show_failures(results, problems):
    failed = bool(problems)
    for impl, result in results.items():
        for name in result.failures:
            failed = True
            say.line(f"FAILED ({NAMES[impl]} kernel): {name}")
    for text in problems:
        say.line(f"FAILED: {text}")
    return failed


def _write(bench, kernels, figures, results, missing):
    content = {
        "schema": report.SCHEMA,
        "kernel": bench.source.version(),
        "release": {impl: kernel.release()
                    for impl, kernel in kernels.items()},
        "xen": bench.hypervisor.version,
        "xen_counters": bench.hypervisor.debug is not None,
        "layout": bench.menu.layout(),
        "rust_options": sorted(name for name, value
                               in bench.menu.switches().items()
                               if value == "y"),
        "ktap": results["rust"].counts(),
        "ktap_c": results["c"].counts(),
    }
    for group in report.GROUPS:
        content[group] = {impl: report.grouped(figures[impl], group)
                          for impl in ("c", "rust")}
    for impl in ("c", "rust"):
        content["grant_dma"][impl]["faults_passed"] = report.faults_passed(
            results[impl].passes)
    content["not_measured"] = missing
    report.write_json(bench.settings.out / "run.json", content)


# make test ------------------------------------------------------------


class Tally:
    """The numbers of make test."""

    def __init__(self):
        self.all = Result()
        self.parts = {}
        self.splats = 0

    def add(self, title, result):
        """Count a part, and say at once what failed in it."""
        self.all.add(result)
        self.parts.setdefault(title, Result()).add(result)
        say.line(f"{title}: {_counts(result)}")
        for name in result.failures:
            say.line(f"  FAILED: {name}")
        for name in result.skips:
            say.line(f"  skipped: {name}")

    def add_boot(self, title, boot):
        """Count a guest; what was wrong with the guest itself is one more
        failed test."""
        result = boot.result
        for text in boot.problems:
            self.splats += text.startswith("on the console: ")
            result.failed += 1
            result.failures.append(f"{text} (log: {boot.log})")
        self.add(title, result)

    def write(self, path, **more):
        """The numbers, by part."""
        report.write_json(path, {
            "schema": report.SCHEMA, **more, "splats": self.splats,
            "ktap": self.all.counts(),
            "parts": {title: result.counts()
                      for title, result in self.parts.items()}})


def own_tests(bench):
    """The unit tests of the workbench itself, in a process of their own."""
    log = bench.settings.logs / "workbench-tests.log"
    env = dict(os.environ, PYTHONPATH=str(HERE),
               WORKBENCH_KUNIT=str(bench.tree.path / "tools/testing/kunit"))
    with say.step("unit tests of the workbench"):
        proc.run([sys.executable, "-B", "-m", "unittest", "discover", "-v",
                  "-s", HERE / "tests", "-t", HERE], log, "", env=env,
                 check=False, timeout=300)
    result = Result()
    text = log.read_text(errors="replace")
    for name, outcome in re.findall(
            # The description, if there is one, stands on a line of its own.
            r"^(test\w+ \([\w.]+\))(?:\n[^\n]*?)?? \.\.\. (?:.*?)"
            r"(ok|FAIL|ERROR|skipped [^\n]*)$", text, re.M | re.S):
        if outcome == "ok":
            result.passed += 1
        elif outcome.startswith("skipped"):
            result.skipped += 1
            result.skips.append(f"{name}: {outcome}")
        else:
            result.failed += 1
            result.failures.append(f"workbench: {name} (log: {log})")
    ran = re.search(r"^Ran (\d+) tests?", text, re.M)
    if not ran or int(ran[1]) != result.total() or not result.total():
        result.failed += 1
        result.failures.append(f"the unit tests did not run (log: {log})")
    return result


def test(settings):
    """make test: all of it; ends with `N passed, N failed`."""
    start = time.monotonic()
    target = settings.out / "test.json"
    target.unlink(missing_ok=True)
    tally = Tally()
    bench = Bench(settings)
    bench.prepare()
    tally.add("workbench", own_tests(bench))
    checks = Checks(bench)
    tally.add("rustfmt", checks.rustfmt())
    logic, table = checks.unsafe_code()
    tally.add("no unsafe code in logic", logic)
    series_check.fast(bench, tally, checks)
    tally.add("in-tree commands", checks.bare_commands())
    tally.add("logic on this machine", host.tests(bench))
    checked = large = None
    if "rust" in settings.impls and bench.menu.on("CHECKED_KERNEL"):
        checked = bench.kernel_checked()
    if "rust" in settings.impls and bench.menu.on("KERNEL_64K"):
        large = bench.kernel_64k()
    kernels = bench.kernels(*filter(None, (checked, large)))
    boots = []
    if "rust" in kernels:
        tally.add("clippy, the backend of disks",
                  checks.clippy_backend(kernels["rust"]))
    if checked:
        tally.add("clippy", checks.clippy(checked))
        boots += _checked_boots(bench, checked)
    elif "rust" in kernels:
        tally.add("checked kernel", Result(
            skipped=1, skips=["clippy, KUnit and kselftests on a checked "
                              "kernel (make menuconfig switches it on)"]))
    if large:
        boots += _boots_64k(bench, large)
    elif "rust" in kernels and not bench.menu.on("PAGE_64K"):
        tally.add("kernel with 64K pages", Result(
            skipped=1, skips=["KUnit and kselftests with pages of 64 KiB "
                              "(make menuconfig switches them on)"]))
    if "rust" in kernels and bench.menu.on("PAGE_4K"):
        boots += [(f"two domains: {boot.name}", boot)
                  for boot in domains.boots_of(bench, kernels["rust"],
                                                short=True)]
    elif "rust" in kernels:
        tally.add("two domains", Result(
            skipped=1, skips=["they need pages of 4 KiB"]))
    boots += _test_boots(bench, kernels)
    bench.boot_all([boot for _, boot in boots])
    for title, boot in boots:
        tally.add_boot(title, boot)
    if not bench.hypervisor.debug:
        tally.add("debug build of Xen", Result(
            skipped=1, skips=[f"guests under the debug build "
                              f"({bench.hypervisor.debug_missing})"]))
    total = tally.all
    tally.write(target, kernel=bench.source.version(),
                xen=bench.hypervisor.version, rust_files=table)
    say.line(f"result: {target}")
    say.line(f"make test took {say.duration(time.monotonic() - start)}; "
             f"{total.xfail} tests failed as expected")
    last = f"{total.passed} passed, {total.failed} failed"
    say.line(last + (f", {total.skipped} skipped" if total.skipped else ""))
    return 1 if total.failed else 0


def _layouts(bench):
    """The harness's own list of layouts."""
    text = (bench.harness / "layouts.sh").read_text()
    return text.partition('LAYOUTS="')[2].partition('"')[0].split()


def _test_boots(bench, kernels):
    """All guests of the plain kernels."""
    boots = []
    for impl, kernel in kernels.items():
        name = NAMES[impl]
        if impl == "rust":
            boots.append(("KUnit, Rust kernel without Xen",
                          Boot(bench, kernel, "rust-kunit", mode="kunit")))
            boots.append(("a warning that is not announced",
                          PlantedBoot(bench, kernel, "rust-planted",
                                      xen=bench.hypervisor.stock)))
            # It takes longest, so that others can follow it.
            if bench.hypervisor.debug:
                boots.append(("kselftests, Rust kernel, debug build of Xen",
                              Boot(bench, kernel, "rust-debug-xen",
                                   xen=bench.hypervisor.debug,
                                   limit=bench.menu.number("TIME_LIMIT"))))
        for layout in _layouts(bench):
            for boot in bench.testing(impl, kernel, layout):
                boots.append((f"kselftests, {name} kernel, layout {layout}",
                              boot))
        boots.append((f"grant_dma, {name} kernel, a small grant table",
                      Boot(bench, kernel, f"{impl}-small-table",
                           xen=bench.hypervisor.stock,
                           limit=bench.menu.number("TIME_LIMIT"),
                           extra=["-X", "gnttab_max_frames=2"],
                           kargs="xentest.test=grant_dma")))
    return boots


def _checked_boots(bench, kernel):
    """The guests of the checked kernel; they are slow, so come first.

    Random calls are fewer than elsewhere, since each of them takes long there;
    make soak has more.
    """
    limit = 6 * bench.menu.number("TIME_LIMIT")
    return [
        ("kselftests, checked kernel",
         *bench.testing("checked", kernel, "default", limit=limit,
                        kargs=f"xentest.timeout={limit // 2} "
                        f"xentest.calls={CHECKED_CALLS}")),
        ("KUnit, checked kernel without Xen",
         Boot(bench, kernel, "checked-kunit", mode="kunit", limit=limit)),
    ]


def _boots_64k(bench, kernel):
    """The guests of the kernel with pages of 64 KiB.

    Chunks are large then, and fail_nth waits for many of them to go.
    """
    limit = 2 * bench.menu.number("TIME_LIMIT")
    return [
        ("kselftests, 64K pages", *bench.testing("rust-64k", kernel,
                                                 "default", limit=limit)),
        # What is for a larger machine
        ("kselftests, 64K pages, several regions",
         *bench.testing("rust-64k", kernel, "several",
                        kargs="xentest.test=give_back")),
        ("KUnit, 64K pages, without Xen",
         Boot(bench, kernel, "rust-64k-kunit", mode="kunit")),
    ]


def check_series(settings):
    """make series-check."""
    return series_check.series_check(settings, Tally())


# The small ones -------------------------------------------------------


def shell(settings):
    """make shell: the same system with a person at the console."""
    if len(settings.impls) == 2:
        settings.impls = ("rust",)
    bench = Bench(settings)
    bench.prepare()
    (kernel,) = bench.kernels().values()
    say.line("Booting. Leave with `poweroff -f`, or with Ctrl-A X.")
    boot = Boot(bench, kernel, "shell", xen=bench.hypervisor.stock,
                layout=bench.menu.layout(), mode="shell", extra=["-I"])
    read = [settings.xen] if settings.xen else []
    return subprocess.run(bench.toolchain.command(boot.argv(), read=read),
                          check=False).returncode


def menuconfig(settings):
    """make menuconfig: choose."""
    bench = Bench(settings)
    settings.cache.open()
    settings.cache.lock()
    bench.toolchain.ensure()
    bench.source.ensure()
    bench.tree.assemble()
    bench.menu.edit()
    return 0


def clean(settings):
    """make clean: the results."""
    shutil.rmtree(settings.out, ignore_errors=True)
    if settings.out.exists():
        raise Failure(f"cannot remove {settings.out}", "remove it by hand")
    return 0


def clean_cache(settings):
    """make clean-cache: everything that was made outside the clone."""
    clean(settings)
    if settings.cache.clean():
        say.line(f"removed {settings.cache.path}")
    return 0


COMMANDS = {"run": run, "test": test, "bench": benchmark,
            "domains": domains.domains, "shell": shell,
            "matrix": matrix, "soak": soak, "menuconfig": menuconfig,
            "series": make_series, "series-check": check_series,
            "branch": make_branch, "import": make_import,
            "host": host_tests, "host-mutants": host_mutants,
            "mutants": mutants, "clean": clean,
            "clean-cache": clean_cache}
