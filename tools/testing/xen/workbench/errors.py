# SPDX-License-Identifier: GPL-2.0
"""The one way in which the workbench gives up."""


class Failure(Exception):
    """Something that the user has to know: what happened, and what to do.

    Whatever goes wrong ends as one of these, so that the user sees one clear
    line and never a traceback. `tail` and `log` say what the failed program
    printed last and where the rest of it is.
    """

    def __init__(self, what, hint="", log=None, tail=()):
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.log = log
        self.tail = list(tail)

    def __str__(self):
        text = self.what
        if self.hint:
            text += "; " + self.hint
        if self.log:
            text += f" (full log: {self.log})"
        return text
