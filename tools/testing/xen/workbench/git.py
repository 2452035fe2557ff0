# SPDX-License-Identifier: GPL-2.0
"""Git: commits, branches and mails are its work."""

import collections
import os
import subprocess

from .errors import Failure

Person = collections.namedtuple("Person", "name email")

# Set by git for its hooks and aliases; they would lead to another repository.
LOCAL = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR",
         "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
         "GIT_NAMESPACE", "GIT_PREFIX", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS")


def environment(**more):
    """The environment without what would lead git elsewhere."""
    env = {name: value for name, value in os.environ.items()
           if name not in LOCAL}
    return dict(env, LC_ALL="C.UTF-8", GIT_TERMINAL_PROMPT="0", **more)


def apart(**more):
    """An environment in which nobody's configuration changes the result."""
    env = environment(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=os.devnull,
                      GIT_ATTR_NOSYSTEM="1", **more)
    env.pop("GIT_CONFIG_PARAMETERS", None)
    env.pop("GIT_CONFIG_COUNT", None)
    return env


def signing(person, date):
    """The variables that make commits a person's."""
    return {"GIT_AUTHOR_NAME": person.name, "GIT_AUTHOR_EMAIL": person.email,
            "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_NAME": person.name,
            "GIT_COMMITTER_EMAIL": person.email, "GIT_COMMITTER_DATE": date}


def parse_person(text):
    """A person from `Name <address>`, or None."""
    name, _, rest = text.strip().partition(" <")
    email, closed, _ = rest.partition(">")
    return Person(name, email) if name and email and closed else None


class Git:
    """Git in one folder of ours, deaf to anybody's configuration."""

    def __init__(self, folder, env=None):
        self.folder = folder
        self.env = apart() if env is None else env

    @classmethod
    def users(cls, folder):
        """Git in a repository of the user's, configured as it is."""
        return cls(folder, environment())

    def bytes(self, *argv, data=None, env=None, what=None, hint=""):
        """A command's output. `what` says what could not be done if it
        fails; without it that is said in git's words."""
        try:
            done = subprocess.run(
                ["git", *map(str, argv)], cwd=self.folder, input=data or b"",
                env=dict(self.env, **(env or {})), check=False,
                capture_output=True)
        except FileNotFoundError as error:
            raise Failure("git is not there",
                          "install the package git") from error
        if done.returncode != 0:
            tail = done.stderr.decode("utf-8", "replace").strip().splitlines()
            said = tail[0] if tail else f"exit status {done.returncode}"
            raise Failure(what or f"git {argv[0]}: {said}", hint,
                          tail=tail[:12])
        return done.stdout

    def __call__(self, *argv, data=None, **kwargs):
        """The same in text."""
        raw = data.encode("utf-8", "surrogateescape") if data else None
        return self.bytes(*argv, data=raw, **kwargs).decode(
            "utf-8", "surrogateescape").rstrip("\n")

    def ask(self, *argv, **kwargs):
        """The same, with None for a failure."""
        try:
            return self(*argv, **kwargs)
        except Failure:
            return None

    def is_tree(self):
        """Whether the folder is the top of a work tree."""
        return self.ask("rev-parse", "--show-prefix") == ""

    def commit_of(self, name):
        """The commit that a name stands for, or None."""
        return self.ask("rev-parse", "--verify", "--quiet",
                        f"{name}^{{commit}}")


def identity(folder):
    """Who the user is, as git has it; never guessed."""
    git = Git.users(folder)
    found = git.ask("-c", "user.useConfigOnly=true", "var",
                    "GIT_AUTHOR_IDENT")
    person = parse_person(found or "")
    if person is None:
        git("--version")
        raise Failure(
            "git knows no name and no address of yours, and the patches have "
            "to be signed", 'tell it: git config --global user.name "Your '
            'Name"; git config --global user.email you@your.domain')
    return person
