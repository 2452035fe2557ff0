# SPDX-License-Identifier: GPL-2.0
"""Booting guests with the harness of the selftests, and judging them."""

import re

from . import ktap, proc, say, splat
from .errors import Failure

# What the tests say then, which is no reason to skip them in here.
NO_DEVICE = re.compile(r"\bno /dev/(?:test_xen_\w+|udmabuf):")
# The other modes measure, and test nothing.
TESTING = ("selftests", "kunit", "domains", "device_dma", "virtio_blk")
MEASURE = re.compile(r"^MEASURE ([\w.]+) (?:(-?\d+)|skip ?(.*))\s*$")


class Boot:
    """One boot: how it is done, and what its console said."""

    def __init__(self, bench, kernel, name, *, layout="default", xen=None,
                 mode="selftests", limit=300, count=False, extra=(),
                 kargs=""):
        self.bench = bench
        self.kernel = kernel
        self.name = name
        self.layout = layout
        self.xen = xen
        self.mode = mode
        self.limit = limit
        self.count = count
        self.extra = list(extra)
        self.kargs = kargs
        self.log = bench.settings.logs / f"boot-{name}.log"
        self.lines = []
        self.problems = []
        self.result = ktap.Result()

    def argv(self):
        """The harness's command line."""
        argv = [self.bench.harness / "vmtest.sh", "-k", self.kernel.image,
                "-l", self.layout, "-t", self.limit]
        if self.mode != "kunit":
            argv += ["-i", self.kernel.initrd]
        if self.xen:
            argv += ["-x", self.xen]
        if self.count:
            argv.append("-c")
        # KUnit's results are not among what the harness has on the console.
        kargs = ("kunit.enable=1 kunit_shutdown=poweroff ignore_loglevel "
                 f"{self.kargs}" if self.mode == "kunit"
                 else f"xentest.run={self.mode} {self.kargs}")
        return argv + self.extra + ["-a", kargs.strip()]

    def run(self):
        """Boot, again once if it was the hypervisor that hung."""
        with say.step(f"guest {self.name}"):
            status = self._once()
            why = self._not_ours()
            # What went wrong before that is looked at, not tried again.
            if why and not splat.find_splats(self.lines):
                say.line(f"    guest {self.name}: {why} (known, see README); "
                         "once more")
                status = self._once()
            if times := splat.slept(self.lines):
                say.line(f"    guest {self.name}: {times} times nothing was "
                         "printed until a key was pressed (see README)")
            self._judge(status)
        return self

    def _not_ours(self):
        """What went wrong with a guest, if that is no fault of a kernel."""
        if splat.livelocked(self.lines):
            return "Xen hung in its debug key q"
        if self.xen and splat.mute(self.lines):
            return "Xen does not answer"
        return None

    def _once(self):
        toolchain = self.bench.toolchain
        read = [self.xen] if self.xen and self.xen == \
            self.bench.settings.xen else []
        status = toolchain.run(
            self.argv(), self.log, "", check=False, read=read,
            timeout=self.limit + 60)
        # Not as text: "\r\r\n" would become two ends of a line.
        text = self.log.read_bytes().decode(errors="replace")
        self.lines = ktap.console_lines(text)
        return status

    def _judge(self, status):
        text = "\n".join(self.lines)
        if status == 2:
            raise Failure("the boot harness refused its arguments",
                          "this is a defect of the workbench", self.log,
                          proc.tail_of(self.log))
        for found in splat.find_splats(self.lines)[:5]:
            self.problems.append(f"on the console: {found}")
        if any(NO_DEVICE.search(line) for line in self.lines):
            self.problems.append("a device for tests is missing, so that "
                                 "some were skipped")
        if status == 3 or status is None:
            self.problems.append(
                f"the guest did not end within {self.limit} s")
        elif "xentest: done" not in text and self.mode != "kunit":
            self.problems.append("the guest ended before it was done")
        if self.mode in TESTING:
            self._count()

    def _count(self):
        if any(re.search(r"K?TAP version", text) for text in self.lines):
            self.result = ktap.parse(
                self.lines, self.bench.tree.path / "tools/testing/kunit")
            if self.result.total() == 0:
                self.problems.append("no test was run")
        else:
            self.problems.append("no test was run")

    def measured(self):
        """The figures of a measuring boot: key -> number or reason."""
        figures = {}
        for text in self.lines:
            match = MEASURE.match(text)
            if match:
                figures[match[1]] = (int(match[2]) if match[2] is not None
                                     else match[3] or "not available")
        return figures


class PlantedBoot(Boot):
    """One with a warning that is not announced: it has to be found."""

    def __init__(self, bench, kernel, name, **kwargs):
        super().__init__(bench, kernel, name, **kwargs,
                         kargs="xentest.test=free_refusal "
                               "xentest.unannounced=1")

    def _judge(self, status):
        super()._judge(status)
        found = [text for text in self.problems if "WARNING" in text]
        for text in found:
            self.problems.remove(text)
        if found:
            self.result.passed += 1
        else:
            self.result.failed += 1
            self.result.failures.append(
                f"a warning on the console was not found (log: {self.log})")
