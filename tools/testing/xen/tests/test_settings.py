# SPDX-License-Identifier: GPL-2.0
"""Wrong values end in one clear line."""

import pathlib
import tempfile
import unittest

from workbench.errors import Failure
from workbench.settings import Settings


class SettingsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.env = {"CACHE": str(self.dir / "cache")}

    def refuse(self, word, **env):
        with self.assertRaises(Failure) as caught:
            Settings({**self.env, **env})
        text = str(caught.exception)
        self.assertIn(word, text)
        self.assertIn("; ", text)
        self.assertNotIn("\n", text)

    def test_defaults(self):
        settings = Settings(self.env)
        self.assertEqual(settings.impls, ("c", "rust"))
        self.assertGreaterEqual(settings.jobs, 1)
        self.assertIsNone(settings.ksrc)

    def test_impl(self):
        self.assertEqual(Settings({**self.env, "IMPL": "c"}).impls, ("c",))
        self.refuse("IMPL=go", IMPL="go")

    def test_jobs(self):
        for value in ("0", "-1", "two", "1.5", "\u0663"):
            self.refuse(f"JOBS={value}", JOBS=value)

    def test_time(self):
        self.assertEqual(Settings(self.env).time, 600)
        for value, seconds in (("90", 90), ("90s", 90), ("30m", 1800),
                               ("2h", 7200)):
            self.assertEqual(Settings({**self.env, "TIME": value}).time,
                             seconds)
        for value in ("0", "-1", "1d", "1.5h", "h", "2 h", "\u0663m"):
            self.refuse(f"TIME={value}", TIME=value)

    def test_ksrc_is_no_kernel_tree(self):
        self.refuse("KSRC=", KSRC=str(self.dir))
        self.refuse("KSRC=", KSRC=str(self.dir / "nothing"))

    def test_xen_is_no_image(self):
        path = self.dir / "xen"
        self.refuse("XEN=", XEN=str(path))
        path.write_bytes(b"\x7fELF" + b"\0" * 100)
        self.refuse("not an arm64", XEN=str(path))
        path.write_bytes(b"\0" * 56 + b"ARMd" + b"\0" * 4)
        self.assertEqual(Settings({**self.env, "XEN": str(path)}).xen,
                         path.resolve())

    def test_cache_with_something_else_in_it(self):
        (self.dir / "letter.txt").write_text("dear")
        self.refuse("other things", CACHE=str(self.dir))
        self.refuse("not a folder", CACHE=str(self.dir / "letter.txt"))

    def test_cache_path_that_make_cannot_take(self):
        self.refuse("space", CACHE=str(self.dir / "a b"))
        self.refuse("colon", CACHE=str(self.dir / "a:b"))
