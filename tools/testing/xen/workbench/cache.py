# SPDX-License-Identifier: GPL-2.0
"""The cache folder: things are made beside their place, then renamed.

What stands in the cache under its final name is complete, whatever happened
on the way; what was left half-made by an interrupt is thrown away by the
next run. Names carry a key of what the thing was made from.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import time

from . import say
from .errors import Failure

NAME = "xen-rust-workbench"
PATIENCE = 60
TAG = "CACHEDIR.TAG"
SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55\n"


def key(*parts):
    """A short name for what something was made from."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(str(part).encode() + b"\0")
    return digest.hexdigest()[:12]


class Cache:
    """A cache folder of ours."""

    def __init__(self, path):
        self.path = path
        self._lock = None

    def open(self):
        """Create the folder if need be and mark it as a cache."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            tag = self.path / TAG
            if not tag.exists():
                tag.write_text(SIGNATURE + f"# made by {NAME}\n")
        except OSError as error:
            raise Failure(f"cannot use {self.path} as cache: "
                          f"{error.strerror}",
                          "give another folder with CACHE=DIR") from error

    def lock(self):
        """One run at a time: the object trees are updated in place."""
        if self._lock:
            return
        self._lock = open(self.path / "lock", "a+", encoding="ascii")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say.line("waiting for another run that uses the cache "
                     f"{self.path} ...")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        for left in self.path.glob("*.making"):
            remove(left)

    def need_space(self, gigabytes, what):
        """Say it before the work, not after half of it."""
        free = shutil.disk_usage(self.path).free / 2 ** 30
        if free < gigabytes:
            raise Failure(f"{what} needs about {gigabytes} GB in "
                          f"{self.path} and {free:.1f} GB are free",
                          "free some space, or give another place with "
                          "CACHE=DIR")

    @contextlib.contextmanager
    def making(self, name):
        """Yield a path to make something at; it is renamed when complete."""
        beside = self.path / (name + ".making")
        remove(beside)
        try:
            yield beside
            os.sync()
            beside.rename(self.path / name)
        except OSError as error:
            raise Failure(f"cannot make {name} in {self.path}: "
                          f"{error.strerror}",
                          "free some space, or give another place with "
                          "CACHE=DIR") from error
        finally:
            remove(beside)

    def clean(self):
        """Remove the cache, but nothing that is not one of ours."""
        if not self.path.exists():
            return False
        if not (self.path / TAG).exists():
            raise Failure(f"{self.path} is not a cache of the workbench",
                          "remove it by hand if you mean it")
        self.lock()
        remove(self.path)
        return True


def remove(path):
    """Remove a file or a tree, one that a user namespace made included.

    After a run was killed, programs that it had started may go on for a
    while, and use what they have mounted in there.
    """
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    end = time.monotonic() + PATIENCE
    while True:
        shutil.rmtree(path, ignore_errors=True)
        if path.exists() and os.geteuid() != 0:
            subprocess.run(["unshare", "--user", "--map-root-user",
                            "--map-auto", "rm", "-rf", str(path)],
                           check=False, stderr=subprocess.DEVNULL)
        if not path.exists():
            return
        if time.monotonic() >= end:
            raise Failure(f"cannot remove {path}",
                          "something may still use it: try again, or remove "
                          "it by hand, as root if need be")
        time.sleep(1)
