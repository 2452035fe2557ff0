# SPDX-License-Identifier: GPL-2.0
"""KTAP from a guest's console, parsed by the kernel's own kunit_parser.

kselftest's runner puts `# ` before what a test prints, and the hypervisor and
the kernel write to the same console: that is undone here first. kunit_parser
knows no XFAIL, so that is carried through it in the test's name.
"""

import io
import re
import sys
from dataclasses import dataclass, field

NOISE = re.compile(r"(?<=.)(\(XEN\) |\[ *\d+\.\d{6}\](\[ *[TC]\d+\])? )")
RESULT_WITHIN = re.compile(
    r"((?:\(XEN\) |\[ *\d+\.\d{6}\] ).*?[^\s#].*?)"
    r"((?:# )+(?:not )?ok \d+ .*|(?:not )?ok \d+ selftests: .*)")
RESULT = re.compile(r"^( *)(ok|not ok) (\d+)(?: -)?(?: (.*?))?"
                    r"(?: ?# (XFAIL|SKIP|TODO)\b:? ?(.*))?$", re.IGNORECASE)
XFAIL = " [XFAIL]"


@dataclass
class Result:
    """What a run of tests came to."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    xfail: int = 0
    passes: list = field(default_factory=list)
    failures: list = field(default_factory=list)
    skips: list = field(default_factory=list)
    xfails: list = field(default_factory=list)

    def add(self, other):
        """Add another run's numbers to these."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.xfail += other.xfail
        self.passes += other.passes
        self.failures += other.failures
        self.skips += other.skips
        self.xfails += other.xfails

    def total(self):
        """How many tests there were."""
        return self.passed + self.failed + self.skipped + self.xfail

    def counts(self):
        """The numbers as they stand in run.json."""
        return {"pass": self.passed, "fail": self.failed,
                "skip": self.skipped, "xfail": self.xfail}


def console_lines(text):
    """A console's lines, with lines that others broke into put together."""
    lines = []
    carry = ""
    for raw in text.replace("\r", "").split("\n"):
        noise = NOISE.search(raw)
        if noise and not re.match(r"\(XEN\) |\[ *\d+\.\d{6}\]", raw):
            # Somebody else's line begins in the middle of this one; what
            # was interrupted goes on with the next line.
            lines.append(raw[noise.start():])
            carry += raw[:noise.start()]
            continue
        if carry and not re.match(r"\(XEN\) |\[ *\d+\.\d{6}\]", raw):
            raw, carry = carry + raw, ""
        if within := RESULT_WITHIN.match(raw):
            # Or a result is printed in the middle of the kernel's own line.
            lines.append(within[1])
            raw = within[2]
        lines.append(raw)
    if carry:
        lines.append(carry)
    return lines


def ktap_lines(lines):
    """The KTAP of a console in the form that kunit_parser reads."""
    kept = []
    started = False
    for text in lines:
        if re.match(r"\(XEN\) |\[ *\d+\.\d{6}\]", text):
            # KUnit's own output is printk and is wanted.
            bare = re.sub(r"^\[ *\d+\.\d{6}\](\[ *[TC]\d+\])? ", "", text)
            if text.startswith("(XEN)") or not re.match(
                    r" *(ok |not ok |# |1\.\.|K?TAP version)", bare):
                continue
            text = bare
        started = started or re.match(r" *K?TAP version", text)
        if not started or text.startswith("xentest:"):
            continue
        while re.match(r"( *)# (TAP version|KTAP version|ok |not ok |1\.\.|"
                       r" *# |  )", text):
            text = re.sub(r"^( *)# ", r"\1  ", text)
            if re.match(r" *# [A-Za-z]", text):
                break
        kept.append(_directive(text))
    return kept


def _directive(text):
    match = RESULT.match(text)
    if not match or not match[5]:
        return text
    indent, status, number, name, directive, reason = match.groups()
    directive = directive.upper()
    name = (name or reason or "unnamed").replace("#", "")
    if directive == "SKIP":
        return f"{indent}ok {number} {name} # SKIP {reason}"
    return f"{indent}ok {number} {name}{XFAIL}"


def parse(lines, kunit_dir):
    """Parse a console's KTAP with the parser of the tree that was tested."""
    if str(kunit_dir) not in sys.path:
        sys.path.insert(0, str(kunit_dir))
    sys.dont_write_bytecode = True
    import kunit_parser
    from kunit_printer import Printer
    log = io.StringIO()
    printer = Printer()
    printer.print_with_timestamp = lambda text: print(text, file=log)
    printer.print = lambda text: print(text, file=log)
    test = kunit_parser.parse_run_tests(ktap_lines(lines), printer)
    result = Result()
    _walk(test, [], result, kunit_parser.TestStatus)
    if test.counts.errors:
        errors = [text for text in log.getvalue().splitlines()
                  if "[ERROR]" in text]
        result.failed += 1
        result.failures.append(
            "malformed KTAP: " + re.sub(r"\x1b\[[0-9;]*m", "",
                                        "; ".join(errors[:3])))
    return result


def _walk(test, path, result, status):
    name = test.name.strip().removesuffix(XFAIL.strip()).strip()
    path = path + [name] if name and name != "main" else path
    if test.subtests:
        for subtest in test.subtests:
            _walk(subtest, path, result, status)
        own_failure = (test.status == status.FAILURE and not any(
            sub.status not in (status.SUCCESS, status.SKIPPED)
            for sub in test.subtests))
        if not own_failure:
            return
    full = ": ".join(path) or "a test that has no result"
    if test.status == status.SUCCESS and XFAIL.strip() in test.name:
        result.xfail += 1
        result.xfails.append(full)
    elif test.status == status.SUCCESS:
        result.passed += 1
        result.passes.append(full)
    elif test.status == status.SKIPPED:
        result.skipped += 1
        result.skips.append(full + (f" ({test.skip_reason})"
                                    if test.skip_reason else ""))
    elif test.status == status.NO_TESTS and not path:
        pass
    else:
        result.failed += 1
        result.failures.append(full)
