# SPDX-License-Identifier: GPL-2.0
"""What stands in the cache is complete; what was cut short is gone."""

import pathlib
import tempfile
import unittest
from unittest import mock

from workbench.cache import Cache, key
from workbench.errors import Failure


class CacheTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cache = Cache(pathlib.Path(folder.name) / "cache")
        self.cache.open()

    def unlock(self):
        self.cache._lock.close()

    def test_complete(self):
        with self.cache.making("thing") as path:
            path.mkdir()
            (path / "part").write_text("x")
        self.assertTrue((self.cache.path / "thing/part").exists())

    def test_interrupted(self):
        with self.assertRaises(KeyboardInterrupt):
            with self.cache.making("thing") as path:
                path.mkdir()
                raise KeyboardInterrupt
        self.assertEqual([p.name for p in self.cache.path.iterdir()],
                         ["CACHEDIR.TAG"])

    def test_killed(self):
        # A process that is killed cleans nothing up: the next one does.
        left = self.cache.path / "thing.making"
        left.mkdir()
        (left / "half").write_text("x")
        self.cache.lock()
        self.addCleanup(self.unlock)
        self.assertFalse(left.exists())

    def test_disk_full(self):
        with self.assertRaises(Failure) as caught:
            with self.cache.making("thing"):
                raise OSError(28, "No space left on device")
        self.assertIn("CACHE=DIR", str(caught.exception))

    def test_too_little_space(self):
        with mock.patch("shutil.disk_usage") as usage:
            usage.return_value = mock.Mock(free=2 ** 30)
            with self.assertRaises(Failure) as caught:
                self.cache.need_space(12, "a first run")
        self.assertIn("12 GB", str(caught.exception))

    def test_clean_spares_what_is_not_ours(self):
        (self.cache.path / "CACHEDIR.TAG").unlink()
        with self.assertRaises(Failure):
            self.cache.clean()
        self.assertTrue(self.cache.path.exists())

    def test_clean(self):
        self.assertTrue(self.cache.clean())
        self.assertFalse(self.cache.path.exists())
        self.assertFalse(self.cache.clean())

    def test_key_tells_parts_apart(self):
        self.assertNotEqual(key("ab", "c"), key("a", "bc"))
