# SPDX-License-Identifier: GPL-2.0
"""make series and make branch: the series as mails, and as a git branch."""

from . import say, series
from .bench import Bench
from .cache import remove
from .commits import Commits, date_of
from .errors import Failure
from .git import Git, identity
from .scratch import Scratch
from .settings import REPO
from .source import PACKAGE

FOR = PACKAGE.rpartition("-")[2]
BASE_KEY = "xen-rust-base"


def cover_letter(part):
    """The text of a cover letter; its first line is the subject."""
    path = REPO / "patches" / ("cover-letter" + (f"-{part}" if part else ""))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"patches/{path.name} cannot be read",
                      "write the text of the cover letter there") from error
    subject, _, body = text.partition("\n\n")
    if not subject.strip() or "\n" in subject.strip() or not body.strip():
        raise Failure(f"patches/{path.name} has to be a subject line, an "
                      "empty line and a text")
    return text


class Mails:
    """The series, or a part of it, as the mails that it would be."""

    def __init__(self, scratch, person, part=""):
        self.scratch = scratch
        self.person = person
        self.part = part
        self.patches = series.read_series(REPO)
        series.check(self.patches, series.kernel_files(REPO))
        self.patches = series.of_part(self.patches, part)
        self.date = date_of(REPO)
        self.commits = []

    def commit(self):
        """Make the commits on the base."""
        scratch = self.scratch
        scratch.store(self.patches)
        self.commits = Commits(
            scratch.git, REPO, self.person, self.date,
            (f"Linux {scratch.source.version()}", "refresh the patch")).build(
                scratch.base, self.patches)
        scratch.git("update-ref", "refs/heads/series", self.commits[-1])

    def write(self, folder):
        """Write the mails into a new folder; return their paths."""
        git = self.scratch.git
        git("config", "branch.series.description", cover_letter(self.part))
        name, email = self.person
        git("format-patch", "--quiet", "--cover-letter",
            "--cover-from-description=subject",
            f"--from={name} <{email}>", f"--base={self.scratch.base}",
            "-o", folder, f"{self.scratch.base}..series",
            env={"GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email,
                 "GIT_COMMITTER_DATE": self.date})
        return sorted(folder.glob("*.patch"))


def open_scratch(bench):
    """The scratch repository with the base in it."""
    settings = bench.settings
    settings.logs.mkdir(parents=True, exist_ok=True)
    settings.cache.open()
    settings.cache.lock()
    if not bench.source.own:
        bench.toolchain.ensure()
    bench.source.ensure()
    scratch = Scratch(settings, bench.source)
    scratch.open()
    return scratch


def folder_of(settings):
    """Where the mails go."""
    return settings.out / ("series" + (f"-{settings.part}" if settings.part
                                       else ""))


def make_series(settings):
    """make series: write the mails into out/."""
    person = identity(REPO)
    series.of_part(series.read_series(REPO), settings.part)
    cover_letter(settings.part)
    bench = Bench(settings)
    scratch = open_scratch(bench)
    mails = Mails(scratch, person, settings.part)
    mails.commit()
    target = folder_of(settings)
    beside = target.with_name(target.name + ".making")
    remove(beside)
    beside.mkdir(parents=True)
    written = mails.write(beside)
    remove(target)
    beside.rename(target)
    say.line(f"{len(written) - 1} patches and a cover letter, from "
             f"{person.name} <{person.email}>, for Linux "
             f"{bench.source.version()}, base commit {scratch.base[:12]}")
    say.line(f"make series: {target}")
    return 0


# make branch ----------------------------------------------------------


def users_tree(settings, command):
    """The user's git tree and the branch that the command is about."""
    if settings.part:
        raise Failure(f"make {command} takes the whole series",
                      "leave PART out")
    if not settings.ksrc or not settings.branch:
        raise Failure(f"make {command} needs a git tree and a branch",
                      f"say make {command} KSRC=DIR BRANCH=NAME")
    git = Git.users(settings.ksrc)
    git("--version")
    if not git.is_tree():
        raise Failure(f"KSRC={settings.ksrc} is not the top folder of a git "
                      "tree", "give a clone of a kernel repository")
    if git.ask("check-ref-format", "--branch", settings.branch) is None:
        raise Failure(f"BRANCH={settings.branch} cannot be the name of a "
                      "branch", "give another name")
    return git


def base_of(git, settings, default):
    """The commit that the series begins after."""
    name = settings.base or default
    found = git.commit_of(name)
    if found is None:
        raise Failure(f"there is no commit {name} in {settings.ksrc}",
                      "say with BASE=COMMIT what the series begins after")
    return found


def version_at(git, commit):
    """The kernel version of a commit, or None."""
    text = git.ask("show", f"{commit}:Makefile") or ""
    numbers = dict(pair.split(" = ", 1) for pair in text.splitlines()[:8]
                   if " = " in pair)
    if "VERSION" not in numbers or "PATCHLEVEL" not in numbers:
        return None
    return f"{numbers['VERSION']}.{numbers['PATCHLEVEL']}"


def make_branch(settings):
    """make branch: the series as a branch of the user's kernel tree."""
    git = users_tree(settings, "branch")
    ref = f"refs/heads/{settings.branch}"
    if git.ask("rev-parse", "--verify", "--quiet", ref):
        raise Failure(f"there is a branch {settings.branch} in "
                      f"{settings.ksrc} already",
                      "give another name, or delete it with git branch -D")
    person = identity(settings.ksrc)
    base = base_of(git, settings, "HEAD")
    version = version_at(git, base)
    if version is None:
        raise Failure(f"{base[:12]} in {settings.ksrc} is not a commit of "
                      "Linux", "say with BASE=COMMIT what to begin after")
    patches = series.of_part(series.read_series(REPO), "")
    series.check(patches, series.kernel_files(REPO))
    commits = Commits(git, REPO, person, date_of(REPO),
                      (f"Linux {version} ({base[:12]})",
                       f"the series is for Linux {FOR}: say with BASE=COMMIT "
                       "what to begin after, or refresh the patch"))
    with say.step(f"{len(patches)} commits"):
        tip = commits.build(base, patches)[-1]
    git("update-ref", "-m", "make branch", ref, tip, "",
        what=f"could not make the branch {settings.branch}")
    git("config", f"branch.{settings.branch}.{BASE_KEY}", base)
    say.line(f"make branch: {settings.branch} in {settings.ksrc}, "
             f"{len(patches)} commits on {base[:12]} (Linux {version})")
    return 0
