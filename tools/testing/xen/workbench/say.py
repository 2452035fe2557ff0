# SPDX-License-Identifier: GPL-2.0
"""What the user sees: live status on a terminal, plain lines elsewhere."""

import contextlib
import re
import shutil
import sys
import threading
import time


def duration(seconds):
    """A duration as people write it: 8s, 3m20s."""
    seconds = int(seconds + 0.5)
    if seconds < 60:
        return f"{seconds}s"
    return f"{seconds // 60}m{seconds % 60:02d}s"


def seconds(text):
    """The seconds of 90, 90s, 30m or 2h; None if it is no such duration."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})([smh]?)", text)
    if not match:
        return None
    return int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


class Reporter:
    """Prints steps. Several may be under way at once (boots in parallel)."""

    def __init__(self, out=sys.stdout):
        self.out = out
        self.live = out.isatty()
        self.lock = threading.Lock()
        self.steps = []

    def line(self, text=""):
        """Print one line that stays."""
        with self.lock:
            self._erase()
            print(text, file=self.out, flush=True)

    @contextlib.contextmanager
    def step(self, title):
        """Frame a long step; yields a function that takes a progress note."""
        entry = {"title": title, "start": time.monotonic(), "note": ""}

        def note(text):
            entry["note"] = text
            self.tick()

        with self.lock:
            self.steps.append(entry)
        if not self.live:
            self.line(f"... {title}")
        outcome = "failed"
        try:
            yield note
            outcome = "done"
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        finally:
            with self.lock:
                self.steps.remove(entry)
            spent = duration(time.monotonic() - entry["start"])
            self.line(f"    {title}: {outcome}, {spent}")

    def tick(self):
        """Redraw the status line of the step that has been running longest."""
        if not self.live:
            return
        with self.lock:
            if not self.steps:
                return
            entry = self.steps[0]
            spent = duration(time.monotonic() - entry["start"])
            more = f" (+{len(self.steps) - 1} more)" if self.steps[1:] else ""
            text = f"... {entry['title']}{more} {spent} {entry['note']}"
            width = shutil.get_terminal_size().columns - 1
            self._erase()
            print(text[:width], end="", file=self.out, flush=True)

    def _erase(self):
        if self.live:
            print("\r\033[K", end="", file=self.out)


REPORTER = Reporter()
line = REPORTER.line
step = REPORTER.step
tick = REPORTER.tick
