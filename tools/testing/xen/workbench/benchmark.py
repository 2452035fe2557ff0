# SPDX-License-Identifier: GPL-2.0
"""make bench: what the pool costs, by size and by state, C beside Rust."""

import re
import time

from . import plot, report, say
from .bench import Bench
from .guest import Boot

LIMIT = 600
LINE = re.compile(r"^(BENCH|FLOOR) ([\w.]+) (\S+) (\w+) (lower|higher) "
                  r"(-?\d+)( varies)?\s*$")
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
    """What the program printed: (bench, params) -> a dictionary."""
    found = {}
    for text in lines:
        match = LINE.match(text)
        if not match:
            continue
        kind, bench, params, unit, better, value, varies = match.groups()
        entry = found.setdefault((bench, params), {
            "unit": unit, "better": better, "varies": bool(varies),
            "figure": None, "floor": None})
        entry["figure" if kind == "BENCH" else "floor"] = int(value)
    return found


def merge(measured):
    """The results: measured is impl -> what read_lines() returns."""
    keys = dict.fromkeys(key for found in measured.values() for key in found)
    results = []
    for bench, params in keys:
        entries = {impl: found.get((bench, params), {})
                   for impl, found in measured.items()}
        some = next(entry for entry in entries.values() if entry)
        floors = [entry["floor"] for entry in entries.values()
                  if entry.get("floor") is not None]
        results.append({
            "bench": bench, "params": params_of(params),
            "unit": some["unit"], "better": some["better"],
            "c": entries.get("c", {}).get("figure"),
            "rust": entries.get("rust", {}).get("figure"),
            "floor": min(floors, default=None), "varies": some["varies"]})
    # Where one kernel has a figure for what another has not, they are
    # printed in the order of the first; this puts them together again.
    order = {name: number for number, name in enumerate(TITLES)}
    results.sort(key=lambda result: order.get(result["bench"], len(order)))
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


def show_params(params):
    """Parameters as people read them."""
    words = []
    for key, value in params.items():
        if isinstance(value, int):
            value = f"{value:,}"
        words.append({"pages": f"{value} page" + "s" * (value != "1"),
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
        if result["bench"] != last:
            last = result["bench"]
            title = f"{TITLES.get(last, last)}, {result['unit']}"
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
    """One boot for each kernel; nothing else may have run before."""
    return {impl: Boot(bench, kernel, f"{impl}-bench",
                       xen=bench.hypervisor.stock, mode="bench", count=True,
                       limit=LIMIT)
            for impl, kernel in kernels.items()}


def _problems(boots, measured):
    problems = [f"guest {boot.name}: {text} (log: {boot.log})"
                for boot in boots.values() for text in boot.problems]
    problems += [f"guest {boots[impl].name} printed no figure (log: "
                 f"{boots[impl].log})"
                 for impl, found in measured.items() if not found]
    return problems


def bench(settings):
    """make bench: build both, measure both, draw."""
    start = time.monotonic()
    target = settings.out / "bench.json"
    target.unlink(missing_ok=True)
    workbench = Bench(settings)
    workbench.prepare()
    kernels = workbench.kernels()
    boots = boots_of(workbench, kernels)
    workbench.boot_all(list(boots.values()))
    measured = {impl: read_lines(boot.lines) for impl, boot in boots.items()}
    results = merge(measured) + sizes(workbench, kernels)
    say.line(f"Linux {workbench.source.version()} as dom0 of Xen "
             f"{workbench.hypervisor.version}")
    report.show(table(results))
    say.line()
    problems = _problems(boots, measured)
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
