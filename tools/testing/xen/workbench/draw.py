# SPDX-License-Identifier: GPL-2.0
"""Draws cost against size. Runs inside the toolchain's root, by itself:
draw.py RESULTS PICTURE."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot, ticker  # noqa: E402

# Bench, the parameter that is its size, all others, title.
PANELS = (("pool.scattered", "pages", {}, "Pages anywhere"),
          ("dma.alloc_free", "pages", {}, "DMA buffer of a dma-buf"),
          ("grant_dma.map", "pages", {"dir": "both", "cache": "hot"},
           "A buffer mapped for DMA by grants"),
          ("grant_dma.map_sg", "entries", {"cache": "hot"},
           "A list of single pages mapped for that"))
LINES = (("c", "C", "#c1432e", "o"), ("rust", "Rust", "#2b6cb0", "s"),
         ("floor", "floor", "#6b7280", "^"))


def points(results, bench, size, others, key):
    """Sizes and costs of one line of a panel."""
    found = sorted((result["params"][size], result[key])
                   for result in results if result["bench"] == bench
                   and result["unit"] == "instructions"
                   and set(result["params"]) == {size, *others}
                   and others.items() <= result["params"].items()
                   and isinstance(result[key], int) and result[key] > 0)
    return [size for size, _ in found], [cost for _, cost in found]


def panel(axes, results, bench, size, others, title):
    """One diagram."""
    for key, label, colour, mark in LINES:
        sizes, costs = points(results, bench, size, others, key)
        style = "--" if key == "floor" else "-"
        axes.plot(sizes, costs, style, color=colour, marker=mark,
                  markersize=5, linewidth=1.6, label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(
        ticker.FuncFormatter(lambda value, _: f"{int(value):,}"))
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(f"{size} in one call")
    axes.grid(True, which="major", color="#d1d5db", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def main(source, target):
    """Draw the file of results at target."""
    with open(source, encoding="utf-8") as file:
        results = json.load(file)["results"]
    # Text stays text, the same ids every time, and no date: the same figures
    # make the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "font.size": 10,
                                "svg.hashsalt": "bench",
                                "font.family": "sans-serif"})
    figure, rows = pyplot.subplots(2, 2, figsize=(9.6, 7.6), sharey="row")
    for axes, what in zip(rows.flat, PANELS):
        panel(axes, results, *what)
    rows[0][0].set_ylabel("instructions, alloc + free")
    rows[1][0].set_ylabel("instructions, map + unmap")
    figure.tight_layout()
    metadata = ({"Date": None, "Creator": None} if target.endswith(".svg")
                else None)
    figure.savefig(target, metadata=metadata, dpi=110, facecolor="white")


if __name__ == "__main__":
    main(*sys.argv[1:])
