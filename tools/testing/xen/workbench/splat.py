# SPDX-License-Identifier: GPL-2.0
"""Watching a console for what must not be on it.

A test that provokes a warning on purpose says so before, in the kernel's log:
`expect-splat: TEXT`. The next splat with TEXT in its message is then no
failure. One that was announced and never came is not looked for here (the
test itself knows whether it came).
"""

import re

# What stands before a message: the hypervisor, the domain, the time.
PREFIX = (r"^(?:\(XEN\)\s)?(?:DOM\d+:\s)?"
          r"(?:\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])?\s)?")
SPLAT = re.compile(PREFIX + r"""(?:
    BUG:\s | BUG\s\w | WARNING:\s\S+:\d+ | WARNING:\s(?!CONSOLE|SILO)
    | WARNING:\sCPU | Oops | Kernel\spanic | Internal\serror:
    | Unable\sto\shandle\skernel | kernel\sBUG\sat
    | KASAN: | UBSAN: | KFENCE: | kmemleak:\s\d+\snew
    | ODEBUG: | DMA-API:\s.*(?:error|leak|warning|not|differ|overlap)
    | rcu:\sINFO: | INFO:\srcu | INFO:\stask\s | INFO:\stryin
    | watchdog:\sBUG | softlockup
    | refcount_t: | list_(?:add|del)\scorruption
    | rust_kernel:\spanicked | panicked\sat
    | -+\[\scut\shere | unreferenced\sobject
    | page\sdumped\sbecause | Bad\spage\s | pagealloc:\s
    | sysfs:\scannot\screate | \S+:\spage\sallocation\sfailure
    | xen:grant_table:\sleaking
    | \S+\s\S+:\sBuffers\sare\sstill\smapped
    | Badness | scheduling\swhile\satomic
    | Assertion\s'.*'\sfailed | Xen\sBUG\sat | Panic\son\sCPU
    | Hypervisor\sTrap | Data\sAbort\sTrap
    | Hardware\sDom0\scrashed | Domain\s\d+\scrashed
    | d\d+v\d+:\scrashed
    )""", re.VERBOSE)
# What has an end mark, and all else that belongs to it before that
BEGIN = re.compile(r"cut here|BUG|WARNING|Unable to handle|Internal error"
                   r"|UBSAN:|Kernel panic")
END = re.compile(r"---\[ end trace|={40,}|---\[ end Kernel panic")
EXPECT = re.compile(r"expect-splat: *(.*\S)")
CRASH = re.compile(r"Kernel panic|Internal error:|kernel BUG at")
BLOCK = 60
LIVELOCK = "Pending irq="
# What vmtest.sh says when it presses a key, for one reason or the other
ASKED = "vmtest: asking where it is"
SILENT = f"{ASKED}, nothing is printed"


def livelocked(lines):
    """Xen's debug key `q` can loop for ever over a list: not our failure."""
    return sum(LIVELOCK in text for text in lines) > 50


def mute(lines):
    """Whether the harness asked Xen where it is, and had no answer at all.

    No guest can keep Xen from that: it is Xen, or the machine, that stopped.
    """
    asked = answered = False
    for text in lines:
        asked = asked or text.startswith(ASKED)
        answered = answered or (asked and text.startswith("(XEN)"))
    return asked and not answered


def slept(lines):
    """How often nothing was printed until the harness pressed a key."""
    return sum(text.startswith(SILENT) for text in lines)


def find_splats(lines):
    """The first lines of all splats that no test announced."""
    expected, splats = [], []
    skip_until = -1
    for number, text in enumerate(lines):
        if match := EXPECT.search(text):
            # What a key brings to light comes at once.
            end = number + BLOCK if text.startswith(SILENT) else len(lines)
            expected.append((match[1], end))
        if number <= skip_until or not SPLAT.match(text):
            continue
        skip_until = _end_of_block(lines, number)
        last = number
        if "cut here" in text:
            # A warning's own message comes first, what it is after that.
            last = next((after for after in range(number + 1, skip_until + 1)
                         if SPLAT.match(lines[after])), number)
        # Not in all of it: each function may be in a call trace.
        message = "\n".join(lines[number:last + 1])
        announced = next((want for want in expected
                          if want[0] in message and number <= want[1]), None)
        if announced:
            expected.remove(announced)
        else:
            splats.append(lines[last].strip())
    return splats


def _end_of_block(lines, start):
    """A splat goes on to its end mark; without one it is a single line."""
    if not BEGIN.search(lines[start]):
        return start
    for number in range(start + 1, min(start + BLOCK, len(lines))):
        if END.search(lines[number]):
            return number
    return start
