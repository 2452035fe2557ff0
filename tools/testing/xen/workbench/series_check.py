# SPDX-License-Identifier: GPL-2.0
"""make series-check: the series as it is sent, looked at from all sides."""

import re
import tempfile
import time
import pathlib
from concurrent.futures import ThreadPoolExecutor

from . import proc, say, series
from .bench import Bench
from .cache import remove
from .checks import Checks
from .compiled import COMPILED, Compiled
from .errors import Failure
from .git import Git, Person
from .kernel import Kernel
from .ktap import Result
from .send import Mails, folder_of, open_scratch

# For mails that nobody sends.
TRIAL = Person("Trial run", "trial@localhost")


def _outcome(good, failure):
    result = Result()
    if good:
        result.passed += 1
    else:
        result.failed += 1
        result.failures.append(failure)
    return result


def trial_mails(scratch, part=""):
    """(the series, its mails) as nobody would send them."""
    mails = Mails(scratch, TRIAL, part)
    mails.commit()
    folder = scratch.dir.with_name(scratch.dir.name + "-trial")
    remove(folder)
    folder.mkdir()
    return mails, mails.write(folder)


def applied(scratch, mails, paths, logs):
    """`git am` takes the mails, and makes of each the commit that it is."""
    log = logs / "git-am.log"
    names = {name for patch in mails.patches
             for name in patch.new_files + patch.edits()}
    made = scratch.am([path for path in paths
                       if not path.name.startswith("0000-")], names, log)
    if made is None:
        return _outcome(False, f"git am does not take the series (log: {log})")
    result = Result()
    for number, (patch, commit) in enumerate(zip(mails.patches,
                                                 mails.commits)):
        # Everything but who it is from, which may differ.
        same = number < len(made) and all(
            scratch.git("log", "-1", f"--format={what}", made[number])
            == scratch.git("log", "-1", f"--format={what}", commit)
            for what in ("%T", "%s"))
        result.add(_outcome(same, f"git am makes another commit of "
                            f"{patch.name} (log: {log})"))
    if len(made) != len(mails.commits):
        result.add(_outcome(False, f"git am made {len(made)} commits of "
                            f"{len(mails.commits)} patches"))
    return result


def assembled(scratch, mails, tree, logs):
    """The last commit is the assembled tree, byte for byte."""
    log = logs / "series-differences.log"
    with say.step("the last commit against the assembled tree"):
        names = scratch.differences(mails.commits[-1], tree.path)
    log.write_text("".join(f"{name}\n" for name in names))
    return _outcome(not names, f"{len(names)} files are not the same in the "
                    f"assembled tree: {', '.join(names[:3])} (log: {log})")


def fast(bench, tally, checks):
    """The part that make test has: mails, git am, equality, checkpatch."""
    if proc.output(["git", "--version"]) is None:
        tally.add("series", Result(skipped=1, skips=[
            "mails, git am and checkpatch (git is not installed)"]))
        return
    scratch = open_scratch(bench)
    with say.step("the series as mails, and git am"):
        mails, paths = trial_mails(scratch)
        result = applied(scratch, mails, paths, bench.settings.logs)
    result.add(assembled(scratch, mails, bench.tree, bench.settings.logs))
    tally.add("series", result)
    tally.add("checkpatch", checks.checkpatch(paths))


# Beyond that ----------------------------------------------------------


def kernel_doc(bench, patches):
    """kernel-doc has nothing to say that it did not say before."""
    result = Result()
    log = bench.settings.logs / "kernel-doc.log"
    log.unlink(missing_ok=True)
    names = sorted({name for patch in patches
                    for name in patch.new_files + patch.edits()
                    if name.endswith((".c", ".h"))})

    def said(folder, name):
        if not (folder / name).exists():
            return set()
        at = log.stat().st_size if log.exists() else 0
        bench.toolchain.run(
            ["python3", "-B", bench.tree.path / "scripts/kernel-doc", "-none",
             name], log, "", cwd=folder, check=False, append=True,
            read=[folder] if bench.source.own else [])
        text = log.read_text(errors="replace")[at:]
        return {re.sub(r":\d+:?", ":", line) for line in text.splitlines()}

    with say.step("kernel-doc"):
        for name in names:
            new = said(bench.tree.path, name)
            if new and name not in {file for patch in patches
                                    for file in patch.new_files}:
                new -= said(bench.source.path, name)
            result.add(_outcome(not new, f"kernel-doc: {name} (log: {log})"))
    return result


def sent(settings, mails, scratch):
    """The mails in out/, if they are there and those of today."""
    folder = folder_of(settings)
    paths = sorted(folder.glob("*.patch"))
    if not paths:
        return None
    with tempfile.TemporaryDirectory() as other:
        now = mails.write(pathlib.Path(other))
        if [_matter(path) for path in paths] != [_matter(path)
                                                 for path in now]:
            raise Failure(f"{folder} is not what the repository has now",
                          "run make series again, or make clean")
    say.line(f"checked: the mails in {folder}, base commit "
             f"{scratch.base[:12]}")
    return paths


