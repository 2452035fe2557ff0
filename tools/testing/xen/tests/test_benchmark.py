# SPDX-License-Identifier: GPL-2.0
"""The benchmark: from the guest's lines to results and a table."""

import json
import pathlib
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from unittest import mock

from workbench import benchmark, plot
from workbench.errors import Failure

C_LINES = ["BENCH pool.scattered pages=1 instructions lower 126",
           "FLOOR pool.scattered pages=1 instructions lower 31",
           "BENCH growth.time pages=64 ns lower 1000 varies",
           "# BENCH of no consequence"]
RUST_LINES = ["BENCH pool.scattered pages=1 instructions lower 117",
              "BENCH pool.scattered pages=8,freed=reversed instructions "
              "lower 1780",
              "BENCH memory.kept_after_free - KiB lower -8"]

# As on a board, whose processor counts.
BOARD_LINES = ["# Linux 7.3.4-c, Xen 4.20",
               "BENCH grant_dma.map pages=1,dir=to_device,cache=cold ns lower "
               "610 varies",
               "BENCH grant_dma.map pages=1,dir=to_device,cache=cold "
               "instructions lower 1149 varies",
               "BENCH grant_dma.map pages=1,dir=to_device,cache=cold cycles "
               "lower 1201 varies",
               "BENCH grant_dma.map pages=2,dir=to_device,cache=cold ns lower "
               "633 varies",
               "FLOOR grant_dma.map pages=1,dir=to_device,cache=cold cycles "
               "lower 99 varies",
               "BENCH locks.waited_for of=map_sg,pages=64,cpus=4 "
               "per_1000_calls lower 17840 varies"]


class BenchmarkTest(unittest.TestCase):
    def setUp(self):
        self.results = benchmark.merge({
            "c": benchmark.read_lines(C_LINES),
            "rust": benchmark.read_lines(RUST_LINES)})

    def test_merge(self):
        self.assertEqual(self.results[0], {
            "bench": "pool.scattered", "params": {"pages": 1},
            "unit": "instructions", "better": "lower", "c": 126,
            "rust": 117, "floor": 31, "varies": False})
        self.assertEqual(len(self.results), 4)
        json.dumps(self.results)

    def test_same_bench_together(self):
        self.assertEqual(self.results[1]["params"],
                         {"pages": 8, "freed": "reversed"})
        self.assertIsNone(self.results[1]["c"])

    def test_no_params_and_negative(self):
        kept = [result for result in self.results
                if result["bench"] == "memory.kept_after_free"][0]
        self.assertEqual(kept["params"], {})
        self.assertEqual(kept["rust"], -8)

    def test_table(self):
        text = "\n".join(benchmark.table(self.results))
        self.assertRegex(text, r"  1 page +126 +117 +31 +0\.929")
        self.assertRegex(text, r"  8 pages, freed reversed +- +1,780 +-$"
                         .replace("$", "(\n|$)"))
        self.assertIn("ns, varies", text)

    def test_units(self):
        results = benchmark.merge({
            "c": benchmark.read_lines(BOARD_LINES),
            "rust": benchmark.read_lines(
                [line.replace("1149", "854") for line in BOARD_LINES])})
        self.assertEqual([result["unit"] for result in results],
                         ["cycles", "instructions", "ns", "ns",
                          "per_1000_calls"])
        self.assertEqual((results[0]["c"], results[0]["floor"]), (1201, 99))
        self.assertEqual((results[1]["c"], results[1]["rust"],
                          results[1]["floor"]), (1149, 854, None))
        text = "\n".join(benchmark.table(results))
        self.assertRegex(text, r"  1 page, to the device, cache cold +1,149"
                         r" +854 +- +0\.743")
        self.assertRegex(text, r"that were waited for, per 1000 calls")
        self.assertRegex(text, r"  map_sg, 64 pages, 4 CPUs +17,840")

    def test_logs_of_a_board(self):
        with tempfile.TemporaryDirectory() as name:
            logs = [pathlib.Path(name) / impl for impl in ("c", "rust")]
            for log in logs:
                log.write_text("\r\n".join(BOARD_LINES) + "\r\n")
            out = StringIO()
            with redirect_stdout(out):
                self.assertEqual(benchmark.main([*map(str, logs)]), 0)
            content = json.loads(out.getvalue())
            self.assertEqual((content["kernel"], content["xen"]),
                             ("7.3.4-c", "4.20"))
            self.assertEqual(len(content["results"]), 5)
            self.assertTrue(all(result["varies"]
                                for result in content["results"]))

    def test_logs_without_figures(self):
        with tempfile.TemporaryDirectory() as name:
            log = pathlib.Path(name) / "log"
            log.write_text("Linux version 7.3.4\n")
            with redirect_stderr(StringIO()) as err:
                self.assertEqual(benchmark.main([str(log)] * 2), 1)
                self.assertEqual(benchmark.main([str(log)]), 2)
                self.assertEqual(benchmark.main([name + "/no", str(log)]), 1)
            self.assertIn("no figure", err.getvalue())
            self.assertIn("/no: No such file", err.getvalue())

    def test_boots(self):
        bench = mock.MagicMock()
        bench.hypervisor.debug = None
        (boots,) = benchmark.boots_of(bench, {"c": mock.Mock()}).values()
        self.assertEqual([boot.count for boot in boots], [True, True, False])
        self.assertEqual({boot.xen for boot in boots},
                         {bench.hypervisor.stock})
        self.assertIn("xentest.run=bench xentest.test=contention",
                      boots[2].argv())
        bench.hypervisor.debug = "debug"
        (boots,) = benchmark.boots_of(bench, {"c": mock.Mock()}).values()
        self.assertEqual(boots[1].xen, "debug")
        self.assertEqual(boots[2].xen, bench.hypervisor.stock)

    def test_guest_without_figures(self):
        boot = mock.Mock(problems=["it hung"], lines=[], log="log")
        boot.name = "c-bench"
        self.assertEqual(benchmark._problems([boot]), [
            "guest c-bench: it hung (log: log)",
            "guest c-bench printed no figure (log: log)"])

    def test_size(self):
        text = ("\na.o:\n"
                "0000000000000000 0000000000000400 T alloc_pages\n"
                "0000000000000400 0000000000000010 t a::b::free<a::C>\n"
                "0000000000000410 0000000000000100 t a::b::tests::frees\n"
                "0000000000000510 0000000000000100 T kunit_rust_wrapper_x\n"
                "                 U printk\n"
                "\nb.o:\n"
                "0000000000000000 0000000000000008 b a::POOL\n"
                "0000000000000008 0000000000000008 D max_pages\n"
                "0000000000000000 0000000000000020 r a::NAMES\n")
        self.assertEqual(benchmark.parse_symbols(text), (1040, 16))

    def test_picture_that_fails(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            toolchain = mock.Mock(root=folder)
            toolchain.run.return_value = 1
            (folder / "usr/lib/python3/dist-packages/matplotlib").mkdir(
                parents=True)
            with self.assertRaises(Failure) as caught:
                plot.draw(toolchain, folder / "bench.json",
                          folder / "bench.svg", folder / "plot.log")
            self.assertIn("picture", str(caught.exception))
            self.assertIn("bench.json", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
