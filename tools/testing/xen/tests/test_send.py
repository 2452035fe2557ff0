# SPDX-License-Identifier: GPL-2.0
"""From the repository to a branch and back, in a small kernel of our own."""

import os
import pathlib
import subprocess
import tempfile
import types
import unittest
from unittest import mock

from workbench import commits, receive, say, send, series
from workbench.errors import Failure
from workbench.git import identity

MAKEFILE = "# SPDX\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 0\n"
KCONFIG = "".join(f"line {number}\n" for number in range(20))
FIX = """\
Subject: xen: mend y

It is broken.
---
A note to nobody.

diff --git a/drivers/xen/y.c b/drivers/xen/y.c
--- a/drivers/xen/y.c
+++ b/drivers/xen/y.c
@@ -1 +1 @@
-broken
+mended
"""
FEATURE = """\
Subject: xen: add x

Because.
---
diff --git a/drivers/xen/Kconfig b/drivers/xen/Kconfig
--- a/drivers/xen/Kconfig
+++ b/drivers/xen/Kconfig
@@ -1,3 +1,4 @@
 line 0
+config X
 line 1
 line 2
"""
SERIES = """\
# About this file.

# [fixes] What is broken.
0001-y.patch

# What is new.
0010-x.patch
\tdrivers/xen/x.rs
"""
PERSON = {"GIT_AUTHOR_NAME": "N N", "GIT_AUTHOR_EMAIL": "n@localhost",
          "GIT_COMMITTER_NAME": "N N", "GIT_COMMITTER_EMAIL": "n@localhost",
          "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


class SendTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.repo, self.kernel = self.dir / "repo", self.dir / "kernel"
        for patched in (mock.patch.dict("os.environ", PERSON),
                        mock.patch.object(send, "REPO", self.repo),
                        mock.patch.object(receive, "REPO", self.repo),
                        mock.patch.object(say, "line"),
                        mock.patch.object(say.REPORTER, "out")):
            patched.start()
            self.addCleanup(patched.stop)
        self.write("repo/patches/0001-y.patch", FIX)
        self.write("repo/patches/0010-x.patch", FEATURE)
        self.write("repo/patches/series", SERIES)
        self.write("repo/patches/cover-letter", "subject\n\ntext\n")
        self.write("repo/drivers/xen/x.rs", "fn x() {}\n")
        self.write("kernel/Makefile", MAKEFILE)
        self.write("kernel/drivers/xen/Kconfig", KCONFIG)
        self.write("kernel/drivers/xen/y.c", "broken\n")
        self.commit_all(self.repo)
        self.commit_all(self.kernel)
        self.settings = types.SimpleNamespace(
            ksrc=self.kernel, branch="x", base="", part="")

    def write(self, name, text):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def git(self, folder, *argv):
        return subprocess.run(["git", *argv], cwd=folder, check=True,
                              capture_output=True, text=True).stdout

    def commit_all(self, folder, message="begin"):
        if not (folder / ".git").exists():
            self.git(folder, "init", "-q", "-b", "main")
        self.git(folder, "add", "-A")
        self.git(folder, "commit", "-q", "-m", message)

    def work(self, message, **files):
        """Commit to the branch as its user would."""
        self.git(self.kernel, "checkout", "-q", "-f", "x")
        for name, text in files.items():
            self.write(f"kernel/drivers/xen/{name.replace('_', '.')}", text)
        self.commit_all(self.kernel, message)

    def again(self):
        receive.make_import(self.settings)
        return self.git(self.repo, "status", "--porcelain").splitlines()

    def refuse(self, word, call, **choices):
        vars(self.settings).update(choices)
        with self.assertRaises(Failure) as caught:
            call(self.settings)
        self.assertIn(word, str(caught.exception))

    # make branch

    def test_branch_leaves_the_work_tree_alone(self):
        self.write("kernel/drivers/xen/y.c", "being edited\n")
        before = self.git(self.kernel, "status", "--porcelain", "-b")
        send.make_branch(self.settings)
        self.assertEqual(self.git(self.kernel, "status", "--porcelain",
                                  "-b"), before)
        self.assertEqual(self.git(self.kernel, "log", "--format=%an: %s",
                                  "main..x"),
                         "N N: xen: add x\nN N: xen: mend y\n")
        self.assertEqual(self.git(self.kernel, "show", "x:drivers/xen/x.rs"),
                         "fn x() {}\n")
        self.assertTrue(self.git(self.kernel, "log", "-1", "--format=%B",
                                 "x").rstrip().endswith(
            "Because.\n\nSigned-off-by: N N <n@localhost>"))

    def test_branch_refused(self):
        self.refuse("needs a git tree", send.make_branch, ksrc=None)
        self.refuse("not the top folder", send.make_branch,
                    ksrc=self.kernel / "drivers")
        self.refuse("cannot be the name", send.make_branch,
                    ksrc=self.kernel, branch="a..b")
        self.refuse("there is a branch main", send.make_branch,
                    branch="main")
        self.refuse("there is no commit moon", send.make_branch,
                    branch="x", base="moon")

    def test_patch_that_does_not_apply_is_named(self):
        self.write("kernel/drivers/xen/y.c", "another\n")
        self.commit_all(self.kernel)
        self.refuse("patches/0001-y.patch does not apply to Linux 7.3",
                    send.make_branch)
        self.assertNotIn("x", self.git(self.kernel, "branch", "--format=%("
                                       "refname:short)").split())

    def test_second_time_on_top_of_the_first(self):
        send.make_branch(self.settings)
        self.refuse("does not apply", send.make_branch, branch="z", base="x")

    # make import

    def test_round_trip_changes_nothing(self):
        send.make_branch(self.settings)
        self.assertEqual(self.again(), [])

    def test_round_trip_on_another_base(self):
        self.write("kernel/drivers/xen/Kconfig", KCONFIG + "more\n")
        self.commit_all(self.kernel)
        send.make_branch(self.settings)
        self.assertEqual(self.again(), [])

    def test_new_commit(self):
        send.make_branch(self.settings)
        self.work("xen: add z\n\nMore.", z_c="z\n", y_c="mended twice\n")
        self.assertEqual(self.again(), [
            " M patches/series", "?? drivers/xen/z.c",
            "?? patches/0011-xen-add-z.patch"])
        self.assertEqual((self.repo / "patches/series").read_text(),
                         SERIES + "0011-xen-add-z.patch\n"
                         "\tdrivers/xen/z.c\n")
        text = (self.repo / "patches/0011-xen-add-z.patch").read_text()
        self.assertTrue(text.startswith(
            "Subject: xen: add z\n\nMore.\n---\ndiff --git "))
        self.assertIn("+mended twice\n", text)
        self.assertNotIn("z.c", text)
        self.commit_all(self.repo)
        self.assertEqual(self.again(), [])

    def test_message_alone(self):
        send.make_branch(self.settings)
        self.git(self.kernel, "checkout", "-q", "-f", "x")
        self.git(self.kernel, "commit", "-q", "--amend", "-m",
                 "xen: add an x\n\nBecause of y.\n\n"
                 "Signed-off-by: N N <n@localhost>")
        self.assertEqual(self.again(), [" M patches/0010-x.patch"])
        self.assertEqual(
            (self.repo / "patches/0010-x.patch").read_text(),
            FEATURE.replace("add x", "add an x").replace(
                "Because.", "Because of y."))

    def test_file_of_a_patch_changed_in_it(self):
        send.make_branch(self.settings)
        self.git(self.kernel, "checkout", "-q", "-f", "x")
        self.write("kernel/drivers/xen/x.rs", "fn x() { y() }\n")
        self.git(self.kernel, "commit", "-q", "-a", "--amend", "--no-edit")
        self.assertEqual(self.again(), [" M drivers/xen/x.rs"])

    def test_commit_dropped(self):
        send.make_branch(self.settings)
        self.git(self.kernel, "branch", "-f", "x", "x^")
        self.assertEqual(self.again(), [" D drivers/xen/x.rs",
                                        " D patches/0010-x.patch",
                                        " M patches/series"])

    def test_author_is_kept(self):
        send.make_branch(self.settings)
        self.work("xen: mend z\n\nText.", y_c="thrice\n")
        self.git(self.kernel, "commit", "-q", "--amend", "--no-edit",
                 "--author=O O <o@localhost>")
        self.again()
        text = (self.repo / "patches/0011-xen-mend-z.patch").read_text()
        self.assertIn("\n\nFrom: O O <o@localhost>\n\nText.\n", text)
        self.commit_all(self.repo)
        self.assertEqual(self.again(), [])

    def test_import_refused(self):
        self.refuse("no branch x", receive.make_import)
        send.make_branch(self.settings)
        self.write("repo/patches/0010-x.patch", FEATURE + "\n")
        self.git(self.kernel, "checkout", "-q", "-f", "x")
        self.git(self.kernel, "commit", "-q", "--amend", "-m", "xen: add q")
        self.refuse("not committed", receive.make_import)
        self.work("fixup! xen: add q", y_c="more\n")
        self.refuse("autosquash", receive.make_import)
        self.refuse("there is no commit moon", receive.make_import,
                    base="moon")

    # Parts and people

    def test_parts(self):
        patches = series.read_series(self.repo)
        self.assertEqual([patch.name for patch in
                          series.of_part(patches, "fixes")], ["0001-y.patch"])
        self.assertEqual(series.of_part(patches, ""), patches)
        with self.assertRaises(Failure) as caught:
            series.of_part(patches, "moon")
        self.assertIn("the parts are: fixes", str(caught.exception))

    def test_nobody(self):
        for name in (*PERSON, "EMAIL"):
            if "CONFIG" not in name:
                os.environ.pop(name, None)  # put back by setUp's patch
        with self.assertRaises(Failure) as caught:
            identity(self.repo)
        self.assertIn("git config --global user.name",
                      str(caught.exception))

    def test_from_line(self):
        person, rest = commits.split_from("From: A <a@b>\n\nText\n")
        self.assertEqual((person.name, person.email, rest),
                         ("A", "a@b", "Text"))
        self.assertEqual(commits.split_from("From: here\nText"),
                         (None, "From: here\nText"))

    def test_cover_letter(self):
        self.assertEqual(send.cover_letter(""), "subject\n\ntext\n")
        with self.assertRaises(Failure) as caught:
            send.cover_letter("fixes")
        self.assertIn("patches/cover-letter-fixes", str(caught.exception))
