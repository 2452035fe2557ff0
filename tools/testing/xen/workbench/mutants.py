# SPDX-License-Identifier: GPL-2.0
"""make mutants: break the Rust kernel on purpose, to see that a test tells.

A mutant is a file in mutants/: which test has to fail, in which one the guest
may end instead, what is broken and what harm that would do, and one hunk that
changes one line, most of them at the border between Rust and C, of which the
tools on the host see little.
"""

import os
import re
import shutil
import time
import types
from dataclasses import dataclass

from . import cache, say
from .bench import Bench
from .errors import Failure
from .kernel import MAKE
from .settings import HERE, matching

FOLDER = HERE / "mutants"
HEADERS = ("Test", "Layout", "Ends")


@dataclass
class Mutant:
    """One deliberate fault.

    Its test fails; or the guest ends, in the test that `ends` names.
    """

    name: str
    program: str
    test: str
    layout: str
    ends: str
    reason: str
    file: str
    old: str
    new: str

    @property
    def where(self):
        """The boot that runs the program."""
        return self.program, self.layout

    def applied(self, text):
        """A file's contents with the fault in it."""
        if text.count(self.old) != 1:
            raise Failure(f"mutant {self.name} does not apply to {self.file}",
                          "refresh it")
        return text.replace(self.old, self.new)


def _wrong(name, what):
    return Failure(f"mutants/{name}.patch: {what}",
                   "see the others for how it is done")


def parse(name, text):
    """A mutant from the text of its file."""
    head, found, diff = text.partition("\n--- a/")
    fields, _, reason = head.partition("\n\n")
    values = {}
    for raw in fields.splitlines():
        key, _, value = raw.partition(": ")
        if key not in HEADERS or not value or key in values:
            raise _wrong(name, f"a wrong header: {raw}")
        values[key] = value.strip()
    program, _, test = values.get("Test", "").partition(": ")
    if not test:
        raise _wrong(name, "no Test: PROGRAM: NAME")
    if not found or not reason.strip():
        raise _wrong(name, "it does not say what is broken, and how")
    file, old, new = _hunk(name, diff)
    return Mutant(name, program, test, values.get("Layout", "default"),
                  values.get("Ends", ""), " ".join(reason.split()), file, old,
                  new)


def _hunk(name, diff):
    """(file, text before, text after) of a diff with one hunk."""
    lines = diff.splitlines()
    file = lines[0].strip()
    if (len(lines) < 4 or lines[1] != f"+++ b/{file}"
            or not lines[2].startswith("@@ ")):
        raise _wrong(name, "it is no diff of one file")
    body = lines[3:]
    signs = [text[:1] or " " for text in body]
    if (set(signs) - set(" -+") or signs.count("-") > 1
            or signs.count("+") > 1 or not set("-+") & set(signs)):
        raise _wrong(name, "it changes more or less than one line")

    def side(sign):
        return "".join(text[1:] + "\n" for text in body
                       if text[:1] != sign)
    return file, side("+"), side("-")


def read_all(folder=FOLDER):
    """All mutants, by name."""
    found = []
    for path in sorted(folder.glob("*.patch")):
        found.append(parse(path.stem, path.read_text(encoding="utf-8")))
    return found


def choose(mutants, pattern):
    """Those with a name that matches; all without a pattern."""
    if not pattern:
        return mutants
    names = matching([mutant.name for mutant in mutants], pattern)
    chosen = [mutant for mutant in mutants if mutant.name in names]
    if not chosen:
        raise Failure(f"MUTANT={pattern}: there is no such mutant",
                      f"see {FOLDER}")
    return chosen


def tests_of(program, names):
    """Results' names without that of the program, which a guest that did not
    end has not said."""
    return [name.removeprefix(f"selftests: xen: {program}: ")
            for name in names]


def missed(mutant, boot, passes):
    """Why a mutant is not caught by a guest, or nothing if it is.

    In the guest of the unbroken kernel the tests of `passes` passed, in this
    order.
    """
    passed, failed = (tests_of(mutant.program, names) for names in
                      (boot.result.passes, boot.result.failures))
    if mutant.test in failed:
        return ""
    if mutant.test in passed:
        return "its test passes"
    before = passes[:passes.index(mutant.test)]
    seen = [name for name in before if name in passed or name in failed]
    at = passes.index(seen[-1]) + 1 if seen else 0
    if "xentest: done" in "\n".join(boot.lines):
        return "its test has no result"
    if not mutant.ends:
        return f"the guest ended, which it is not to do, in: {passes[at]}"
    # The last line before the end can be lost on its way to the console.
    if mutant.ends not in passes[at:at + 2]:
        return f"the guest ended in another test: {passes[at]}"
    return ""


