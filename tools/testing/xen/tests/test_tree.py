# SPDX-License-Identifier: GPL-2.0
"""Assembly: what belongs to which patch, and what is written when."""

import pathlib
import shutil
import tempfile
import types
import unittest

from workbench import series
from workbench.cache import Cache
from workbench.errors import Failure
from workbench.tree import Tree

PATCH = """\
Subject: xen: add x

Because.
---
diff --git a/drivers/xen/Kconfig b/drivers/xen/Kconfig
--- a/drivers/xen/Kconfig
+++ b/drivers/xen/Kconfig
@@ -1 +1 @@
-old
+new
"""


class FakeToolchain:
    """Copies for rsync; for patch, writes what the test wants."""

    def __init__(self):
        self.applies = True

    def run(self, argv, log, _what, cwd=None, **_kwargs):
        if argv[0] == "rsync":
            shutil.copytree(argv[-2], argv[-1], dirs_exist_ok=True)
            return 0
        log.parent.mkdir(exist_ok=True)
        log.write_text("patching file drivers/xen/Kconfig\n")
        if not self.applies:
            return 1
        (pathlib.Path(cwd) / "drivers/xen/Kconfig").write_text("new\n")
        return 0


class TreeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.repo = self.dir / "repo"
        self.write("repo/drivers/xen/x.rs", "fn x() {}\n")
        self.write("repo/patches/0001-x.patch", PATCH)
        self.write("repo/patches/series",
                   "# order\n0001-x.patch\n\tdrivers/xen/x.rs\n")
        self.write("repo/README.md", "no part of a kernel\n")
        self.write("src/drivers/xen/Kconfig", "old\n")
        self.write("src/init/main.c", "main\n")
        cache = Cache(self.dir / "cache")
        cache.open()
        settings = types.SimpleNamespace(cache=cache,
                                         logs=self.dir / "logs")
        source = types.SimpleNamespace(path=self.dir / "src", key="src",
                                       own=False, version=lambda: "7.3")
        self.toolchain = FakeToolchain()
        self.tree = Tree(settings, self.toolchain, source, self.repo)

    def write(self, name, text):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(self, name):
        return (self.tree.path / name).read_text()

    def test_assembled(self):
        changed = self.tree.assemble()
        self.assertEqual(changed, ["drivers/xen/Kconfig",
                                   "drivers/xen/x.rs"])
        self.assertEqual(self.read("drivers/xen/Kconfig"), "new\n")
        self.assertEqual(self.read("init/main.c"), "main\n")
        self.assertFalse((self.tree.path / "README.md").exists())
        self.assertEqual((self.dir / "src/drivers/xen/Kconfig").read_text(),
                         "old\n")

    def test_nothing_changed_nothing_written(self):
        self.tree.assemble()
        before = (self.tree.path / "drivers/xen/x.rs").stat().st_mtime_ns
        self.assertEqual(self.tree.assemble(), [])
        self.assertEqual((self.tree.path / "drivers/xen/x.rs"
                          ).stat().st_mtime_ns, before)

    def test_one_edit_one_file(self):
        self.tree.assemble()
        self.write("repo/drivers/xen/x.rs", "fn x() { }\n")
        self.assertEqual(self.tree.assemble(), ["drivers/xen/x.rs"])

    def test_taken_out_again(self):
        self.tree.assemble()
        self.write("repo/patches/series", "")
        (self.repo / "drivers/xen/x.rs").unlink()
        self.tree.assemble()
        self.assertEqual(self.read("drivers/xen/Kconfig"), "old\n")
        self.assertFalse((self.tree.path / "drivers/xen/x.rs").exists())

    def test_patch_that_does_not_apply(self):
        self.toolchain.applies = False
        with self.assertRaises(Failure) as caught:
            self.tree.assemble()
        text = str(caught.exception)
        self.assertIn("patches/0001-x.patch does not apply", text)
        self.assertIn("drivers/xen/Kconfig", text)

    def check(self, word):
        with self.assertRaises(Failure) as caught:
            series.check(series.read_series(self.repo),
                         series.kernel_files(self.repo))
        self.assertIn(word, str(caught.exception))

    def test_file_in_no_patch(self):
        self.write("repo/drivers/xen/y.rs", "\n")
        self.check("drivers/xen/y.rs is in no patch")

    def test_file_in_two_patches(self):
        self.write("repo/patches/series", "0001-x.patch\n\tdrivers/xen/x.rs\n"
                   "0002-y.patch\n\tdrivers/xen/x.rs\n")
        self.check("two patches")

    def test_file_that_is_not_there(self):
        self.write("repo/patches/series", "0001-x.patch\n\tdrivers/xen/x.rs\n"
                   "\tdrivers/xen/z.rs\n")
        self.check("no such file")

    def test_patch_that_is_not_there(self):
        self.write("repo/patches/series", "0009-z.patch\n")
        (self.repo / "drivers/xen/x.rs").unlink()
        with self.assertRaises(Failure) as caught:
            self.tree.assemble()
        self.assertIn("0009-z.patch", str(caught.exception))

    def test_message(self):
        (patch,) = series.read_series(self.repo)
        self.assertEqual(patch.message(), ("xen: add x", "Because."))
        self.assertEqual(patch.edits(), ["drivers/xen/Kconfig"])
        self.assertTrue(patch.diff().startswith("diff --git"))
