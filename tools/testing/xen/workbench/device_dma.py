# SPDX-License-Identifier: GPL-2.0
"""A disk of dom0 that does DMA to memory of the domU."""

from . import report, say
from .guest import Boot

LIMIT = 300
DISK_MIB = 16
# What has dom0 not mapped one to one; the numbers are those of some cache.
COLORED = "llc-coloring=on llc-size=1M llc-nr-ways=16"
TEXTS = {
    "own_memory": "dom0's own memory",
    "pages_in_a_row": "pages, in a row in the machine",
    "pages_apart": "pages, apart in the machine",
    "pages_apart_written": "the same, to the disk",
    "buffer_in_a_row": "a buffer, in a row in the machine",
    "buffer_apart": "a buffer, apart in the machine",
    "buffer_apart_written": "the same, to the disk",
    "buffer_apart_by_page": "the same, given page by page",
}
# Guest -> case -> whether all is bounced at least once, or nothing.
GUESTS = {
    "no_iommu": {
        "own_memory": False,
        "pages_in_a_row": False,
        "pages_apart": False,
        "pages_apart_written": False,
        "buffer_in_a_row": False,
        "buffer_apart": True,
        "buffer_apart_written": True,
        "buffer_apart_by_page": False,
    },
    "iommu": {
        "pages_apart": False,
        "pages_apart_written": False,
        "buffer_apart": False,
        "buffer_apart_written": False,
    },
    "iommu_control": {
        "pages_apart": True,
    },
}
TITLES = {
    "no_iommu": "a disk of dom0 does DMA, bytes",
    "iommu": "behind an SMMU, dom0 not mapped one to one",
    "iommu_control": "the same, told to bounce all",
}


def boots_of(bench, kernel):
    """Guest -> boot: with the hypervisor that people run, and, as that has no
    driver for the SMMU of QEMU, with the one of our own."""
    extra = ["-d", "1", "-n", DISK_MIB, "-u", "xentest.run=device_dma"]
    common = {"mode": "device_dma", "limit": LIMIT}
    boots = {"no_iommu": Boot(bench, kernel, "device-dma", extra=extra,
                              xen=bench.hypervisor.stock, **common)}
    if bench.hypervisor.debug:
        common.update(xen=bench.hypervisor.debug,
                      extra=[*extra, "-s", "-X", COLORED])
        boots["iommu"] = Boot(bench, kernel, "device-dma-iommu", **common)
        boots["iommu_control"] = Boot(
            bench, kernel, "device-dma-iommu-control",
            kargs="swiotlb=force", **common)
    return boots


def figures(measured):
    """Guest -> case -> bytes that were moved, and bytes that were bounced.

    What is measured is that of guests; one that was not booted has nothing.
    """
    found = {}
    for guest, values in measured.items():
        found[guest] = {}
        for name in GUESTS[guest]:
            found[guest][name] = {}
            for what in ("moved", "bounced"):
                value = values.get(f"device_dma.{name}.{what}")
                found[guest][name][what] = (value if isinstance(value, int)
                                            else None)
    return found


def problems(found):
    """What is wrong with the figures."""
    texts = []
    for guest, cases in found.items():
        for name, values in cases.items():
            moved, bounced = values["moved"], values["bounced"]
            if not moved or bounced is None:
                texts.append(f"not measured: device_dma {guest} {name}")
            elif (bounced < moved if GUESTS[guest][name] else bounced):
                texts.append(f"device_dma {guest} {name}: {bounced} bytes of "
                             f"{moved} are bounced")
    return texts


def show(found):
    """The figures, for people."""
    for guest, cases in found.items():
        say.line(f"  {TITLES[guest]:<52}{'moved':>12}{'bounced':>12}")
        for name, values in cases.items():
            say.line(f"    {TEXTS[name]:<50}"
                     f"{report.number(values['moved']):>12}"
                     f"{report.number(values['bounced']):>12}")
