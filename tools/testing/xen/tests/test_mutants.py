# SPDX-License-Identifier: GPL-2.0
"""Deliberate faults: how they are read, and when one counts as caught."""

import re
import types
import unittest

from workbench import mutants
from workbench.errors import Failure
from workbench.ktap import Result
from workbench.settings import REPO

PATCH = """\
Test: prog: it works, and well
Layout: low

Nothing is
freed.

--- a/drivers/xen/some.c
+++ b/drivers/xen/some.c
@@ -1,4 +1,3 @@
 one {
-	free(x);
 }

"""
BEFORE = "zero\none {\n\tfree(x);\n}\n\nlast\n"


class Reading(unittest.TestCase):
    """Files of mutants."""

    def refuse(self, text, word):
        """It does not pass for a mutant."""
        with self.assertRaises(Failure) as caught:
            mutants.parse("name", text)
        self.assertIn(word, str(caught.exception))

    def test_parts(self):
        """What stands where."""
        mutant = mutants.parse("name", PATCH)
        self.assertEqual((mutant.program, mutant.test, mutant.layout),
                         ("prog", "it works, and well", "low"))
        self.assertEqual(mutant.reason, "Nothing is freed.")
        self.assertEqual(mutant.ends, "")
        ends = PATCH.replace("Layout: low", "Ends: it starts")
        mutant = mutants.parse("name", ends)
        self.assertEqual((mutant.layout, mutant.ends),
                         ("default", "it starts"))

    def test_what_is_missing_or_wrong(self):
        """Nothing is passed over."""
        self.refuse(PATCH.replace("Test: prog: ", "Test: "), "no Test")
        self.refuse(PATCH.replace("Layout", "Layer"), "Layer")
        self.refuse(PATCH.replace("Layout: low", "Ends:"), "Ends:")
        self.refuse(PATCH.replace("Layout: low\n", "Test: a: b\n"), "Test: a")
        self.refuse(PATCH.replace("Nothing is\nfreed.\n", ""), "what is")
        self.refuse(PATCH.split("---")[0], "what is")
        self.refuse(PATCH.replace("+++ b/drivers", "+++ b/other"), "no diff")

    def test_one_line_is_changed(self):
        """One hunk, in which one line goes, comes, or becomes another."""
        self.refuse(PATCH.replace("-\t", " \t"), "one line")
        self.refuse(PATCH.replace(" one", "-one"), "one line")
        self.refuse(PATCH.replace(" one {\n", " one {\n+\t1\n+\t2\n"),
                    "one line")
        self.refuse(PATCH + "@@ -9,1 +9,1 @@\n-a\n+b\n", "one line")
        mutants.parse("name", PATCH.replace(" one {\n", "+\t1\n one {\n"))

    def test_applied_once_or_not_at_all(self):
        """A hunk that fits in two places, or in none, is a stale one."""
        mutant = mutants.parse("name", PATCH)
        self.assertEqual(mutant.applied(BEFORE), "zero\none {\n}\n\nlast\n")
        for text in ("", BEFORE + BEFORE, mutant.applied(BEFORE)):
            with self.assertRaises(Failure):
                mutant.applied(text)

    def test_chosen_by_pattern(self):
        """MUTANT= takes names and patterns."""
        every = [types.SimpleNamespace(name=name)
                 for name in ("a-one", "a-two", "b")]

        def names(pattern):
            return [mutant.name for mutant in mutants.choose(every, pattern)]
        self.assertEqual(names(""), ["a-one", "a-two", "b"])
        self.assertEqual(names("a-*"), ["a-one", "a-two"])
        self.assertEqual(names("b,a-two"), ["a-two", "b"])
        with self.assertRaises(Failure):
            names("c")


class Catching(unittest.TestCase):
    """What a guest with a fault in its kernel shows."""

    passes = ["first", "it works, and well", "third", "last"]

    def missed(self, passed, failed, done=True, ends=False):
        """Why the mutant is not caught."""
        text = PATCH
        if ends:
            text = text.replace("Layout: low", f"Ends: {self.passes[1]}")
        # Who did not end has not said what program it was.
        before = "selftests: xen: prog: " if done else ""
        boot = types.SimpleNamespace(
            result=Result(passes=[before + self.passes[nr] for nr in passed],
                          failures=[before + self.passes[nr]
                                    for nr in failed]),
            lines=["xentest: done"] if done else ["Kernel panic"])
        return mutants.missed(mutants.parse("name", text), boot, self.passes)

    def test_its_own_test_has_to_fail(self):
        """Another one that fails is not enough."""
        self.assertEqual(self.missed([0, 2], [1]), "")
        self.assertEqual(self.missed([], [0, 1, 2]), "")
        self.assertIn("passes", self.missed([1], [0, 2]))
        self.assertIn("passes", self.missed([0, 1, 2], []))

    def test_the_end_of_the_guest(self):
        """It has to be expected, and to come in the test."""
        self.assertEqual(self.missed([0], [], False, True), "")
        self.assertEqual(self.missed([], [0], False, True), "")
        self.assertEqual(self.missed([0], [1], False, True), "")
        self.assertIn("not to do", self.missed([0], [], False))
        # Of the last one before it the result may be lost.
        self.assertEqual(self.missed([], [], False, True), "")
        self.assertIn("passes", self.missed([0, 1], [], False, True))

    def test_the_end_before_the_test(self):
        """What ends the guest elsewhere proves nothing of the test."""
        text = PATCH.replace("Layout: low", "Ends: last")
        boot = types.SimpleNamespace(result=Result(passes=["first"]),
                                     lines=["Kernel panic"])
        self.assertIn("in another test: it works", mutants.missed(
            mutants.parse("name", text), boot, self.passes))

    def test_no_result(self):
        """A test that is left out, or skipped, has not failed."""
        self.assertIn("no result", self.missed([0], [], True, True))


class Repository(unittest.TestCase):
    """The mutants that there are."""

    tests = REPO / "tools/testing/selftests/xen"

    def test_all_apply_to_their_files(self):
        """Each changes the file that it names."""
        found = mutants.read_all()
        self.assertGreaterEqual(len(found), 12)
        for mutant in found:
            with self.subTest(mutant.name):
                text = (REPO / mutant.file).read_text()
                self.assertNotEqual(mutant.applied(text), text)

    def test_all_name_a_test(self):
        """Each has its test in a program that is run."""
        programs = (self.tests / "Makefile").read_text()
        for mutant in mutants.read_all():
            with self.subTest(mutant.name):
                self.assertRegex(programs, rf"\t{mutant.program}( \\)?\n")
                text = (self.tests / f"{mutant.program}.c").read_text()
                for test in {mutant.test, mutant.ends or mutant.test}:
                    self.assertRegex(
                        text, r'(?:\{ |\b(?:POOL|BUFFER|DEVICE)\()"'
                        + re.escape(test) + '"')

    def test_all_files_at_the_border_are_in(self):
        """Each file that calls C, or is called by it, has one."""
        files = {mutant.file for mutant in mutants.read_all()}
        # It only tells people what happens.
        files.add("drivers/xen/grant_dma_ops/owner.rs")
        for path in REPO.glob("drivers/xen/**/*.rs"):
            name = str(path.relative_to(REPO))
            if re.search(r'extern "C" fn|bindings::\w+\(', path.read_text()):
                self.assertIn(name, files)


if __name__ == "__main__":
    unittest.main()
