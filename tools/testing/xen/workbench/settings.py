# SPDX-License-Identifier: GPL-2.0
"""What the user chose on the command line or in the environment, checked."""

import fnmatch
import os
import pathlib

from . import cache, say
from .errors import Failure

REPO = pathlib.Path(__file__).resolve().parents[4]
HERE = REPO / "tools/testing/xen"
IMPLS = ("c", "rust")


def matching(names, patterns):
    """The names that one of the patterns, apart by commas or spaces, matches."""
    words = patterns.replace(",", " ").split()
    return [name for name in names
            if any(fnmatch.fnmatchcase(name, word) for word in words)]


class Settings:
    """The choices of one run; wrong ones never get past this."""

    def __init__(self, env=None):
        env = os.environ if env is None else env
        self.impls = self._impls(env.get("IMPL", ""))
        self.jobs = self._jobs(env.get("JOBS", ""))
        self.ksrc = self._ksrc(env.get("KSRC", ""))
        self.xen = self._xen(env.get("XEN", ""))
        self.part = env.get("PART", "")
        self.branch = env.get("BRANCH", "")
        self.base = env.get("BASE", "")
        self.build = env.get("BUILD", "")
        self.row = env.get("ROW", "")
        self.shard = env.get("SHARD", "")
        self.time = self._time(env.get("TIME", ""))
        self.mutant = env.get("MUTANT", "")
        self.cache = cache.Cache(self._cache(env))
        self.out = REPO / "out"
        self.logs = self.out / "logs"

    @staticmethod
    def _impls(value):
        if not value:
            return IMPLS
        if value not in IMPLS:
            raise Failure(f"IMPL={value} is neither c nor rust",
                          "say IMPL=c or IMPL=rust, or nothing for both")
        return (value,)

    @staticmethod
    def _jobs(value):
        if not value:
            return len(os.sched_getaffinity(0))
        if not value.isascii() or not value.isdigit() or int(value) < 1:
            raise Failure(f"JOBS={value} is not a number of jobs",
                          "give a whole number from 1 up")
        return int(value)

    @staticmethod
    def _time(value):
        if not value:
            return 600
        seconds = say.seconds(value)
        if seconds is None:
            raise Failure(f"TIME={value} is not a time",
                          "give seconds, or minutes and hours as 30m and 2h")
        return seconds

    @staticmethod
    def _ksrc(value):
        if not value:
            return None
        path = pathlib.Path(value).expanduser().resolve()
        if not (path / "Kbuild").is_file() or not (
                path / "drivers/xen/Kconfig").is_file():
            raise Failure(f"KSRC={value} is not a Linux kernel tree",
                          "give the top folder of one")
        plain_path(path, "KSRC")
        return path

    @staticmethod
    def _xen(value):
        if not value:
            return None
        path = pathlib.Path(value).expanduser().resolve()
        try:
            with open(path, "rb") as image:
                head = image.read(64)
        except OSError as error:
            raise Failure(f"XEN={value}: {error.strerror}",
                          "give a Xen image for arm64") from error
        if head[56:60] != b"ARMd":
            raise Failure(f"XEN={value} is not an arm64 boot image",
                          "give the uncompressed xen/xen of a build for "
                          "arm64")
        plain_path(path, "XEN")
        return path

    @staticmethod
    def _cache(env):
        value = env.get("CACHE", "")
        if value:
            path = pathlib.Path(value).expanduser().resolve()
        else:
            base = env.get("XDG_CACHE_HOME") or "~/.cache"
            path = pathlib.Path(base).expanduser().resolve() / cache.NAME
        plain_path(path, "CACHE")
        if path.exists() and not path.is_dir():
            raise Failure(f"CACHE={path} is not a folder",
                          "give a folder, or a name for a new one")
        if (path.is_dir() and not (path / cache.TAG).exists()
                and any(path.iterdir())):
            raise Failure(f"the folder {path} has other things in it",
                          "give an empty or a new one with CACHE=DIR")
        return path


def plain_path(path, name):
    """Kernel builds take neither spaces nor colons in their paths."""
    if any(c.isspace() or c in ":'\"" for c in str(path)):
        raise Failure(f"{name}: the path {path} has a space, a colon or a "
                      "quote in it, which kernel builds cannot take",
                      "use another path")
