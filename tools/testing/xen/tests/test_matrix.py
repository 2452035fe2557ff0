# SPDX-License-Identifier: GPL-2.0
"""The rows of make matrix are complete."""

import itertools
import unittest

from workbench.kernel import SWITCHES
from workbench.matrix import COMBINATIONS


class MatrixTest(unittest.TestCase):
    def test_all_valid_combinations_are_there(self):
        # The DMA buffers need the pool; all off and all on are kernels that
        # exist anyway.
        self.assertIn("GRANT_DMA_ALLOC", SWITCHES[1])
        valid = {"".join(values) for values in itertools.product("ny", repeat=3)
                 if not (values[0] == "n" and values[1] == "y")}
        self.assertEqual(valid, {"nnn", "yyy", *COMBINATIONS.values()})
        self.assertEqual(len(valid), 6)
