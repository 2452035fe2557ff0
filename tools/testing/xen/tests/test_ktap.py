# SPDX-License-Identifier: GPL-2.0
"""KTAP out of a console: nesting, XFAIL, and lines that others broke."""

import os
import unittest

from workbench import ktap

KUNIT = os.environ.get("WORKBENCH_KUNIT")

CONSOLE = """\
(XEN) Freed 368kB init memory.
[    0.100000] printk: something
KTAP version 1
1..4
# timeout set to 45
# selftests: xen: grant
# TAP version 13
# 1..4
# ok 1 written data is read back
# ok 2 refused # SKIP no such option
# not ok 3 contiguous
# ok 4 superpages # XFAIL today's kernel breaks them
# # Totals: pass:1 fail:1 xfail:1 xpass:0 skip:1 error:0
not ok 1 selftests: xen: grant # exit=1
# timeout set to 45
# selftests: xen: plain.sh
# hello
ok 2 selfte(XEN) d0v1 Forwarding AES operation
sts: xen: plain.sh
# selftests: xen: none
ok 3 selftests: xen: none # SKIP
# selftests: xen: last
# KTAP version 1
# 1..1
# ok 1 # XFAIL oops
ok 4 selftests: xen: last
# Totals: pass:2 fail:1 xfail:0 xpass:0 skip:1 error:0
xentest: done
[    2.800000] reboot: Power down
"""


class LinesTest(unittest.TestCase):
    def test_broken_line(self):
        lines = ktap.console_lines(CONSOLE)
        self.assertIn("ok 2 selftests: xen: plain.sh", lines)
        self.assertIn("(XEN) d0v1 Forwarding AES operation", lines)

    def test_result_within_a_line(self):
        kernel = "[  157.596925] xen:grant_table: max_grant_frames limit="
        for result in ("# ok 25 binding again", "# not ok 3 other",
                       "not ok 4 selftests: xen: last # exit=1"):
            self.assertEqual(
                ktap.console_lines(f"{kernel}{result}\n64 count=3"),
                [kernel, result, "64 count=3"])
        kunit = "[    8.299594]     ok 1 a_test"
        self.assertEqual(ktap.console_lines(kunit), [kunit])

    def test_nesting(self):
        lines = ktap.ktap_lines(ktap.console_lines(CONSOLE))
        self.assertEqual(lines[0], "KTAP version 1")
        self.assertIn("  ok 1 written data is read back", lines)
        self.assertIn("  ok 4 superpages [XFAIL]", lines)
        self.assertIn("  ok 1 oops [XFAIL]", lines)
        self.assertNotIn("xentest: done", lines)

    def test_kunit_output_is_printk(self):
        lines = ktap.ktap_lines(["[    1.000000] KTAP version 1",
                                 "[    1.000000] 1..1",
                                 "[    1.000000]     # Subtest: pool",
                                 "[    1.000000]     ok 1 run",
                                 "[    1.000000] random: crng init done",
                                 "[    1.000000] ok 1 pool"])
        self.assertEqual(lines, ["KTAP version 1", "1..1",
                                 "    # Subtest: pool", "    ok 1 run",
                                 "ok 1 pool"])


@unittest.skipUnless(KUNIT, "needs the kernel's parser")
class ParseTest(unittest.TestCase):
    def parse(self, text):
        return ktap.parse(ktap.console_lines(text), KUNIT)

    def test_counts(self):
        result = self.parse(CONSOLE)
        self.assertEqual(result.counts(), {"pass": 2, "fail": 1, "skip": 2,
                                           "xfail": 2})
        self.assertEqual(result.failures,
                         ["selftests: xen: grant: contiguous"])
        self.assertEqual(result.passes,
                         ["selftests: xen: grant: written data is read back",
                          "selftests: xen: plain.sh"])

    def test_failure_of_a_test_whose_parts_passed(self):
        result = self.parse("TAP version 13\n1..1\n# TAP version 13\n# 1..1\n"
                            "# ok 1 part\n"
                            "not ok 1 selftests: xen: x # exit=1\n")
        self.assertEqual(result.counts()["fail"], 1)

    def test_cut_short(self):
        result = self.parse("TAP version 13\n1..3\nok 1 a\n")
        self.assertGreater(result.failed, 0)

    def test_all_good(self):
        result = self.parse("TAP version 13\n1..2\nok 1 a\nok 2 b\n")
        self.assertEqual(result.counts(), {"pass": 2, "fail": 0, "skip": 0,
                                           "xfail": 0})
