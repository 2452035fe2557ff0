# SPDX-License-Identifier: GPL-2.0
"""The comparison as a table, and the result of a run as JSON."""

import json
import os

from . import say
from .errors import Failure

DMA_BUFFER = {
    "pages": "pages of the buffer",
    "cma_kib_used": "CMA that it takes, KiB",
    "ram_kib_used": "RAM that it takes, KiB",
    "superpages_shattered": "superpages of Xen's that it breaks",
    "hypercalls": "hypercalls to make and free it",
    "alloc_instructions": "instructions to allocate",
    "free_instructions": "instructions to free",
    "cycle_instructions": "instructions, whole dma-buf cycle",
}
POOL = {
    "cold_first_page": "first page after boot, instructions",
    "cold_ram_kib": "RAM gone for it, KiB",
    "alloc_free_1": "alloc + free of 1 page, instructions",
    "alloc_free_32": "alloc + free of 32 pages",
    "alloc_free_2048": "alloc + free of 2,048 pages",
}
GRANT_DMA = {
    "map_unmap_1": "map + unmap of 1 page, instructions",
    "map_unmap_64": "map + unmap of 64 pages",
    "sg_64": "the same, a list of 64 pages",
    "coherent_64": "alloc + free of 64 coherent pages",
}
GROUPS = {"dma_buffer": ("DMA buffer of a gntdev dma-buf", DMA_BUFFER),
          "pool": ("Unpopulated pages", POOL),
          "grant_dma": ("Grant DMA operations", GRANT_DMA)}
# Faults of the grant DMA operations in C; a test that passes has it not.
FAULTS = ("stale_data", "stale_ops", "repeat_setup", "fail_open",
          "unparsable_node", "domid_range", "unzeroed", "reuse_after_held",
          "leaked_refs_after_held", "no_retry", "no_max_size", "zero_size",
          "sub_page", "sg_one_lock")
SCHEMA = 1


def number(value):
    """A figure as people read it."""
    return f"{value:,}" if isinstance(value, int) else "-"


def ratio(c_value, rust_value):
    """Rust as a part of C, where that says something."""
    if not isinstance(c_value, int) or not isinstance(rust_value, int):
        return ""
    if c_value <= 0 or c_value == rust_value:
        return ""
    return f"{rust_value / c_value:.3f}"


def table(figures):
    """The lines of the comparison; figures: impl -> key -> number."""
    impls = [impl for impl in ("c", "rust") if impl in figures]
    lines = []
    for group, (title, keys) in GROUPS.items():
        head = f"{title:<38}" + "".join(
            f"{'C' if impl == 'c' else 'Rust':>14}" for impl in impls)
        lines += ["", head + ("    Rust/C" if len(impls) == 2 else "")]
        for key, text in keys.items():
            values = [figures[impl].get(f"{group}.{key}") for impl in impls]
            row = f"  {text:<36}" + "".join(
                f"{number(value):>14}" for value in values)
            if len(impls) == 2:
                row += f"{ratio(*values):>10}"
            lines.append(row.rstrip())
    return lines


def grouped(figures, group):
    """One implementation's figures of a group, as they stand in run.json."""
    keys = GROUPS[group][1]
    return {key: value if isinstance(value := figures.get(f"{group}.{key}"),
                                     int) else None for key in keys}


def faults_passed(passes):
    """Which of the fault tests are among tests that passed."""
    names = {name.split(": ")[-1] for name in passes
             if ": grant_dma: " in f": {name}"}
    return [name for name in FAULTS if name in names]


def missing(figures):
    """Figures that could not be had, with the reason."""
    out = {}
    for impl, values in figures.items():
        for group, (_, keys) in GROUPS.items():
            for key in keys:
                value = values.get(f"{group}.{key}", "was not printed")
                if not isinstance(value, int):
                    out[f"{group}.{impl}.{key}"] = value
    return out


def write_json(path, content):
    """Write a result file at once or not at all."""
    beside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "w", encoding="utf-8") as out:
            json.dump(content, out, indent=2)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}",
                      "free some space") from error


def show(lines):
    """Print lines that stay."""
    for text in lines:
        say.line(text)