def _matter(path):
    """A mail without what may differ: from whom and when it is."""
    text = re.sub(r"\A(?:\S.*\n|[ \t].*\n)+", "", path.read_text(
        encoding="utf-8", errors="replace"))
    return path.name, re.sub(
        r"^(From|Signed-off-by|base-commit): .*$|^.*\(\d+\):$", "", text,
        flags=re.MULTILINE)


class StepKernel(Kernel):
    """A kernel of a tree that is not complete yet; only built."""

    def _selftests(self, note):
        pass

    def _state(self):
        return None


def step_kernels(bench):
    """The two kernels, with the options that the tree has by now."""
    text = "".join(path.read_text(errors="replace") for path in
                   (bench.tree.path / "drivers/xen").rglob("Kconfig*"))
    made = []
    for full in (bench.kernel_c(), bench.kernel_rust()):
        options = {name: value for name, value in full.options.items()
                   if not name.endswith("_RUST")
                   or re.search(rf"^config {name}$", text, re.MULTILINE)}
        made.append(StepKernel(bench, full.name, full.fragments, options,
                               full.seed))
    return made


def builds(bench, patches):
    """The kernels build after each patch, without a new warning, and the Xen
    code of other machines compiles."""
    result = Result()
    try:
        for count, patch in enumerate(patches, 1):
            bench.tree.assemble(count)
            for kernel in step_kernels(bench):
                title = (f"{kernel.name} kernel after {count} of "
                         f"{len(patches)}, {patch.name}")
                result.add(_build(kernel, title, bench.settings.logs / (
                    f"step-{count:02d}-{kernel.name}.log")))
            # Little of a step keeps more than one CPU busy.
            with ThreadPoolExecutor() as pool:
                others = [pool.submit(Compiled(bench, name).step, count)
                          for name in COMPILED]
            for other in others:
                result.add(other.result())
    finally:
        bench.tree.assemble()
    return result


def _build(kernel, title, log):
    kernel.log = log
    say.line(f"building the {title}")
    try:
        kernel.build()
    except Failure as failure:
        return _outcome(False, f"{title}: {failure}")
    text = log.read_text(errors="replace")
    warned = re.search(r"^.*\bwarning: .*$", text, re.MULTILINE)
    return _outcome(warned is None, f"{title}: {warned and warned[0]} "
                    f"(log: {log})")


def warnings(bench, patches):
    """W=1 and sparse have nothing to say of the C files of the series."""
    result = Result()
    names = sorted({name for patch in patches
                    for name in patch.new_files + patch.edits()
                    if name.endswith(".c") and not name.startswith("tools/")})
    for kernel in (bench.kernel_c(), bench.kernel_rust()):
        kernel.build()
        objects = {name: name[:-2] + ".o" for name in names}
        objects = {name: path for name, path in objects.items()
                   if (kernel.obj / path).exists()}
        with say.step(f"W=1 and sparse, {kernel.name} kernel"):
            status, text = kernel.compile_with(["W=1", "C=2"],
                                               objects.values())
        result.add(_outcome(status == 0, f"W=1 and sparse, {kernel.name} "
                            f"kernel: status {status} (log: {kernel.log})"))
        if "C=2 specified, but" in text:
            result.skipped += 1
            result.skips.append(f"sparse, {kernel.name} kernel (the packaged "
                                "one is too old for this kernel)")
        for name in objects:
            said = re.search(rf"^.*\b{re.escape(name)}:\d+\b.*"
                             r"\b(?:warning|error): .*$", text, re.MULTILINE)
            result.add(_outcome(not said, f"{said and said[0].strip()} "
                                f"({kernel.name} kernel, log: {kernel.log})"))
    return result


def series_check(settings, tally):
    """make series-check: all of it; ends with one clear line."""
    start = time.monotonic()
    if settings.build not in ("", "0", "1"):
        raise Failure(f"BUILD={settings.build} is neither 0 nor 1",
                      "say BUILD=1, or nothing")
    Git(settings.logs.parents[1])("--version")
    bench = Bench(settings)
    scratch = open_scratch(bench)
    bench.toolchain.ensure()
    bench.tree.assemble()
    mails, paths = trial_mails(scratch, settings.part)
    paths = sent(settings, mails, scratch) or paths
    logs = settings.logs
    checks = Checks(bench)
    tally.add("git am", applied(scratch, mails, paths, logs))
    if not settings.part:
        tally.add("equal to the assembled tree",
                  assembled(scratch, mails, bench.tree, logs))
    tally.add("checkpatch", checks.checkpatch(paths))
    tally.add("rustfmt", checks.rustfmt())
    tally.add("kernel-doc", kernel_doc(bench, mails.patches))
    if settings.build == "1":
        bench.menu.load()
        # The kernels at the end are made with all that boots.
        bench.hypervisor.ensure()
        tally.add("builds", builds(bench, mails.patches))
        tally.add("W=1 and sparse", warnings(bench, mails.patches))
    failed = tally.all.failed
    spent = say.duration(time.monotonic() - start)
    say.line(f"make series-check: {len(mails.patches)} patches, "
             + (f"{failed} findings" if failed else "nothing to object to")
             + f" ({spent})")
    return 1 if failed else 0
