# SPDX-License-Identifier: GPL-2.0
"""The smaller parts: programs, package lists, the table, the series."""

import json
import pathlib
import tempfile
import time
import unittest
from unittest import mock

from workbench import checks, hypervisor, kernel, proc, report, toolchain
from workbench.errors import Failure


class ProcTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = pathlib.Path(folder.name) / "logs/x.log"

    def test_failure_has_tail_and_log(self):
        with self.assertRaises(Failure) as caught:
            proc.run(["sh", "-c", "echo one; echo two; exit 3"], self.log,
                     "do it")
        self.assertEqual(caught.exception.tail, ["one", "two"])
        self.assertIn("could not do it (exit status 3)",
                      str(caught.exception))
        self.assertIn(str(self.log), str(caught.exception))

    def test_hang(self):
        start = time.monotonic()
        with self.assertRaises(Failure) as caught:
            proc.run(["sh", "-c", "sleep 60 & sleep 60"], self.log, "wait",
                     timeout=1)
        self.assertLess(time.monotonic() - start, 20)
        self.assertIn("did not end within", str(caught.exception))

    def test_missing_program(self):
        with self.assertRaises(Failure) as caught:
            proc.run(["no-such-program-here"], self.log, "run it")
        self.assertIn("no-such-program-here", str(caught.exception))

    def test_disk_full(self):
        self.assertIn("CACHE=DIR", proc.explain(
            ["x.o: No space left on device"]))

    def test_no_network(self):
        self.assertIn("network", proc.explain(
            ["E: Failed to fetch somewhere/x.deb"]))


class ToolchainTest(unittest.TestCase):
    def test_acquire(self):
        dump = ('Acquire "";\nAcquire::cdrom "";\n'
                'Acquire::cdrom::mount "/media/cdrom/";\n'
                'Acquire::Check-Date "false";\n'
                'Acquire::http::Proxy "proxy:3128";\n'
                'Acquire::IndexTargets::deb::Packages::Optional "0";\n')
        self.assertEqual(toolchain.acquire_settings(dump),
                         'Acquire::Check-Date "false";\n'
                         'Acquire::http::Proxy "proxy:3128";\n')

    def test_mirror(self):
        self.assertEqual(toolchain.pick_mirror(
            "m/debian-security Debian-Security\nm/debian Debian\n"),
            "m/debian")
        self.assertEqual(toolchain.pick_mirror(
            "m/debian-security \nm/debian \n"), "m/debian")
        self.assertIsNone(toolchain.pick_mirror(""))


class HypervisorTest(unittest.TestCase):
    def test_showsrc(self):
        text = ("Package: xen\nVersion: 4.20.0-1\nChecksums-Sha256:\n "
                + "a" * 64 + " 1 xen_4.20.0.orig.tar.xz\n\n"
                "Package: xen\nVersion: 4.20.3+1-0+x\nChecksums-Sha256:\n "
                + "b" * 64 + " 9 xen_4.20.3+1-0+x.dsc\n "
                + "c" * 64 + " 9 xen_4.20.3+1.orig.tar.xz\n")
        self.assertEqual(hypervisor.parse_showsrc(text, "4.20.3+1-0+x"),
                         ("xen_4.20.3+1.orig.tar.xz", "c" * 64))
        self.assertIsNone(hypervisor.parse_showsrc(text, "4.21"))


class KernelTest(unittest.TestCase):
    def test_options_that_did_not_take(self):
        wanted = kernel.parse_config(
            "CONFIG_A=y\nCONFIG_B=5\n# CONFIG_C is not set\nCONFIG_D=y\n")
        got = kernel.parse_config("CONFIG_A=y\nCONFIG_B=4\nCONFIG_E=y\n")
        self.assertEqual(kernel.not_taken(wanted, got), ["B", "D"])


class ReportTest(unittest.TestCase):
    FIGURES = {"c": {"dma_buffer.pages": 2048, "pool.alloc_free_1": 200},
               "rust": {"dma_buffer.pages": 2048, "pool.alloc_free_1": 100,
                        "pool.alloc_free_32": "no such thing"}}

    def test_table(self):
        text = "\n".join(report.table(self.FIGURES))
        self.assertIn("2,048", text)
        self.assertIn("0.500", text)

    def test_missing(self):
        missing = report.missing(self.FIGURES)
        self.assertEqual(missing["pool.rust.alloc_free_32"], "no such thing")
        self.assertNotIn("pool.c.alloc_free_1", missing)

    def test_faults_passed(self):
        passes = ["selftests: xen: grant_dma: sub_page",
                  "selftests: xen: grant_dma: stale_ops",
                  "selftests: xen: grant_dma: scatter lists carry data",
                  "selftests: xen: other: no_retry"]
        self.assertEqual(report.faults_passed(passes),
                         ["stale_ops", "sub_page"])

    def test_json(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "out/run.json"
            report.write_json(path, {"a": 1})
            self.assertEqual(json.loads(path.read_text()), {"a": 1})
            self.assertEqual([p.name for p in path.parent.iterdir()],
                             ["run.json"])


class ChecksTest(unittest.TestCase):
    LOG = """\
  CLIPPY   drivers/xen/a.o
warning: this is needless
  --> {tree}/drivers/xen/a.rs:3:5
   |
error: no such thing
  --> drivers/xen/c.rs:1:1
warning: unused
   --> drivers/other/b.rs:1:1
"""

    def test_clippy(self):
        with tempfile.TemporaryDirectory() as folder:
            tree = pathlib.Path(folder)
            (tree / "drivers/xen").mkdir(parents=True)
            names = [f"drivers/xen/{name}.rs" for name in "abc"]
            for name in names:
                (tree / name).touch()
            log = tree / "log"
            log.write_text(self.LOG.format(tree=tree))
            check = checks.Checks.__new__(checks.Checks)
            check.tree = mock.Mock(path=tree)
            check.rust_files = lambda: names
            kernel_ = mock.Mock(log=log)
            result = check.clippy(kernel_)
            self.assertEqual((result.passed, result.failed), (1, 2))
            kernel_.forget.assert_called()
            log.unlink()
            self.assertEqual(check.clippy(kernel_).passed, 3)

    def test_mail_that_only_looks_different(self):
        one = f"From {'1' * 40} Mon\nDate: today\nSubject: x\n\ny\n"
        other = f"From {'2' * 40} Mon\nDate: then\nSubject: x\n\ny\n"
        self.assertEqual(checks.lasting(one), checks.lasting(other))
        self.assertNotEqual(checks.lasting(one), checks.lasting(one + "z"))


class UnsafeTest(unittest.TestCase):
    def test_what_is_counted(self):
        text = """
            // unsafe { in a comment }
            #[allow(unsafe_op)]
            let x = unsafe { 1 };
            unsafe extern "C" fn f() {}
            unsafe impl Send for X {}
            /// An unsafe {} thing
            let unsafely = {};
        """
        self.assertEqual(checks.count_unsafe(text), 3)

    def test_boundary_exists(self):
        from workbench.settings import REPO
        for name in checks.BOUNDARY:
            self.assertTrue((REPO / name).exists(), name)
            self.assertTrue(checks.count_unsafe((REPO / name).read_text()))
