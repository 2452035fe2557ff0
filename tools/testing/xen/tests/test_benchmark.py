# SPDX-License-Identifier: GPL-2.0
"""The benchmark: from the guest's lines to results and a table."""

import json
import pathlib
import tempfile
import unittest
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
