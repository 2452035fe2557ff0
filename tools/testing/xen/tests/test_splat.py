# SPDX-License-Identifier: GPL-2.0
"""A planted splat is seen; what only looks like one is not."""

import unittest

from workbench.splat import find_splats, livelocked, mute, slept

WARN = """\
[    2.100000] ------------[ cut here ]------------
[    2.100001] WARNING: drivers/xen/grant-table.c:123 at gnttab_x+0x10/0x20, CPU#0: sh/77
[    2.100002] Call trace:
[    2.100003]  gnttab_x+0x10/0x20
[    2.100004] ---[ end trace 0000000000000000 ]---
[    2.200000] something else""".splitlines()

MESSAGE = [WARN[0], "[    2.100001] xen: 3 pages are wrong", *WARN[1:]]

SINGLE = [
    "[    1.0] BUG: KASAN: slab-use-after-free in foo+0x1/0x2",
    "[    1.000000] BUG: sleeping function called from invalid context at x",
    "[    1.000000][   T12] BUG: unable to handle page fault",
    "[    1.000000] Unable to handle kernel paging request at virtual",
    "[    1.000000] Internal error: Oops: 0000000096000004 [#1]  SMP",
    "[    1.000000] Kernel panic - not syncing: Fatal exception",
    "[    1.000000] WARNING: possible circular locking dependency detected",
    "[    1.000000] WARNING: suspicious RCU usage",
    "[    1.000000] rcu: INFO: rcu_sched self-detected stall on CPU",
    "[    1.000000] INFO: task sh:12 blocked for more than 120 seconds.",
    "[    1.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 26s!",
    "[    1.000000] refcount_t: underflow; use-after-free.",
    "[    1.000000] list_add corruption. next->prev should be prev",
    "[    1.000000] UBSAN: shift-out-of-bounds in x.c:1:2",
    "[    1.000000] BUG: Bad page state in process sh  pfn:40400",
    "unreferenced object 0xffff000002a0b000 (size 4096):",
    "[    1.000000] rust_kernel: panicked at drivers/xen/x.rs:1:2:",
    "(XEN) Assertion 'page' failed at common/grant_table.c:1",
    "(XEN) Panic on CPU 0:",
    "(XEN) Xen BUG at common/page_alloc.c:1",
    "(XEN) Hardware Dom0 crashed: rebooting machine in 5 seconds.",
    "(XEN) DOM1: [    1.000000] BUG: KASAN: use-after-free in bar",
    "[    1.000000] xen:grant_table: leaking g.e. 0x1f (page 0x2f)",
    "[    1.000000] pagealloc: memory corruption",
    "[    1.000000] sh: page allocation failure: order:0, mode:0xcc0",
    "[    1.000000] sysfs: cannot create duplicate filename '/x'",
]

INNOCENT = [
    "(XEN) WARNING: CONSOLE OUTPUT IS SYNCHRONOUS",
    "(XEN) WARNING: SILO mode is not enabled.",
    "# BUG: is what this test provokes",
    "ok 3 WARNING: is only in the name of a test",
    "[    1.000000] xen: a debugging message",
    "    # double_free: a double free is refused",
    "(XEN) **** Guests without CPU erratum workarounds can deadlock!",
]


class SplatTest(unittest.TestCase):
    def test_block_is_one_splat(self):
        self.assertEqual(len(find_splats(WARN)), 1)
        self.assertEqual(len(find_splats(WARN + WARN)), 2)
        self.assertEqual(find_splats(MESSAGE), [WARN[1]])

    def test_single_lines(self):
        for text in SINGLE:
            self.assertEqual(find_splats(["before", text, "after"]), [text])

    def test_one_line_hides_no_other(self):
        line = "[    1.000000] refcount_t: underflow; use-after-free."
        self.assertEqual(find_splats([line, *WARN]), [line, WARN[1]])

    def test_innocent(self):
        self.assertEqual(find_splats(INNOCENT), [])

    def test_announced(self):
        said = ["# expect-splat: gnttab_x"]
        self.assertEqual(find_splats(said + WARN), [])
        # Only what comes after, once, and by its own message.
        self.assertEqual(find_splats(WARN + said), [WARN[1]])
        self.assertEqual(find_splats(said + WARN + WARN), [WARN[1]])
        self.assertEqual(find_splats(said + said + WARN + WARN), [])
        caller = [*WARN[:3], WARN[3].replace("_x", "_y"), *WARN[4:]]
        said = ["# expect-splat: gnttab_y"]
        self.assertEqual(find_splats(said + caller), [WARN[1]])
        said = ["# expect-splat: 3 pages are wrong"]
        self.assertEqual(find_splats(said + MESSAGE), [])
        said = ["# expect-splat: gnttab_x"]
        other = ["[    3.000000] BUG: KASAN: use-after-free in other"]
        self.assertEqual(find_splats(said + WARN + other), other)

    def test_mute(self):
        asked = "vmtest: asking where it is, there is no end yet"
        before = ["(XEN) Freed 368kB init memory.", asked]
        self.assertTrue(mute(before))
        self.assertFalse(mute(before[:1]))
        self.assertFalse(mute(before + ["(XEN) *** Serial input to Xen"]))

    def test_slept(self):
        asked = ("vmtest: asking where it is, nothing is printed; "
                 "expect-splat: rcu: INFO: rcu_sched")
        stall = ("[  284.070182] rcu: INFO: rcu_sched self-detected stall on "
                 "CPU")
        self.assertEqual(slept([asked, stall]), 1)
        self.assertEqual(slept(["vmtest: asking where it is, there is no end "
                                "yet"]), 0)
        self.assertEqual(find_splats([asked, stall]), [])
        self.assertEqual(find_splats([stall, asked]), [stall])
        self.assertEqual(find_splats([asked] + 61 * ["ok"] + [stall]), [stall])

    def test_livelock(self):
        self.assertTrue(livelocked(["(XEN)   Pending irq=1"] * 100))
        self.assertFalse(livelocked(["(XEN)   Pending irq=1"] * 5))
