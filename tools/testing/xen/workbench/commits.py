# SPDX-License-Identifier: GPL-2.0
"""The series as commits, made without a work tree."""

import datetime
import pathlib
import re
import tempfile

from . import series
from .errors import Failure
from .git import Git, parse_person, signing


def split_from(body):
    """(author or None, the rest) of a body that may begin with From:."""
    match = re.match(r"From: ([^\n]+)\n+", body + "\n")
    person = parse_person(match[1]) if match else None
    return (person, body[match.end():].strip("\n")) if person else (None,
                                                                    body)


def date_of(repo):
    """The date of what is sent: that of the repository's last commit."""
    return (Git.users(repo).ask("log", "-1", "--format=%cI")
            or datetime.datetime.now(datetime.timezone.utc).isoformat(
                timespec="seconds"))


class Commits:
    """Puts patches on a base, as commits of a git repository."""

    def __init__(self, git, repo, person, date, base=("the base", "")):
        self.git = git
        self.repo = repo
        self.person = person
        self.date = date
        self.base_name, self.hint = base

    def build(self, base, patches):
        """Commit each patch on top of base; return the commits."""
        made = []
        with tempfile.TemporaryDirectory() as folder:
            index = self.index(folder, base)
            parent = base
            for patch in patches:
                self.apply(index, patch)
                parent = self.commit(self.write(index, patch), parent, patch)
                made.append(parent)
        return made

    # Trees ------------------------------------------------------------

    def index(self, folder, tree):
        """An index of its own, with a tree in it."""
        index = {"GIT_INDEX_FILE": str(pathlib.Path(folder, "index"))}
        self.git("read-tree", tree, env=index)
        return index

    def apply(self, index, patch):
        """Add a patch's new files and its edits to an index."""
        self._add_files(index, patch)
        diff = patch.diff()
        if diff:
            self.git("apply", "--cached", "--whitespace=nowarn", "-",
                     data=diff if diff.endswith("\n") else diff + "\n",
                     env=index, what=f"patches/{patch.name} does not apply "
                     f"to {self.base_name}", hint=self.hint)

    def _add_files(self, index, patch):
        names = patch.new_files
        if not names:
            return
        there = self.git("ls-files", "--", *(f":(literal){name}"
                                             for name in names), env=index)
        if there:
            raise Failure(f"patches/{patch.name} adds "
                          f"{there.splitlines()[0]}, which is in "
                          f"{self.base_name} already", self.hint)
        paths = [self.repo / name for name in names]
        blobs = self.git("hash-object", "-w", "--no-filters", "--stdin-paths",
                         data="".join(f"{path}\n" for path in paths),
                         what=f"cannot read the files of {patch.name}")
        entries = (f"{series.mode(path)} {blob}\t{name}\0" for path, blob, name
                   in zip(paths, blobs.splitlines(), names))
        self.git("update-index", "-z", "--index-info", data="".join(entries),
                 env=index)

    def write(self, index, patch):
        """The tree of an index, which a patch has to have changed."""
        # A scratch repository does not have every file of its base.
        tree = self.git("write-tree", "--missing-ok", env=index)
        if not patch.new_files and not patch.diff():
            raise Failure(f"patches/{patch.name} changes nothing",
                          "take it out of patches/series")
        return tree

    # Commits ----------------------------------------------------------

    def message(self, patch):
        """(author, message) of the commit that a patch becomes."""
        subject, body = patch.message()
        author, body = split_from(body)
        text = f"{subject}\n\n{body}".rstrip("\n") + "\n"
        name, email = self.person
        return author or self.person, Git("/")(
            "interpret-trailers", "--no-divider", "--if-exists",
            "addIfDifferent", "--trailer",
            f"Signed-off-by: {name} <{email}>", data=text) + "\n"

    def commit(self, tree, parent, patch):
        """Commit a tree with a patch's message."""
        author, text = self.message(patch)
        env = signing(self.person, self.date)
        env.update(GIT_AUTHOR_NAME=author.name, GIT_AUTHOR_EMAIL=author.email)
        return self.git("-c", "i18n.commitEncoding=UTF-8", "commit-tree",
                        tree, "-p", parent, data=text, env=env)
