# SPDX-License-Identifier: GPL-2.0
"""The picture of a benchmark, drawn by matplotlib in the toolchain's root."""

from . import proc, say
from .errors import Failure
from .settings import HERE

PACKAGE = "python3-matplotlib"
SCRIPT = HERE / "workbench/draw.py"


def have_matplotlib(toolchain):
    """Whether it is in the root already."""
    return (toolchain.root / "usr/lib/python3/dist-packages/matplotlib"
            ).is_dir()


def install(toolchain, log):
    """Put it there: only who draws needs it."""
    with say.step(f"installing {PACKAGE} into the toolchain's root") as note:
        argv = ["apt-get", "install", "-y", "--no-install-recommends",
                PACKAGE]
        if toolchain.run(argv, log, "", check=False, note=note,
                         timeout=1800):
            toolchain.run(["apt-get", "update"], log,
                          "refresh the package lists", append=True)
            toolchain.run(argv, log, f"install {PACKAGE}", append=True,
                          note=note, timeout=1800)


def draw(toolchain, results, picture, log):
    """Draw the results at picture, the suffix of which says in what form."""
    if not have_matplotlib(toolchain):
        install(toolchain, log.with_name("bench-install.log"))
    status = toolchain.run(
        ["python3", "-B", SCRIPT, results, picture], log, "",
        read=[HERE], write=[picture.parent], check=False, timeout=300)
    if status or not picture.exists():
        raise Failure("the picture could not be drawn",
                      f"the figures are in {results}", log,
                      proc.tail_of(log))
