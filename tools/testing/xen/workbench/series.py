# SPDX-License-Identifier: GPL-2.0
"""patches/series: which patch adds which of the repository's files.

One patch name a line; lines that begin with a tab name the new files that
this patch adds; `#` begins a comment. A comment after an empty line begins a
group; one that begins with a word in brackets puts its group into the part of
that name, which can be sent alone.
"""

import os
import pathlib
import re

from . import proc
from .errors import Failure

# What stands in the repository and is no part of a kernel tree.
OWN = ("README.md", "Makefile", "Kconfig", "LICENSE", "COPYING", "patches",
       "out", "tools/testing/xen")
PART = re.compile(r"#\s*\[([\w-]+)\]")
JUNK = (".o", ".ko", ".orig", ".rej", ".pyc", ".cmd", ".mod", ".mod.c", "~")


class Patch:
    """One commit of the series to be."""

    def __init__(self, path, part=""):
        self.path = path
        self.name = path.name
        self.part = part
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
    part, before = "", ""
    if not path.exists():
        return patches
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        if raw.startswith("#") and not before.strip():
            named = PART.match(raw)
            part = named[1] if named else ""
        before = raw
        text = raw.split("#", 1)[0].rstrip()
        if not text.strip():
            continue
        if not text.startswith("\t"):
            patches.append(Patch(repo / "patches" / text.strip(), part))
        elif not patches:
            raise Failure(f"patches/series:{number}: a file stands before "
                          "the first patch", "put it under its patch")
        else:
            patches[-1].new_files.append(text.strip())
    return patches


def _blocks(text):
    """The text of patches/series in pieces: (header, {patch: (lines before
    it, its own line, the lines of its files)}, what follows the last)."""
    lines = text.splitlines(keepends=True)
    end = next((number for number, line in enumerate(lines, 1)
                if not line.strip()), 0)
    header, blocks, waiting, name = "".join(lines[:end]), {}, [], None
    for line in lines[end:]:
        bare = line.split("#", 1)[0].strip()
        if not bare:
            waiting.append(line)
        elif line.startswith("\t"):
            blocks[name][2].extend([*waiting, line])
            waiting = []
        else:
            name = bare
            blocks[name] = (waiting, line, [])
            waiting = []
    return header, blocks, "".join(waiting)


def rewrite(text, entries):
    """The text of patches/series with other patches in it, each a name and
    its new files. Comments stay with the patch that they stand before."""
    header, blocks, rest = _blocks(text)
    leads = {name: "".join(block[0]) for name, block in blocks.items()}
    kept = {name for name, _ in entries}
    order = list(blocks)
    for name, following in zip(order, [*order[1:], None]):
        if name not in kept and following and not leads[following].strip():
            leads[following] = leads[name]
    if entries and order and entries[0][0] not in blocks:
        leads[entries[0][0]] = leads.pop(order[0])
    made = header
    for name, files in entries:
        _, own, lines = blocks.get(name, ([], name + "\n", []))
        lines = [line for line in lines if line.startswith("#")
                 or line.split("#", 1)[0].strip() in ("", *files)]
        there = {line.split("#", 1)[0].strip() for line in lines}
        lines += [f"\t{path}\n" for path in files if path not in there]
        made += leads.get(name, "") + own + "".join(lines)
    return made + rest


def of_part(patches, part):
    """The patches of a part; all of them without one."""
    known = sorted({patch.part for patch in patches if patch.part})
    chosen = [patch for patch in patches if part in ("", patch.part)]
    if not chosen:
        raise Failure(
            f"PART={part}: no patch of the series is in that part" if part
            else "patches/series names no patch",
            "the parts are: " + ", ".join(known) if known else
            "leave PART out: patches/series has no parts" if part else
            "write one")
    return chosen


def mode(path):
    """A file's mode as git has it."""
    return "100755" if path.stat().st_mode & 0o111 else "100644"


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
                  if stands_here(name) and (repo / name).is_file())


def stands_here(name):
    """Whether a new file of that name is kept at its place in here."""
    return not _is_own(name)


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
