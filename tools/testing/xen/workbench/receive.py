# SPDX-License-Identifier: GPL-2.0
"""make import: commits of a user's branch become the series again.

What a commit has not changed stays as it stands, to the letter: its message,
its edits, its place in patches/series.
"""

import pathlib
import re
import tempfile

from . import say, series
from .cache import remove
from .commits import Commits, date_of
from .errors import Failure
from .git import Git, Person, identity
from .send import BASE_KEY, base_of, users_tree
from .settings import REPO

MANY = 200
REGULAR = ("100644", "100755")


class Commit:
    """A commit of the branch."""

    def __init__(self, git, name):
        self.git = git
        self.name = name
        shown = git("log", "-1", "--no-show-signature", "--encoding=UTF-8",
                    "--format=%T%x00%an%x00%ae%x00%s%x00%b", name)
        self.tree, author, email, self.subject, body = shown.split("\0")
        self.author = Person(author, email)
        self.body = body.strip("\n")
        self.changes = {}  # name -> (old mode, mode, blob)
        raw = git("diff-tree", "-r", "-z", "--no-renames", "--raw",
                  f"{name}^", name).split("\0")
        for meta, path in zip(raw[::2], raw[1::2]):
            old, mode, _, blob, _ = meta.lstrip(":").split(" ")
            self.changes[path] = (old, mode, blob)
        self._check()

    def _check(self):
        known = f"commit {self.name[:12]} ({self.subject})"
        if re.match(r"(fixup|squash|amend)! ", self.subject):
            raise Failure(f"{known} is to be melted into another",
                          "do so first: git rebase -i --autosquash")
        if re.search(r"^(---|diff -.*|Index: .*)$", self.body, re.MULTILINE):
            raise Failure(f"{known} has a line in its message at which git "
                          "am would cut it off", "write it in another way")
        if not self.changes:
            raise Failure(f"{known} changes nothing", "drop it")

    def added(self, patch, known):
        """The new files that are kept at their place, in patch's order."""
        edited = patch.edits() if patch else []
        mine = patch.new_files if patch else []
        names = [name for name, (old, mode, _) in self.changes.items()
                 if old == "000000" and mode in REGULAR
                 and name not in known and name not in edited
                 and series.stands_here(name)]
        return ([name for name in mine if name in names]
                + sorted(set(names) - set(mine)))

    def diff(self, leave_out):
        """What it changes, but for some files, as a diff."""
        names = [f":(literal){name}" for name in self.changes
                 if name not in leave_out]
        if not names:
            return ""
        raw = self.git.bytes("-c", "diff.suppressBlankEmpty=false",
                             "diff-tree", "-r", "-p", "--no-renames",
                             "--no-ext-diff", "--no-textconv", "--abbrev=12",
                             "--no-color", f"{self.name}^", self.name, "--",
                             *names)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Failure(f"commit {self.name[:12]} edits a file that is not "
                          "in UTF-8", "leave that file out") from error
        if re.search(r"^Binary files ", text, re.MULTILINE):
            raise Failure(f"commit {self.name[:12]} changes a binary file",
                          "leave that file out")
        return text

    def message(self, person):
        """The head of its patch file."""
        body = self.body.removesuffix(
            f"Signed-off-by: {self.author.name} <{self.author.email}>")
        if self.author != person:
            body = (f"From: {self.author.name} <{self.author.email}>\n\n"
                    + self.body)
        body = body.strip("\n")
        return f"Subject: {self.subject}\n\n" + (f"{body}\n" if body else "")


def match(commits, patches):
    """Which patch each commit is: by subject, then by the files it touches.

    Returns a patch, or None for a new one, for each commit.
    """
    left = list(patches)
    found = {}
    for commit in commits:
        for patch in left:
            if patch.message()[0] == commit.subject:
                found[commit.name] = patch
                left.remove(patch)
                break
    for commit in commits:
        if commit.name in found:
            continue
        names = set(commit.changes)
        likely = [(len(names & touched) / len(names | touched), patch)
                  for patch in left
                  if (touched := {*patch.new_files, *patch.edits()})]
        best, patch = max(likely, key=lambda pair: pair[0], default=(0, None))
        if best > 0.5:
            found[commit.name] = patch
            left.remove(patch)
    return [found.get(commit.name) for commit in commits]


def split_text(text):
    """(message, what stands between it and the diff, diff) of a patch file."""
    at = text.find("\ndiff --git ") + 1
    head, diff = (text[:at], text[at:]) if at else (text, "")
    parts = re.split(r"^---\n", head, maxsplit=1, flags=re.MULTILINE)
    return parts[0], parts[1] if parts[1:] else "", diff


def new_name(subject, before, taken):
    """A file name for a new patch, numbered after the one before it."""
    numbers = {int(found[0]) for name in taken
               if (found := re.match(r"\d{1,6}", name))}
    found = re.match(r"\d{1,6}", before or "")
    number = int(found[0]) if found else 0
    while number in numbers or number == 0:
        number += 1
    slug = re.sub(r"[^a-z0-9]+", "-", subject.lower()).strip("-")[:50]
    return f"{number:04d}-{slug.strip('-') or 'patch'}.patch"


