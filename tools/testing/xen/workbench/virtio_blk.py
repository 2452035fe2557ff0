# SPDX-License-Identifier: GPL-2.0
"""A disk of the domU, by virtio-blk over grants, with its backend in dom0."""

from . import report, say
from .guest import Boot

LIMIT = 1500
LIMIT_COUNT = 600
# For a request of 4 KiB; both directions are measured.
FIGURES = {
    "map_unmap_instructions": ("map_unmap",
                               "inside map and unmap of its memory"),
    "request_instructions": ("total", "of both domains and Xen"),
}
# What Rust may take of what C takes, inside map and unmap.
MOST = 0.45


def boots_of(bench, kernels):
    """On each kernel the tests, and a boot that counts instructions.

    Xen as Debian builds it has no IOREQ_SERVER.
    """
    boots = {}
    if not bench.hypervisor.debug:
        return boots
    for impl, kernel in kernels.items():
        common = {"xen": bench.hypervisor.debug, "mode": "virtio_blk",
                  "extra": ["-d", "1", "-u", "xentest.run=virtio_blk"]}
        boots[impl] = (
            Boot(bench, kernel, f"{impl}-virtio-blk", limit=LIMIT, **common),
            Boot(bench, kernel, f"{impl}-virtio-blk-count", count=True,
                 limit=LIMIT_COUNT, kargs="xentest.test=measure", **common))
    return boots


def figures(boots):
    """Name -> implementation -> instructions, of the dearer direction."""
    found = {name: {} for name in FIGURES}
    for impl, (_, counting) in boots.items():
        measured = counting.measured()
        for name, (suffix, _) in FIGURES.items():
            values = [measured.get(f"virtio_blk.{what}_{suffix}")
                      for what in ("read", "write")]
            found[name][impl] = (max(values) if all(
                isinstance(value, int) for value in values) else None)
    return found


def problems(found):
    """What is wrong with the figures."""
    texts = [f"not measured: {name} in {impl}"
             for name, values in found.items()
             for impl, value in values.items() if value is None]
    values = found["map_unmap_instructions"]
    if not texts and values["rust"] > MOST * values["c"]:
        texts.append(f"map and unmap take {values['rust']} instructions in "
                     f"Rust, more than {MOST} of {values['c']} in C")
    return texts


def show(found):
    """The figures, for people."""
    say.line(f"  {'a request of 4 KiB to a disk, instructions':<52}"
             f"{'C':>12}{'Rust':>12}{'Rust/C':>10}")
    for name, (_, text) in FIGURES.items():
        values = found[name]
        say.line(f"    {text:<50}{report.number(values['c']):>12}"
                 f"{report.number(values['rust']):>12}"
                 f"{report.ratio(values['c'], values['rust']):>10}")
