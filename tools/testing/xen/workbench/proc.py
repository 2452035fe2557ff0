# SPDX-License-Identifier: GPL-2.0
"""Running other programs: logged, limited in time, and ended with us."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time

from . import say
from .errors import Failure

TAIL = 15
ERROR = re.compile(r"\berror(?:\[E\d+\])?: |\*\*\* .*Error \d+$")
_running = set()
_lock = threading.RLock()


def end_group(process, grace=5):
    """End a program and all that it started."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sig)
        try:
            process.wait(timeout=grace)
            if sig == signal.SIGTERM:
                continue  # the leader is gone; make sure of the rest
        except subprocess.TimeoutExpired:
            continue


def end_all():
    """End everything that is still running (on the way out)."""
    with _lock:
        processes = list(_running)
    for process in processes:
        end_group(process, grace=2)


def tail_of(path, lines=TAIL):
    """The last lines of a log, without control characters."""
    try:
        with open(path, "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 16384))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return []
    cleaned = ("".join(c for c in raw if c.isprintable() or c == "\t")
               for raw in text.splitlines())
    kept = [text for text in cleaned if text.strip()]
    if lines > 1:
        # Make goes on for a while after what it fails of.
        for number, text in enumerate(kept):
            if ERROR.search(text):
                return kept[max(0, number - 1):][:lines]
    return kept[-lines:]


def explain(tail):
    """A hint for the failures that have nothing to do with the program."""
    text = "\n".join(tail)
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return ("the disk is full: free some space, or give another place "
                "with CACHE=DIR")
    if ("Temporary failure resolving" in text or "Could not resolve" in text
            or "Could not connect" in text or "Failed to fetch" in text
            or "Unable to connect" in text):
        return ("no network, or the package mirror does not answer: check "
                "that `apt-get update` works and run this again")
    if "Cannot allocate memory" in text or "Killed signal" in text:
        return "out of memory: try JOBS=1"
    return ""


def run(argv, log, what, *, timeout=None, note=None, env=None, cwd=None,
        check=True, append=False, hint=""):
    """Run a program with its output in a log; return its exit status.

    `what` says in the user's words what could not be done when it fails. A
    program past its time limit is ended and counts as failed, with None as
    its exit status.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with open(log, "ab" if append else "wb") as out:
        try:
            process = subprocess.Popen(
                [str(arg) for arg in argv], stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, env=env, cwd=cwd,
                start_new_session=True)
        except OSError as error:
            # Not found, or PATH has a folder that this user may not read.
            raise Failure(f"cannot run {argv[0]}: {error.strerror}",
                          "install it") from error
    with _lock:
        _running.add(process)
    try:
        status = _wait(process, log, start, timeout, note)
    except BaseException:
        end_group(process)
        raise
    finally:
        with _lock:
            _running.discard(process)
    if check and status != 0:
        tail = tail_of(log)
        why = (f"did not end within {say.duration(timeout)}"
               if status is None else f"exit status {status}")
        raise Failure(f"could not {what} ({why})", explain(tail) or hint,
                      log, tail)
    return status


def _wait(process, log, start, timeout, note):
    while True:
        try:
            return process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            pass
        if timeout is not None and time.monotonic() - start > timeout:
            end_group(process)
            return None
        if note and say.REPORTER.live:
            last = tail_of(log, 1)
            note(last[0].strip() if last else "")


def output(argv, **kwargs):
    """A short command's output, or None if it failed or is not there."""
    try:
        done = subprocess.run([str(arg) for arg in argv], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=120, **kwargs)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return done.stdout.decode("utf-8", "replace")