class Import:
    """The series to be, first in a folder of its own."""

    def __init__(self, git, person, base, folder):
        self.git = git
        self.base = base
        self.folder = pathlib.Path(folder)
        self.person = person
        self.old = series.read_series(REPO)
        self.building = Commits(git, self.folder, person, date_of(REPO))
        self.entries = []  # (patch name, new files)
        self.known = set()

    def take(self, commits):
        """Make the patch files and the new files of all commits."""
        (self.folder / "patches").mkdir(parents=True)
        parent = self.base
        taken = {patch.name for patch in self.old}
        for commit, patch in zip(commits, match(commits, self.old)):
            before = self.entries[-1][0] if self.entries else None
            name = patch.name if patch else new_name(commit.subject, before,
                                                     taken)
            taken.add(name)
            added = commit.added(patch, self.known)
            self.known.update(added)
            for path in added:
                self._put(path, commit.changes[path])
            self._patch(commit, parent, patch, name, added)
            self.entries.append((name, added))
            parent = commit.name
        text = (REPO / "patches/series").read_text(encoding="utf-8")
        (self.folder / "patches/series").write_text(
            series.rewrite(text, self.entries), encoding="utf-8")

    def _put(self, name, change):
        _, mode, blob = change
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.git.bytes("cat-file", "blob", blob))
        path.chmod(int(mode, 8) & 0o777)

    def _patch(self, commit, parent, patch, name, added):
        path = self.folder / "patches" / name
        if patch is None:
            path.write_text(commit.message(self.person) + "---\n"
                            + commit.diff(added), encoding="utf-8")
            return
        text = patch.text()
        message, between, diff = split_text(text)
        author, signed = self.building.message(patch)
        theirs = (f"{commit.subject}\n\n{commit.body}").rstrip("\n") + "\n"
        same = signed == theirs and author == commit.author
        path.write_text(text, encoding="utf-8")
        fits = self._fits(commit, parent, path, added)
        if same and fits:
            return
        path.write_text((message if same else commit.message(self.person))
                        + "---\n" + between
                        + (diff if fits else commit.diff(added)),
                        encoding="utf-8")

    def _fits(self, commit, parent, path, added):
        """Whether the edits of a patch file make the commit of its parent."""
        patch = series.Patch(path)
        patch.new_files = added
        with tempfile.TemporaryDirectory() as folder:
            index = self.building.index(folder, parent)
            try:
                self.building.apply(index, patch)
            except Failure:
                return False
            return self.building.write(index, patch) == commit.tree

    def prove(self, commits):
        """What was made has to give the same trees again."""
        made = self.building.build(self.base, series.read_series(self.folder))
        for commit, again in zip(commits, made, strict=True):
            if self.git("rev-parse", f"{again}^{{tree}}") != commit.tree:
                raise Failure(f"commit {commit.name[:12]} ({commit.subject}) "
                              "cannot be kept as a patch and files",
                              "nothing was changed; please report it")

    # Into the repository ----------------------------------------------

    def changes(self):
        """Names of what is to be written, and of what is to be removed."""
        new = {str(path.relative_to(self.folder))
               for path in self.folder.rglob("*") if path.is_file()}
        old = {f"patches/{patch.name}" for patch in self.old}
        for patch in self.old:
            old.update(patch.new_files)
        write = {name for name in new
                 if not _same(self.folder / name, REPO / name)}
        return sorted(write), sorted(old - new)

    def bring(self, write, gone):
        """Change the repository."""
        users = Git.users(REPO)
        status = users.ask("status", "--porcelain", "--",
                           *(f":(literal){name}" for name in write + gone))
        if status:
            names = [text[3:] for text in status.splitlines()]
            raise Failure(
                f"this repository has changes in {names[0]}"
                + (f" and {len(names) - 1} more" if names[1:] else "")
                + " that are not committed, and the branch has others",
                "commit them, or put them aside, and import again")
        for name in write:
            target = REPO / name
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(target.name + ".making")
            beside.write_bytes((self.folder / name).read_bytes())
            beside.chmod((self.folder / name).stat().st_mode & 0o777)
            beside.rename(target)
        for name in gone:
            remove(REPO / name)


def _same(one, other):
    return (other.is_file() and one.read_bytes() == other.read_bytes()
            and series.mode(one) == series.mode(other))


def commits_of(git, settings):
    """(base, commits) of the branch."""
    branch = settings.branch
    tip = git.commit_of(f"refs/heads/{branch}")
    if tip is None:
        raise Failure(f"there is no branch {branch} in {settings.ksrc}",
                      "give the name of one")
    base = base_of(git, settings, git.ask(
        "config", f"branch.{branch}.{BASE_KEY}") or "(unknown)")
    names = git("rev-list", "--reverse", f"{base}..{tip}").split()
    hint = "say with BASE=COMMIT what the series begins after"
    if git.ask("merge-base", "--is-ancestor", base, tip) is None:
        raise Failure(f"{branch} does not begin after {base[:12]}", hint)
    if not names:
        raise Failure(f"{branch} has no commit after {base[:12]}", hint)
    if len(names) > MANY or git("rev-list", "--merges", f"{base}..{tip}"):
        raise Failure(f"{branch} has {len(names)} commits after {base[:12]}, "
                      "too many for the series, or a merge among them", hint)
    return base, [Commit(git, name) for name in names]


def make_import(settings):
    """make import: bring a branch back into this repository."""
    git = users_tree(settings, "import")
    person = identity(settings.ksrc)
    base, commits = commits_of(git, settings)
    series.check(series.read_series(REPO), series.kernel_files(REPO))
    with tempfile.TemporaryDirectory() as folder:
        new = Import(git, person, base, folder)
        with say.step(f"{len(commits)} commits of {settings.branch}"):
            new.take(commits)
            new.prove(commits)
        write, gone = new.changes()
        new.bring(write, gone)
    for name in write:
        say.line(f"  written: {name}")
    for name in gone:
        say.line(f"  removed: {name}")
    said = (f"{len(write)} files written, {len(gone)} removed: see git status"
            if write or gone else "nothing has changed")
    say.line(f"make import: {len(commits)} commits of {settings.branch}; "
             f"{said}")
    return 0