class Breaker:
    """An object tree in which one mutant after the other is built.

    It is a copy of the Rust kernel's, which never sees a fault. The fault is
    put into the assembled tree while it is compiled; should that be cut short,
    the next assembly puts the file right.
    """

    def __init__(self, bench, kernel):
        self.bench = bench
        self.kernel = kernel
        self.dir = bench.tree.work / "mutants"
        self.obj = self.dir / "build"
        self.times = {}

    def __enter__(self):
        cache.remove(self.dir)
        self.dir.mkdir()
        self.bench.settings.cache.need_space(2, "a kernel to break")
        with say.step("copying the Rust kernel's objects"):
            # Some commands have the folder in them, and would be run again.
            self.bench.toolchain.run(
                ["sh", "-ec", 'cp -a "$0" "$1"; find "$1" -name "*.cmd" '
                 '-exec sed -i "s|$0|$1|g" {} +', self.kernel.obj, self.obj],
                self.bench.settings.logs / "mutants.log",
                "copy an object tree")
        return self

    def __exit__(self, *exc):
        # As old as they were, or the Rust kernel would be compiled again.
        for path, times in self.times.items():
            os.utime(path, ns=times)
        cache.remove(self.dir)

    def build(self, mutant):
        """Build one; return what to boot, or None."""
        path = self.bench.tree.path / mutant.file
        stat = path.stat()
        self.times.setdefault(path, (stat.st_atime_ns, stat.st_mtime_ns))
        text = path.read_text(encoding="utf-8")
        broken = mutant.applied(text)
        log = self.bench.settings.logs / f"build-mutant-{mutant.name}.log"
        image = self.dir / f"Image-{mutant.name}"
        try:
            self._write(path, broken)
            with say.step(f"building {mutant.name}") as note:
                status = self.bench.toolchain.run(
                    [*MAKE, f"-j{self.bench.settings.jobs}",
                     f"O={self.obj}", "Image"], log, "",
                    cwd=self.bench.tree.path, note=note, check=False,
                    timeout=3600)
        finally:
            self._write(path, text)
        if status != 0:
            return None
        shutil.copyfile(self.obj / "arch/arm64/boot/Image", image)
        return types.SimpleNamespace(image=image, initrd=self.kernel.initrd)

    @staticmethod
    def _write(path, text):
        beside = path.with_name(path.name + ".making")
        beside.write_text(text, encoding="utf-8")
        shutil.copymode(path, beside)
        beside.rename(path)


def _boot(bench, kernel, name, where):
    program, layout = where
    (boot,) = bench.testing(name, kernel, layout,
                            kargs=f"xentest.test={program}")
    return boot


def _unbroken(bench, kernel, chosen):
    """Run the programs on the unbroken kernel, where a mutant's test has to
    pass, or it would prove nothing; return what passed and what is wrong."""
    boots = {where: _boot(bench, kernel, f"unbroken-{where[0]}", where)
             for where in sorted({mutant.where for mutant in chosen})}
    bench.boot_all(list(boots.values()))
    wrong = []
    for boot in boots.values():
        wrong += [f"without a fault: guest {boot.name}: {text} (log: "
                  f"{boot.log})" for text in (*boot.problems,
                                              *boot.result.failures)]
    passes = {where: tests_of(where[0], boot.result.passes)
              for where, boot in boots.items()}
    wrong += [f"{mutant.name}: without a fault its test does not pass: "
              f"{mutant.program}: {mutant.test}" for mutant in chosen
              if mutant.test not in passes[mutant.where]]
    return passes, wrong


def _break(bench, kernel, chosen, passes):
    """Build and boot all; return what is wrong."""
    wrong = []
    boots = {}
    with Breaker(bench, kernel) as breaker:
        # Those of one file together, since they are compiled together.
        for mutant in sorted(chosen, key=lambda mutant: mutant.file):
            broken = breaker.build(mutant)
            if broken is None:
                wrong.append(f"{mutant.name}: it does not build (log: "
                             f"build-mutant-{mutant.name}.log)")
                continue
            boots[mutant.name] = _boot(bench, broken, f"mutant-{mutant.name}",
                                       mutant.where)
        bench.boot_all(list(boots.values()))
    for mutant in chosen:
        boot = boots.get(mutant.name)
        if boot is None:
            continue
        why = missed(mutant, boot, passes[mutant.where])
        if why:
            wrong.append(f"{mutant.name} is not caught: {why} (log: "
                         f"{boot.log})")
        else:
            say.line(f"caught: {mutant.name} by {mutant.program}: "
                     f"{mutant.test}")
    return wrong


def mutants(settings):
    """make mutants: ends with `N of N caught`."""
    start = time.monotonic()
    chosen = choose(read_all(), settings.mutant)
    settings.impls = ("rust",)
    bench = Bench(settings)
    bench.prepare()
    if "n" in bench.menu.switches().values():
        raise Failure("mutants are for a kernel with all parts in Rust",
                      "see make menuconfig")
    for mutant in chosen:
        path = bench.tree.path / mutant.file
        mutant.applied(path.read_text(encoding="utf-8"))
    kernel = bench.kernels()["rust"]
    passes, wrong = _unbroken(bench, kernel, chosen)
    caught = 0
    if not wrong:
        wrong = _break(bench, kernel, chosen, passes)
        caught = len(chosen) - len(wrong)
    for text in wrong:
        say.line(f"FAILED: {text}")
    say.line(f"make mutants took {say.duration(time.monotonic() - start)}")
    say.line(f"{caught} of {len(chosen)} caught")
    return 1 if wrong else 0
