# SPDX-License-Identifier: GPL-2.0
"""make domains: dom0 and a domU share buffers and disks, honestly and not."""

import re
import time

from . import device_dma, report, say, virtio_blk
from .bench import Bench
from .errors import Failure
from .guest import MEASURE, Boot
from .ktap import Result

LIMIT = 1500
HOSTILE = re.compile(r"(?:frontend|backend|peer|destroyed)_\w+$")
# Figures that are printed by more than one test, each for itself.
SUMS = ("bytes_copied", "frames_checked")
FIGURES = {
    "scatter_entries": "entries of a frame's scatter list, in the domU",
    "superpages_broken": "superpages of the domU that a frame breaks",
    "bytes_copied": "bytes of the frames that were copied",
    "bytes_copied_control": "the same with a copy planted",
    "frames_checked": "frames of which every pixel was compared",
    "buffers": "frames that came and went, four at a time",
    "dom0_bounced_bytes": "bytes bounced for a device of dom0, 64 pages apart",
    "dom0_direct_bytes": "bytes in a row that it was given without",
}


FEWER = "xentest.rounds=24"


def boots_of(bench, kernel, short=False):
    """The same tests under the hypervisor that people run, and under the one
    that checks itself, which is slow; a frame has 2,025 pages only if these
    have 4 KiB.

    When it has to be short, fewer frames come and go, under the former.
    """
    boots = []
    if not bench.menu.on("PAGE_4K"):
        return boots
    for name, xen, kargs in (
            ("domains", bench.hypervisor.stock, FEWER if short else ""),
            ("domains-debug-xen", None if short else bench.hypervisor.debug,
             FEWER)):
        if xen:
            # One virtual CPU in either: Xen's debug key q is asked often.
            boots.append(Boot(bench, kernel, name, xen=xen, mode="domains",
                              limit=LIMIT, kargs=kargs,
                              extra=["-d", "1", "-u",
                                     "xentest.run=domains"]))
    return boots


def figures(lines):
    """What the program in dom0 printed: name -> number."""
    found = {}
    for text in lines:
        match = MEASURE.match(text)
        if not match or not match[1].startswith("domains.") or not match[2]:
            continue
        name = match[1].removeprefix("domains.")
        value = int(match[2])
        found[name] = found.get(name, 0) + value if name in SUMS else value
    return found


def hostile(results):
    """Names of the tests with a hostile peer that passed in every guest."""
    passed = [{name for name in result.passes if HOSTILE.match(name)}
              for result in results]
    return sorted(set.intersection(*passed)) if passed else []


def problems_of(boots):
    """What went wrong in guests."""
    found = []
    for boot in boots:
        texts = [*boot.problems, *boot.result.failures,
                 *(f"skipped: {name}" for name in boot.result.skips)]
        found += [f"guest {boot.name}: {text} (log: {boot.log})"
                  for text in texts]
    return found


def domains(settings):
    """make domains: build both kernels, boot two domains on each."""
    start = time.monotonic()
    target = settings.out / "domains.json"
    target.unlink(missing_ok=True)
    settings.impls = ("c", "rust")
    bench = Bench(settings)
    bench.prepare()
    kernels = bench.kernels()
    boots = boots_of(bench, kernels["rust"])
    if not boots:
        raise Failure("the tests between two domains need pages of 4 KiB",
                      "see make menuconfig")
    drives = device_dma.boots_of(bench, kernels["rust"])
    disks = virtio_blk.boots_of(bench, kernels)
    every = [*boots, *drives.values(),
             *(boot for pair in disks.values() for boot in pair)]
    bench.boot_all(every)
    found = figures(boots[0].lines)
    names = hostile([boot.result for boot in boots])
    total = Result()
    for boot in every:
        total.add(boot.result)
    problems = problems_of(every)
    problems += [f"not measured: {name}" for name in FIGURES
                 if name not in found]
    say.line()
    say.line(f"Linux {bench.source.version()} as dom0 and as a domU of Xen "
             f"{bench.hypervisor.version}")
    for name, text in FIGURES.items():
        say.line(f"  {text:<52}{report.number(found.get(name)):>12}")
    say.line(f"  {'tests with a hostile peer that passed':<52}"
             f"{len(names):>12}")
    moved = device_dma.figures({name: boot.measured()
                                for name, boot in drives.items()})
    device_dma.show(moved)
    problems += device_dma.problems(moved)
    disk = None
    if disks:
        disk = virtio_blk.figures(disks)
        virtio_blk.show(disk)
        problems += virtio_blk.problems(disk)
        disk["hostile"] = hostile([disks["rust"][0].result])
    else:
        say.line("not measured: a disk by virtio-blk: no Xen with "
                 f"IOREQ_SERVER ({bench.hypervisor.debug_missing})")
    say.line(f"kselftests: {total.passed} passed, {total.failed} failed, "
             f"{total.skipped} skipped, {total.xfail} expected to fail")
    for text in problems:
        say.line(f"FAILED: {text}")
    if not problems:
        report.write_json(target, {
            "schema": report.SCHEMA, "kernel": bench.source.version(),
            "xen": bench.hypervisor.version, "guests": len(every),
            "ktap": total.counts(), **{name: found[name] for name in FIGURES},
            "hostile": names, "device_dma": moved, "virtio_blk": disk})
        say.line(f"result: {target}")
    spent = say.duration(time.monotonic() - start)
    say.line(f"make domains: {'failed' if problems else 'all is well'} "
             f"({spent})")
    return 1 if problems else 0
