# SPDX-License-Identifier: GPL-2.0
"""What the tests between two domains print, and what becomes of it."""

import unittest

from workbench import device_dma, domains, virtio_blk
from workbench.ktap import Result

CONSOLE = """\
TAP version 13
1..3
MEASURE domains.bytes_copied 0
MEASURE domains.frames_checked 9
ok 1 nothing is copied
MEASURE domains.bytes_copied 5
MEASURE domains.frames_checked 250
MEASURE domains.scatter_entries 1
MEASURE domains.scatter_entries 2
MEASURE dma_buffer.pages 2048
MEASURE domains.broken skip no reason
(XEN) DOM1: MEASURE domains.frames_checked 1000
""".splitlines()


class Domains(unittest.TestCase):
    """Figures and names."""

    def test_figures_of_many_tests_are_added(self):
        """A copy in any of them is a copy."""
        found = domains.figures(CONSOLE)
        self.assertEqual(found["bytes_copied"], 5)
        self.assertEqual(found["frames_checked"], 259)

    def test_other_figures_are_not(self):
        """What is no count stands as it was printed last."""
        found = domains.figures(CONSOLE)
        self.assertEqual(found["scatter_entries"], 2)
        self.assertNotIn("broken", found)
        self.assertNotIn("dma_buffer.pages", found)

    def test_a_peer_is_withstood_in_every_guest(self):
        """One guest in which a test failed is enough."""
        both = ["frontend_revokes", "backend_keeps", "a copy would be found"]
        results = [Result(passes=both), Result(passes=both[1:])]
        self.assertEqual(domains.hostile(results), ["backend_keeps"])
        self.assertEqual(domains.hostile([]), [])


class Disk(unittest.TestCase):
    """What a request takes."""

    @staticmethod
    def found(c_value, rust_value):
        """Figures of which only one matters."""
        return {"map_unmap_instructions": {"c": c_value, "rust": rust_value},
                "request_instructions": {"c": 9, "rust": 9}}

    def test_the_bound(self):
        """Rust may take that much of C, and no more."""
        self.assertEqual(virtio_blk.problems(self.found(1000, 450)), [])
        self.assertEqual(len(virtio_blk.problems(self.found(1000, 451))), 1)

    def test_what_is_missing(self):
        """A figure that there is not is no good one."""
        self.assertEqual(virtio_blk.problems(self.found(None, 1)),
                         ["not measured: map_unmap_instructions in c"])


class Drive(unittest.TestCase):
    """What a disk moves, and what of it is bounced."""

    @staticmethod
    def found(guest="no_iommu", **changed):
        """What is measured if all is well, but for what is changed."""
        measured = {}
        for name, bounces in device_dma.GUESTS[guest].items():
            measured[f"device_dma.{name}.moved"] = 8192
            measured[f"device_dma.{name}.bounced"] = 8192 if bounces else 0
        for name, values in changed.items():
            for what, value in values.items():
                measured[f"device_dma.{name}.{what}"] = value
        return device_dma.figures({guest: measured})

    def test_all_is_well(self):
        """With and without an IOMMU something has to be bounced."""
        for guest in device_dma.GUESTS:
            self.assertEqual(device_dma.problems(self.found(guest)), [])
        self.assertIn(True, device_dma.GUESTS["no_iommu"].values())
        self.assertEqual(set(device_dma.GUESTS["iommu_control"].values()),
                         {True})

    def test_a_page_that_is_bounced(self):
        """None may be where all goes straight."""
        found = self.found(pages_apart={"bounced": 4096})
        self.assertEqual(found["no_iommu"]["pages_apart"],
                         {"moved": 8192, "bounced": 4096})
        self.assertEqual(device_dma.problems(found), [
            "device_dma no_iommu pages_apart: 4096 bytes of 8192 are bounced"])

    def test_the_control(self):
        """Nothing counts bytes if none are counted there."""
        self.assertEqual(len(device_dma.problems(
            self.found(buffer_apart={"bounced": 0}))), 1)
        self.assertEqual(len(device_dma.problems(self.found(
            "iommu_control", pages_apart={"bounced": 4096}))), 1)

    def test_what_is_missing(self):
        """A transfer of nothing is none, and a reason is no figure."""
        for values in ({"moved": 0}, {"bounced": "no reason"}):
            self.assertEqual(
                device_dma.problems(self.found(pages_in_a_row=values)),
                ["not measured: device_dma no_iommu pages_in_a_row"])


if __name__ == "__main__":
    unittest.main()
