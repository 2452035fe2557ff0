# SPDX-License-Identifier: GPL-2.0
"""make bench: what pages and DMA by grants cost, by size and by state, C
beside Rust."""

import json
import pathlib
import re
import sys
import time

from . import ktap, plot, report, say
from .bench import Bench
from .guest import Boot

LIMIT = 600
LINE = re.compile(r"^(BENCH|FLOOR) ([\w.]+) (\S+) (\w+) (lower|higher) "
                  r"(-?\d+)( varies)?\s*$")
SYSTEM = re.compile(r"^# Linux (\S+), Xen (\S+)\s*$")
# What the program is asked to do in a boot of its own.
CONTENTION = "contention"
XEN = "xen"
TITLES = {
    "pool.scattered": "Pages anywhere, alloc + free",
    "pool.contiguous": "Pages in a row, alloc + free",
    "pool.one_by_one": "Single pages, the one that is out longest freed first",
    "pool.after_churn": "Pages anywhere, after a churn",
    "pool.chunks": "Pages anywhere, where only the last chunk has some",
    "churn.per_page": "Churn of 1 to 64 pages, per page",
    "growth.time": "Growth from nothing, page by page",
    "growth.worst_call": "The longest call of it",
    "growth.memory_events": "Memory added, how often",
    "memory.bytes_per_page": "RAM gone per page handed out",
    "memory.kept_after_free": "RAM still gone a minute after the free",
    "contiguity.success": "A run found after a churn",
    "contiguity.try": "One try of that",
    "best_fit.success": "A run found by lib/genalloc, best fit",
    "best_fit.try": "One try of that",
    "dma.alloc_free": "gnttab_dma_alloc_pages() + free",
    "dma.hypercalls": "The same",
    "dma.superpages_broken": "The same, what the first one breaks in Xen",
    "grant_dma.map": "dma_map_single() + unmap",
    "grant_dma.map_sg": "dma_map_sg() + unmap",
    "grant_dma.coherent": "dma_alloc_coherent() + free",
    "locks.longest_hold": "The longest that one lock is held",
    "locks.taken": "Locks taken by CPUs at once",
    "locks.waited_for": "Locks that were waited for",
    "size.code": "Code, without KUnit tests",
    "size.data": "Data that is written to",
}
# Objects of each part in the object tree of a kernel.
OBJECTS = {
    "unpopulated pages": {
        "c": ["drivers/xen/unpopulated-alloc.o"],
        "rust": ["drivers/xen/unpopulated/xen_unpopulated.o",
                 "drivers/xen/unpopulated/glue.o"],
    },
    "grant DMA operations": {
        "c": ["drivers/xen/grant-dma-ops.o"],
        "rust": ["drivers/xen/grant_dma_ops/xen_grant_dma.o",
                 "drivers/xen/grant_dma_ops/glue.o"],
    },
}


def params_of(text):
    """The parameters of a line, numbers as such."""
    pairs = [pair.partition("=") for pair in text.split(",") if "=" in pair]
    return {key: int(value) if value.isdigit() else value
            for key, _, value in pairs}


def read_lines(lines):
    """What the program printed: (bench, params, unit) -> a dictionary."""
    found = {}
    for text in lines:
        match = LINE.match(text)
        if not match:
            continue
        kind, bench, params, unit, better, value, varies = match.groups()
        entry = found.setdefault((bench, params, unit), {
            "better": better, "varies": bool(varies),
            "figure": None, "floor": None})
        entry["figure" if kind == "BENCH" else "floor"] = int(value)
    return found


def merge(measured):
    """The results: measured is impl -> what read_lines() returns."""
    keys = dict.fromkeys(key for found in measured.values() for key in found)
    results = []
    for bench, params, unit in keys:
        entries = {impl: found.get((bench, params, unit), {})
                   for impl, found in measured.items()}
        some = next(entry for entry in entries.values() if entry)
        floors = [entry["floor"] for entry in entries.values()
                  if entry.get("floor") is not None]
        results.append({
            "bench": bench, "params": params_of(params),
            "unit": unit, "better": some["better"],
            "c": entries.get("c", {}).get("figure"),
            "rust": entries.get("rust", {}).get("figure"),
            "floor": min(floors, default=None), "varies": some["varies"]})
    # Where one kernel has a figure for what another has not, they are
    # printed in the order of the first; this puts them together again.
    order = {name: number for number, name in enumerate(TITLES)}
    results.sort(key=lambda result: (
        order.get(result["bench"], len(order)), result["unit"]))
    return results


SYMBOL = re.compile(r"^[0-9a-f]+ ([0-9a-f]+) ([TtWwDdBb]) (.*)$", re.M)
# Objects in Rust have their KUnit tests in them, as the kernel runs these.
OF_TESTS = re.compile(r"kunit|\btests::")


def parse_symbols(text):
    """Bytes of code and of data in what `llvm-nm` prints, but for tests."""
    code = data = 0
    for size, kind, name in SYMBOL.findall(text):
        if OF_TESTS.search(name):
            continue
        if kind in "TtWw":
            code += int(size, 16)
        else:
            data += int(size, 16)
    return code, data


def sizes(bench, kernels):
    """The size of each part, as results."""
    results = []
    for part, objects in OBJECTS.items():
        values = {}
        for impl, kernel in kernels.items():
            paths = [kernel.obj / name for name in objects[impl]]
            text = (bench.toolchain.output(
                ["llvm-nm", "--print-size", "--demangle", *paths])
                    if all(path.exists() for path in paths) else None)
            values[impl] = parse_symbols(text) if text else (None, None)
        for number, name in enumerate(("size.code", "size.data")):
            results.append({
                "bench": name, "params": {"part": part}, "unit": "bytes",
                "better": "lower",
                "c": values.get("c", (None, None))[number],
                "rust": values.get("rust", (None, None))[number],
                "floor": None, "varies": False})
    return sorted(results, key=lambda result: result["bench"])


