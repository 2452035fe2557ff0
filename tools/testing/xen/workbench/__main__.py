# SPDX-License-Identifier: GPL-2.0
"""The one entry point: python3 -m workbench COMMAND."""

import errno
import signal
import sys
import traceback

if sys.version_info < (3, 11):
    sys.exit("error: Python 3.11 or newer is needed")

from . import proc, say  # noqa: E402
from .commands import COMMANDS  # noqa: E402
from .errors import Failure  # noqa: E402
from .settings import REPO, Settings  # noqa: E402


def _interrupted(_signal, _frame):
    # Threads that wait for a program go on only when it is gone.
    proc.end_all()
    raise KeyboardInterrupt


def main(argv):
    """Run a command; whatever goes wrong ends in one clear line."""
    if len(argv) != 1 or argv[0] not in COMMANDS:
        print("usage: python3 -m workbench " + "|".join(COMMANDS),
              file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, _interrupted)
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGHUP, _interrupted)
    try:
        return COMMANDS[argv[0]](Settings())
    except Failure as failure:
        for text in failure.tail:
            say.line(f"  | {text}")
        say.line(f"error: {failure}")
    except KeyboardInterrupt:
        proc.end_all()
        say.line("interrupted; the next run goes on where this one was")
        return 130
    except BrokenPipeError:
        proc.end_all()
    except OSError as error:
        hint = ("free some space, or give another place with CACHE=DIR"
                if error.errno in (errno.ENOSPC, errno.EDQUOT)
                else "see whether the place can be written to")
        say.line(f"error: {error.strerror or error}"
                 + (f": {error.filename}" if error.filename else "")
                 + f"; {hint}")
    except Exception as error:  # pylint: disable=broad-except
        proc.end_all()
        say.line(f"error: {type(error).__name__}: {error}; this is a defect "
                 f"of the workbench, please report it{_keep_traceback()}")
    return 1


def _keep_traceback():
    """Put a defect's traceback where it can be sent from."""
    path = REPO / "out/logs/defect.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc())
    except OSError:
        return ""
    return f" with {path}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
