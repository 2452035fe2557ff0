# SPDX-License-Identifier: GPL-2.0
"""patches/series: which patch adds which of the repository's files.

One patch name a line; lines that begin with a tab name the new files that
this patch adds; `#` begins a comment.
"""

import os
import pathlib
import re

from . import proc
from .errors import Failure

# What stands in the repository and is no part of a kernel tree.
OWN = ("README.md", "Makefile", "Kconfig", "LICENSE", "COPYING", "patches",
       "out", "tools/testing/xen")
JUNK = (".o", ".ko", ".orig", ".rej", ".pyc", ".cmd", ".mod", ".mod.c", "~")


class Patch:
    """One commit of the series to be."""

    def __init__(self, path):
        self.path = path
        self.name = path.name
        self.new_files = []

    def text(self):
        """The patch file as it stands."""
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"patches/{self.name} cannot be read",
                          "patches/series names it; write it or take it "
                          "out") from error

    def edits(self):
        """The files of upstream's that it edits, in order."""
        names = re.findall(r"^diff --git a/(\S+) b/\S+$", self.text(),
                           re.MULTILINE)
        return list(dict.fromkeys(names))

    def diff(self):
        """The hunks alone."""
        text = self.text()
        at = text.find("\ndiff --git ")
        return text[at + 1:] if at >= 0 else ""

    def message(self):
        """(subject, body) of the commit."""
        head, _, body = self.text().partition("\n")
        if not head.startswith("Subject: "):
            raise Failure(f"patches/{self.name} does not begin with a "
                          "Subject: line", "write one")
        body = re.split(r"^---$", body, maxsplit=1, flags=re.MULTILINE)[0]
        return head[len("Subject: "):].strip(), body.strip("\n")


def read_series(repo):
    """The patches of patches/series, in order."""
    path = repo / "patches/series"
    patches = []
    if not path.exists():
        return patches
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        text = raw.split("#", 1)[0].rstrip()
        if not text.strip():
            continue
        if not text.startswith("\t"):
            patches.append(Patch(repo / "patches" / text.strip()))
        elif not patches:
            raise Failure(f"patches/series:{number}: a file stands before "
                          "the first patch", "put it under its patch")
        else:
            patches[-1].new_files.append(text.strip())
    return patches


def kernel_files(repo):
    """The repository's files that belong into a kernel tree."""
    listed = proc.output(["git", "-C", repo, "ls-files", "-z", "--cached",
                          "--others", "--exclude-standard"])
    if listed is not None:
        names = [name for name in listed.split("\0") if name]
    else:
        names = [str(pathlib.Path(folder, name).relative_to(repo))
                 for folder, _, files in os.walk(repo) for name in files]
    return sorted(name for name in set(names)
                  if not _is_own(name) and (repo / name).is_file())


def _is_own(name):
    if name.startswith(".") or name.endswith(JUNK):
        return True
    if "__pycache__" in name or pathlib.Path(name).name.endswith(".swp"):
        return True
    return any(name == own or name.startswith(own + "/") for own in OWN)


def check(patches, files):
    """Each file belongs to exactly one patch; no patch names a ghost."""
    owner = {}
    for patch in patches:
        for name in patch.new_files:
            if name in owner:
                raise Failure(f"{name} is added by two patches, "
                              f"{owner[name]} and {patch.name}",
                              "take it out of one in patches/series")
            owner[name] = patch.name
    for name in files:
        if name not in owner:
            raise Failure(f"{name} is in no patch",
                          "name it under its patch in patches/series")
    for name in owner:
        if name not in files:
            raise Failure(f"patches/series names {name} under {owner[name]}, "
                          "and there is no such file",
                          "write the file or take the line out")
