# SPDX-License-Identifier: GPL-2.0
"""Assembly: pristine kernel source + this repository's files + patches/.

The assembled tree lives on from run to run. A file is written only when its
content changes, so that make rebuilds what an edit touches and no more.
"""

import json
import os
import re
import shutil
import tempfile

from . import say, series
from .cache import remove
from .errors import Failure
from .source import BUILT


class Tree:
    """The assembled tree of one source."""

    def __init__(self, settings, toolchain, source, repo):
        self.settings = settings
        self.toolchain = toolchain
        self.source = source
        self.repo = repo
        self.work = settings.cache.path / f"work-{source.key}"
        self.path = self.work / "tree"
        self.manifest = self.work / "overlay.json"
        self.patches = []

    def assemble(self, count=None):
        """Bring the tree up to date, or to where it is after the first
        patches of the series; return the names that changed."""
        self.patches = series.read_series(self.repo)
        files = series.kernel_files(self.repo)
        if self.patches:
            series.check(self.patches, files)
        if count is not None:
            self.patches = self.patches[:count]
            files = sorted(name for patch in self.patches
                           for name in patch.new_files)
        self.work.mkdir(exist_ok=True)
        log = self.settings.logs / "assemble.log"
        with tempfile.TemporaryDirectory(dir=self.work,
                                         suffix=".making") as staging:
            overlay = self._stage(staging, files, log)
            before = self._touched()
            # Said before it is done: what a crash leaves is put right next
            # time, since every file named here is looked at again.
            self._remember(sorted(set(before) | set(overlay)))
            self._base(overlay, before, log)
            changed = [name for name in sorted(set(before) | set(overlay))
                       if self._place(staging, overlay, name)]
            self._remember(sorted(overlay))
        return changed

    def _touched(self):
        try:
            return json.loads(self.manifest.read_text())
        except (OSError, ValueError):
            return []

    def _remember(self, names):
        new = self.manifest.with_suffix(".new")
        new.write_text(json.dumps(names))
        new.rename(self.manifest)

    def _stage(self, staging, files, log):
        """Make the files that differ from the source; return their names."""
        overlay = []
        for name in files:
            self._copy(self.repo / name, os.path.join(staging, name))
            overlay.append(name)
        for patch in self.patches:
            for name in patch.edits():
                target = os.path.join(staging, name)
                original = self.source.path / name
                if not os.path.exists(target) and original.exists():
                    self._copy(original, target)
                overlay.append(name)
            self._apply(patch, staging, log)
        return list(dict.fromkeys(overlay))

    def _apply(self, patch, staging, log):
        diff = patch.diff()
        if not diff:
            return
        path = os.path.join(staging, ".diff")
        with open(path, "w", encoding="utf-8") as out:
            out.write(diff)
        status = self.toolchain.run(
            ["patch", "-p1", "--batch", "--forward", "--fuzz=0",
             "--no-backup-if-mismatch", "-r", "-", "-i", path], log, "",
            cwd=staging, check=False, append=True)
        os.unlink(path)
        if status != 0:
            text = log.read_text(errors="replace")
            names = re.findall(r"^patching file '?([^\s']+)", text, re.M)
            where = f" to {names[-1]}" if names else ""
            raise Failure(
                f"patches/{patch.name} does not apply{where} of Linux "
                f"{self.source.version()}",
                "refresh the patch, or give another tree with KSRC=DIR"
                if self.source.own else "refresh the patch", log,
                text.splitlines()[-12:])

    def _base(self, overlay, before, log):
        """Make or refresh what comes from the source unchanged."""
        complete = self.work / "tree.complete"
        if complete.exists() and not self.source.own:
            return
        # Files of the packaged source are shared by hard links: nobody
        # writes to either, since a changed file here is always a new one.
        how = (["--delete", *(f"--exclude={name}" for name in BUILT),
                *(f"--exclude=/{name}" for name in overlay + before)]
               if self.source.own else [f"--link-dest={self.source.path}"])
        read = [self.source.path] if self.source.own else []
        with say.step("assembling the kernel tree") as note:
            self.toolchain.run(
                ["rsync", "-a", *how, f"{self.source.path}/",
                 f"{self.path}/"], log, "copy the kernel tree", append=True,
                note=note, read=read, timeout=1800)
            complete.touch()

    def _place(self, staging, overlay, name):
        """Bring one file into the tree; True if that changed anything."""
        target = self.path / name
        if name in overlay:
            wanted = os.path.join(staging, name)
        else:
            wanted = self.source.path / name
        if not os.path.exists(wanted):
            if not target.exists():
                return False
            target.unlink()
            return True
        if target.exists() and _same(wanted, target):
            return False
        beside = target.with_name(target.name + ".making")
        self._copy(wanted, beside)
        os.utime(beside)  # newer than what was made from the old one
        beside.rename(target)
        return True

    @staticmethod
    def _copy(source, target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)
        shutil.copymode(source, target)

    def forget(self):
        """Drop the assembled tree (when it cannot be trusted)."""
        remove(self.work)


def _same(one, other):
    if os.stat(one).st_mode & 0o111 != os.stat(other).st_mode & 0o111:
        return False
    with open(one, "rb") as first, open(other, "rb") as second:
        return first.read() == second.read()
