# SPDX-License-Identifier: GPL-2.0
"""A git repository in the cache, in which the base of the series is a commit.

Where the source is a git tree of the user's, that is its last commit, read
from the user's repository. Else a commit is made of the source's files, the
same one each time. Only its tree is written, not the 1.5 GB of its files:
those that the series edits are added when they are needed. To git that is a
partial clone, of a remote that cannot be reached.
"""

import os
import stat

from . import say
from .cache import remove
from .errors import Failure
from .git import Git, Person, signing
from .source import BUILT

NOBODY = Person("The source package", "nobody@localhost")
LONG_AGO = "@0 +0000"
PARTIAL = (("core.repositoryFormatVersion", "1"),
           ("extensions.partialClone", "source"),
           ("remote.source.url", os.devnull),
           ("remote.source.promisor", "true"))


class Scratch:
    """The repository; the cache has to be locked."""

    def __init__(self, settings, source):
        self.cache = settings.cache
        self.source = source
        self.dir = settings.cache.path / f"series-{source.key}"
        self.git = Git(self.dir)
        self.base = None
        self.theirs = None
        if source.own and Git.users(source.path).is_tree():
            self.theirs = Git.users(source.path)

    def open(self):
        """Make the base commit, or find it; return it."""
        if self.theirs:
            self._from_git()
            return self.base
        if self.source.own:
            remove(self.dir)
        if not self.dir.exists():
            with self.cache.making(self.dir.name) as beside:
                self._init(beside)
                self._snapshot(beside)
        self.base = self.git("rev-parse", "refs/base")
        return self.base

    @staticmethod
    def _init(folder, *how):
        folder.mkdir()
        git = Git(folder)
        git("init", "--quiet", "--template=", "-b", "series", *how)
        for name, value in (("gc.auto", "0"), ("core.autocrlf", "false")):
            git("config", name, value)
        return git

    def _from_git(self):
        """Borrow the objects of the user's repository."""
        remove(self.dir)
        theirs = self.theirs
        self.base = theirs.commit_of("HEAD")
        if self.base is None:
            raise Failure(f"{self.source.path} has no commit",
                          "commit the kernel source in it")
        git = self._init(self.dir, "--object-format=" + theirs(
            "rev-parse", "--show-object-format"))
        info = self.dir / ".git/objects/info"
        info.mkdir(parents=True, exist_ok=True)
        objects = theirs("rev-parse", "--path-format=absolute", "--git-path",
                         "objects")
        (info / "alternates").write_text(objects + "\n")
        shallow = self.source.path / theirs("rev-parse", "--git-path",
                                            "shallow")
        if shallow.exists():
            (self.dir / ".git/shallow").write_bytes(shallow.read_bytes())
        git("update-ref", "refs/base", self.base)

    def _snapshot(self, folder):
        """Commit the source as it lies there."""
        git = Git(folder)
        for name, value in PARTIAL:
            git("config", name, value)
        source = str(self.source.path)
        tree = ["--git-dir", git("rev-parse", "--absolute-git-dir"),
                "--work-tree", source]
        skip = []
        if self.source.own:  # perhaps built in
            skip = ["--exclude-per-directory=.gitignore",
                    *(f"--exclude={name}" for name in BUILT)]
        with say.step("the source as a commit"):
            names = Git(source, git.env)(*tree, "ls-files", "--others", "-z",
                                         *skip).split("\0")
            git("update-index", "-z", "--index-info",
                data="".join(self._entries(git, filter(None, names))))
            commit = git("commit-tree",
                         git("write-tree", "--missing-ok"),
                         data=f"Linux {self.source.version()}\n",
                         env=signing(NOBODY, LONG_AGO))
        git("update-ref", "refs/base", commit)

    def _entries(self, git, names):
        """Index entries of the source's files, which are not stored."""
        files = []
        for name in names:
            path = os.path.join(self.source.path, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                blob = git.bytes("hash-object", "-w", "--stdin",
                                 data=os.fsencode(os.readlink(path)))
                yield f"120000 {blob.decode().strip()}\t{name}\0"
            elif "\n" in name:
                raise Failure(f"{path!r} has a line break in its name")
            else:
                files.append((name, path, mode))
        blobs = git("hash-object", "--no-filters", "--stdin-paths",
                    data="".join(f"{path}\n" for _, path, _ in files))
        for (name, _, mode), blob in zip(files, blobs.splitlines()):
            bits = "100755" if mode & 0o111 else "100644"
            yield f"{bits} {blob}\t{name}\0"

    def store(self, patches):
        """Add the source's files that patches edit."""
        if self.theirs:
            return
        paths = {self.source.path / name for patch in patches
                 for name in patch.edits()}
        self.git("hash-object", "-w", "--no-filters", "--stdin-paths",
                 data="".join(f"{path}\n" for path in sorted(paths)
                              if path.is_file()))

    # git am -----------------------------------------------------------

    def am(self, mails, names, log):
        """Have `git am` apply mails to the base; return the commits.

        Only files with these names are checked out.
        """
        git = Git(self.dir, dict(self.git.env,
                                 **signing(NOBODY, LONG_AGO)))
        remove(self.dir / ".git/rebase-apply")
        (self.dir / ".git/index.lock").unlink(missing_ok=True)
        git("read-tree", "--empty")
        for name in os.listdir(self.dir):
            if name != ".git":
                remove(self.dir / name)
        git("sparse-checkout", "set", "--no-cone", "--stdin",
            data="".join(f"/{name}\n" for name in sorted(names)))
        git("update-ref", "--no-deref", "HEAD", self.base)
        git("read-tree", "-mu", "HEAD")
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            log.write_text(git("am", "--quiet", *mails) + "\n")
        except Failure as failure:
            log.write_text("\n".join(failure.tail) + "\n")
            return None
        return git("rev-list", "--reverse", f"{self.base}..HEAD").split()

    # The assembled tree -----------------------------------------------

    def differences(self, commit, folder):
        """Names of what is not the same in a commit and in a folder."""
        tree = ["--git-dir", str(self.dir / ".git"),
                "--work-tree", str(folder), "-c", "core.sparseCheckout=false",
                "-c", "core.bare=false"]
        index = {"GIT_INDEX_FILE": str(self.dir / ".git/assembled.index")}
        (self.dir / ".git/assembled.index.lock").unlink(missing_ok=True)
        git = Git(folder, self.git.env)
        # Whatever the files are now: with -m what is known of them is kept, and
        # with -i not looked at yet.
        git(*tree, "read-tree", "-i", "-m", commit, env=index)
        git.ask(*tree, "update-index", "-q", "--refresh", env=index)
        changed = git(*tree, "diff-files", "--name-only", env=index)
        others = ["--exclude-per-directory=.gitignore",
                  *(f"--exclude={name}" for name in BUILT)]
        more = git(*tree, "ls-files", "--others",
                   *(others if self.source.own else []), env=index)
        # Running the kernel's Python scripts leaves these.
        return sorted(name for name in {*changed.splitlines(),
                                        *more.splitlines()}
                      if "__pycache__/" not in name)