DIRECTIONS = {"both": "both ways", "to_device": "to the device",
              "from_device": "from the device"}


def show_params(params):
    """Parameters as people read them."""
    words = []
    for key, value in params.items():
        if isinstance(value, int):
            value = f"{value:,}"
        words.append({"pages": f"{value} page" + "s" * (value != "1"),
                      "entries": f"{value} entr"
                                 + ("y" if value == "1" else "ies"),
                      "dir": DIRECTIONS.get(value, value),
                      "cache": f"cache {value}",
                      "of": f"{value}", "cpus": f"{value} CPUs",
                      "freed": f"freed {value}", "part": value,
                      "in_use": f"{value} % in use",
                      "percent": f"{value} % in use",
                      "chunks": f"chunk{'s' * (value != '1')}: {value}",
                      }.get(key, f"{key} {value}"))
    return ", ".join(words) or "-"


def table(results):
    """The lines of the table."""
    lines, last = [], None
    for result in results:
        name, unit = result["bench"], result["unit"]
        if (name, unit) != last:
            last = (name, unit)
            title = f"{TITLES.get(name, name)}, {unit.replace('_', ' ')}"
            if result["varies"]:
                title += ", varies"
            lines += ["", f"{title:<60}"[:60]
                      + f"{'C':>13}{'Rust':>13}{'floor':>9}  Rust/C"]
        values = [report.number(result[key]) for key in ("c", "rust")]
        floor = report.number(result["floor"])
        lines.append((f"  {show_params(result['params']):<58}"
                      f"{values[0]:>13}{values[1]:>13}{floor:>9}"
                      f"{report.ratio(result['c'], result['rust']):>8}"
                      ).rstrip())
    return lines


def boots_of(bench, kernels):
    """The boots of each kernel; nothing else may have run before in any.

    What is counted in instructions is counted under the hypervisor that people
    run, and what Xen counts itself under the one that does. Where CPUs run at
    once, instructions cannot be counted.
    """
    xen = bench.hypervisor
    return {impl: [
        Boot(bench, kernel, f"{impl}-bench", xen=xen.stock, mode="bench",
             count=True, limit=LIMIT),
        Boot(bench, kernel, f"{impl}-bench-xen", xen=xen.debug or xen.stock,
             mode="bench", count=True, limit=LIMIT,
             kargs=f"xentest.test={XEN}"),
        Boot(bench, kernel, f"{impl}-bench-contention", xen=xen.stock,
             mode="bench", limit=LIMIT, extra=["-p", "4"],
             kargs=f"xentest.test={CONTENTION}"),
    ] for impl, kernel in kernels.items()}


def _problems(boots):
    problems = [f"guest {boot.name}: {text} (log: {boot.log})"
                for boot in boots for text in boot.problems]
    return problems + [
        f"guest {boot.name} printed no figure (log: {boot.log})"
        for boot in boots if not read_lines(boot.lines)]


def bench(settings):
    """make bench: build both, measure both, draw."""
    start = time.monotonic()
    target = settings.out / "bench.json"
    target.unlink(missing_ok=True)
    workbench = Bench(settings)
    workbench.prepare()
    kernels = workbench.kernels()
    boots = boots_of(workbench, kernels)
    every = [boot for group in boots.values() for boot in group]
    workbench.boot_all([boot for boot in every if boot.count])
    # One at a time: whoever waits for a lock waits for the others' CPUs too.
    for boot in every:
        if not boot.count:
            boot.run()
    results = merge({
        impl: read_lines([text for boot in group for text in boot.lines])
        for impl, group in boots.items()}) + sizes(workbench, kernels)
    say.line(f"Linux {workbench.source.version()} as dom0 of Xen "
             f"{workbench.hypervisor.version}")
    report.show(table(results))
    say.line()
    problems = _problems(every)
    for text in problems:
        say.line(f"FAILED: {text}")
    if not problems and len(kernels) == 2:
        report.write_json(target, {
            "schema": report.SCHEMA, "kernel": workbench.source.version(),
            "xen": workbench.hypervisor.version, "results": results})
        say.line(f"result: {target}")
        picture = settings.out / "bench.svg"
        plot.draw(workbench.toolchain, target, picture,
                  settings.logs / "bench-plot.log")
        say.line(f"picture: {picture}")
    spent = say.duration(time.monotonic() - start)
    say.line(f"make bench: {'failed' if problems else 'done'} ({spent})")
    return 1 if problems else 0


def from_logs(logs):
    """The result file, of what was printed elsewhere: impl -> text."""
    lines = {impl: ktap.console_lines(text) for impl, text in logs.items()}
    measured = {impl: read_lines(found) for impl, found in lines.items()}
    systems = [match for found in lines.values() for text in found
               if (match := SYSTEM.match(text))]
    return {"schema": report.SCHEMA,
            "kernel": systems[0][1] if systems else None,
            "xen": systems[0][2] if systems else None,
            "results": merge(measured)}


def main(argv):
    """python3 -m workbench.benchmark C-LOG RUST-LOG >bench.json"""
    if len(argv) != 2:
        print("usage: python3 -m workbench.benchmark C-LOG RUST-LOG",
              file=sys.stderr)
        return 2
    try:
        logs = {impl: pathlib.Path(name).read_text(errors="replace")
                for impl, name in zip(("c", "rust"), argv)}
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    content = from_logs(logs)
    if not content["results"]:
        print("error: there is no figure in these logs", file=sys.stderr)
        return 1
    json.dump(content, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
