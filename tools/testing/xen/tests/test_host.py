# SPDX-License-Identifier: GPL-2.0
"""The tests on the machine that builds: what cargo prints, and the copy."""

import pathlib
import tempfile
import types
import unittest

from workbench import host

PASSED = """
running 3 tests
test tests::pool::random_operations ... ok
test unpopulated::index::tests::one_page_is_put_back ... ok
test tests::slow ... ignored

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 5 filtered out
"""


class ParseTest(unittest.TestCase):
    def test_counted(self):
        result = host.parse(PASSED, "host models", "x.log")
        self.assertEqual((result.passed, result.failed, result.skipped),
                         (2, 0, 1))
        self.assertIn("host models: tests::pool::random_operations",
                      result.passes)

    def test_failure_is_named(self):
        text = PASSED.replace("operations ... ok", "operations ... FAILED")
        text = text.replace("2 passed; 0 failed", "1 passed; 1 failed")
        result = host.parse(text, "host models", "x.log")
        self.assertEqual((result.passed, result.failed), (1, 1))
        self.assertEqual(
            result.failures,
            ["host models: tests::pool::random_operations (log: x.log)"])

    def test_abort(self):
        text = PASSED[:PASSED.index("test unpop")]
        self.assertEqual(host.parse(text, "host", "x.log").failed, 1)

    def test_abort_within_a_test(self):
        text = "test tests::a ... thread caused non-unwinding panic.\n"
        self.assertEqual(host.parse(text, "host", "x.log").failed, 1)

    def test_does_not_compile(self):
        self.assertEqual(host.parse("error: no", "host", "x.log").failed, 1)

    def test_no_tests(self):
        text = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured\n"
        self.assertEqual(host.parse(text, "host", "x.log").failed, 1)


class CopyTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name)
        self.host = host.Host(
            types.SimpleNamespace(
                cache=types.SimpleNamespace(path=self.path), logs=self.path),
            types.SimpleNamespace(key="k"))
        self.host.copy()

    def test_all_that_is_mutated_is_there(self):
        for name in host.MUTATED:
            self.assertTrue((self.host.dir / name).exists(), name)

    def test_logic_is_what_has_no_unsafe_code(self):
        # Of the pool there is no other, of grants cache.rs is one more. What is
        # a test throughout has nothing to mutate.
        folder = host.REPO / "drivers/xen"
        safe = {str(path.relative_to(host.REPO))
                for path in folder.rglob("*.rs")
                if not path.stem.endswith("_test")
                and "unsafe" not in path.read_text().replace(
                    "no `unsafe`", "")}
        self.assertEqual(safe - set(host.MUTATED), set())

    def test_what_has_not_changed_is_not_newer(self):
        name = self.host.dir / host.MUTATED[0]
        before = name.stat().st_mtime_ns
        self.host.copy()
        self.assertEqual(name.stat().st_mtime_ns, before)

    def test_what_is_gone_goes(self):
        ghost = self.host.dir / "drivers/xen/ghost.rs"
        ghost.write_text("")
        self.host.copy()
        self.assertFalse(ghost.exists())

    def test_root(self):
        # pylint: disable-next=protected-access
        host._make_root(self.host.dir)
        root = (self.host.dir / "Cargo.toml").read_text()
        self.assertIn(f'"{host.CRATE}/kernel"', root)
        self.assertIn("[workspace.lints.rust]", root)
        package = (self.host.dir / host.CRATE / "Cargo.toml").read_text()
        self.assertNotIn("[workspace", package)
        self.assertIn("[lints]\nworkspace = true", package)


class RateTest(unittest.TestCase):
    def test_rate(self):
        def one(summary, name):
            return {"scenario": {"Mutant": {"name": name}},
                    "summary": summary}
        outcomes = {"outcomes": [
            {"scenario": "Baseline", "summary": "Success"},
            one("CaughtMutant", "a"), one("Timeout", "b"),
            one("MissedMutant", "c"), one("Unviable", "d")]}
        self.assertEqual(host.rate(outcomes), (2, 3, ["c"]))


if __name__ == "__main__":
    unittest.main()
