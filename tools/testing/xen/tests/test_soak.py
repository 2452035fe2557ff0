# SPDX-License-Identifier: GPL-2.0
"""What make soak reads off a console."""

import unittest

from workbench.soak import TURNS, calls_of


class SoakTest(unittest.TestCase):
    def test_calls_are_counted(self):
        lines = ["# # 20000 calls", "# # map: 12 did something",
                 "# 5 calls", "# # 7 calls of something else", "ok 1 calls"]
        self.assertEqual(calls_of(lines), 20005)

    def test_layouts_exist(self):
        from workbench.settings import REPO
        text = (REPO / "tools/testing/selftests/xen/qemu/layouts.sh"
                ).read_text()
        names = text.partition('LAYOUTS="')[2].partition('"')[0].split()
        for program, layout in TURNS:
            self.assertIn(layout, names)
            self.assertTrue((REPO / "tools/testing/selftests/xen"
                             / f"{program}.c").exists())
