# SPDX-License-Identifier: GPL-2.0
"""make soak: tests that do something else each time, for as long as given."""

import re
import time

from . import host, report, say
from .bench import Bench
from .ktap import Result

CALLS = 1_000_000
# Each takes long on a kernel with checkers.
SLOW_CALLS = 200_000
HOST = "logic on this machine"
# What is run in turn, and in which layout.
TURNS = (
    ("ioctl_fuzz", "default"),
    ("pool_model", "fragmented"),
    ("concurrent_growth", "several"),
    ("grant_dma", "default"),
    ("give_back", "several"),
    ("pool_model", "several"),
    ("exhaustion", "one"),
    ("pinned_page", "low"),
    ("user_grants", "default"),
)
# Seconds for a program, and for its guest, on a kernel with checkers.
LIMIT = 2400


def calls_of(lines):
    """How many random calls the guest with this console has made."""
    found = (re.fullmatch(r"[# ]*(\d+) calls", text) for text in lines)
    return sum(int(match[1]) for match in found if match)


def _boot(bench, kernel, number, turn):
    program, layout = turn
    calls = SLOW_CALLS if kernel.name == "checked" else CALLS
    (boot,) = bench.testing(
        f"soak-{number}-{program}-{kernel.name}", kernel, layout, limit=LIMIT,
        kargs=f"xentest.test={program} xentest.timeout={LIMIT // 2} "
              f"xentest.calls={calls}")
    return boot


def soak(settings):
    """make soak: on the Rust kernel and on the checked one, side by side."""
    start = time.monotonic()
    target = settings.out / "soak.json"
    target.unlink(missing_ok=True)
    settings.impls = ("rust",)
    bench = Bench(settings)
    bench.prepare()
    kernels = [*bench.kernels().values()]
    if bench.menu.on("CHECKED_KERNEL"):
        checked = bench.kernel_checked()
        checked.build()
        kernels.append(checked)
    else:
        say.line("without the checked kernel, which make menuconfig has off")
    totals = {program: Result() for program, _ in TURNS}
    failed, calls, number = [], 0, 0
    begin = time.monotonic()
    # A quarter of the time for the logic by itself, where it is fastest.
    totals[HOST] = host.soak(bench, settings.time // 4)
    for text in totals[HOST].failures:
        failed.append(text)
        say.line(f"  FAILED: {text}")
    while not number or time.monotonic() - begin < settings.time:
        turn = TURNS[number % len(TURNS)]
        number += 1
        boots = bench.boot_all([_boot(bench, kernel, number, turn)
                                for kernel in kernels])
        for boot in boots:
            totals[turn[0]].add(boot.result)
            calls += calls_of(boot.lines)
            texts = [*boot.problems, *boot.result.failures]
            for text in texts:
                failed.append(f"guest {boot.name}: {text} (log: {boot.log})")
                say.line(f"  FAILED: {failed[-1]}")
            # Of what is well there will be thousands.
            if not texts:
                boot.log.unlink(missing_ok=True)
    say.line()
    for program, result in totals.items():
        say.line(f"  {program:<24}{result.passed:>8,} passed"
                 f"{result.failed:>6,} failed{result.skipped:>6,} skipped")
    spent = say.duration(time.monotonic() - start)
    report.write_json(target, {
        "schema": report.SCHEMA, "kernel": bench.source.version(),
        "xen": bench.hypervisor.version, "seconds": settings.time,
        "guests": number * len(kernels), "random_calls": calls,
        "ktap": {program: result.counts()
                 for program, result in totals.items()},
        "failures": failed})
    say.line(f"result: {target}")
    say.line(f"make soak: {number * len(kernels)} guests, {calls:,} random "
             f"calls, {len(failed)} failed ({spent})")
    return 1 if failed else 0
