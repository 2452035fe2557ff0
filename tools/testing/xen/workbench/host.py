# SPDX-License-Identifier: GPL-2.0
"""The logic in Rust on the machine that builds: see tools/testing/xen/host."""

import json
import os
import re
import shutil
import time

from . import say
from .errors import Failure
from .ktap import Result
from .settings import REPO
from .toolchain import Toolchain

# What the tests are made with.
CRATES = ("librust-proptest-dev", "librust-loom-dev")
# What is compiled there, where it stands in the repository.
PARTS = ("tools/testing/xen/host", "drivers/xen", "rust/kernel")
CRATE = "tools/testing/xen/host"
# For how many seconds a random test of make test goes on.
SHORT = 4
# The most that it takes to compile them, and what short sequences take.
LIMIT = 1800
# How many tests take as long as they are told to: those with models, and those
# with threads.
RANDOM = 15
THREADS = 3

# What else there is to find out, by other programs. GCC's runtimes serve
# rustc's instrumentation too; Debian's rustc has none of its own. The one of
# ThreadSanitizer does not know addresses as random as they are now.
SANITIZERS = {"address": "asan", "thread": "tsan"}

# cargo-mutants is not packaged; this is the version that is known to work.
MUTANTS = "27.1.0"
# Where mutants are made: in what has no unsafe code, and in the cache, of
# which nobody but these tests sees all interleavings.
MUTATED = ("drivers/xen/unpopulated/ballooned.rs",
           "drivers/xen/unpopulated/free_map.rs",
           "drivers/xen/unpopulated/growth.rs",
           "drivers/xen/unpopulated/index.rs",
           "drivers/xen/unpopulated/page_list.rs",
           "drivers/xen/unpopulated/pool.rs",
           "drivers/xen/unpopulated/ready.rs",
           "drivers/xen/grant_dma_alloc/logic.rs",
           "drivers/xen/grant_dma_ops/address.rs",
           "drivers/xen/grant_dma_ops/cache.rs",
           "drivers/xen/grant_dma_ops/device.rs",
           "drivers/xen/grant_dma_ops/limits.rs",
           "drivers/xen/grant_dma_ops/quarantine.rs",
           "drivers/xen/grant_dma_ops/run_map.rs")
CAUGHT = 0.9
# Random sequences that each of them is tried with.
FEW = "60"
# For how many seconds one may go on: all tests together take less than one.
HANGS = 20

TEST = re.compile(r"^test (\S+) \.\.\. (.*?)(ok|FAILED|ignored)$",
                  re.MULTILINE | re.DOTALL)
TOTAL = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; "
                   r"(\d+) ignored", re.MULTILINE)


def parse(text, name, log):
    """The tests in what cargo printed; one has failed if they did not end."""
    result = Result()
    for match in TEST.finditer(text):
        test = f"{name}: {match[1]}"
        if match[3] == "ok":
            result.passed += 1
            result.passes.append(test)
        elif match[3] == "ignored":
            result.skipped += 1
            result.skips.append(test)
        else:
            result.failed += 1
            result.failures.append(f"{test} (log: {log})")
    totals = [sum(map(int, match)) for match in TOTAL.findall(text)]
    if not result.total() or sum(totals) != result.total():
        result.failed += 1
        result.failures.append(f"{name}: the tests did not end (log: {log})")
    return result


class Host:
    """A copy of the files, and the programs that are made of them."""

    def __init__(self, settings, toolchain):
        self.settings = settings
        self.toolchain = toolchain
        self.dir = settings.cache.path / f"host-{toolchain.key}"
        self.logs = settings.logs

    def ensure(self):
        """Bring the copy up to date. What has not changed is not newer."""
        self.toolchain.add(CRATES, self.logs / "toolchain-host.log")
        self.copy()

    def copy(self):
        """The files alone."""
        for part in PARTS:
            wanted = set()
            for folder, folders, names in os.walk(REPO / part):
                folders[:] = [name for name in folders if name != "target"]
                for name in names:
                    source = os.path.join(folder, name)
                    inner = os.path.relpath(source, REPO)
                    if not inner.endswith((".rs", ".toml", ".supp")):
                        continue
                    wanted.add(inner)
                    target = self.dir / inner
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with open(source, "rb") as file:
                        content = file.read()
                    if (not target.exists()
                            or target.read_bytes() != content):
                        target.write_bytes(content)
            for old in (self.dir / part).rglob("*.rs"):
                if str(old.relative_to(self.dir)) not in wanted:
                    old.unlink()

    def cargo(self, words, log, *, env=None, wrap=(), limit=LIMIT):
        """Run cargo there; return its exit status."""
        return self.toolchain.run(
            [*wrap, "nice", "cargo", *words], log, "", cwd=self.dir / CRATE,
            env={"CARGO_HOME": self.dir / "cargo", **(env or {})},
            check=False, timeout=limit)

    def run(self, name, *, words=(), env=None, wrap=(), seconds=0, depth=0):
        """Run the tests, made in one of the ways."""
        log = self.logs / f"host-{name}.log"
        names = {"CARGO_TARGET_DIR": self.dir / f"target-{name}",
                 "XEN_HOST_SECONDS": str(seconds),
                 "XEN_HOST_DEPTH": str(depth), **(env or {})}
        limit = LIMIT + 2 * (RANDOM + THREADS) * seconds
        with say.step(f"host tests: {name}"):
            self.cargo(["test", "--offline", "--lib", *words], log, env=names,
                       wrap=wrap, limit=limit)
        return parse(log.read_text(errors="replace"), f"host {name}", log)

    def plain(self, seconds=0, depth=0):
        """The models: short sequences, random ones, failed allocations."""
        return self.run("models", seconds=seconds, depth=depth)

    def loom(self):
        """What takes no lock, in each way that CPUs can see it."""
        return self.run("loom", words=["interleavings"],
                        env={"RUSTFLAGS": "--cfg loom"})

    def sanitized(self, kind, seconds=0):
        """The same with a sanitizer, std excepted, which comes compiled."""
        target = "x86_64-unknown-linux-gnu"
        flags = (f"-Zsanitizer={kind} -Zexternal-clangrt "
                 "-Cunsafe-allow-abi-mismatch=sanitizer -Clinker=gcc "
                 "-Zpre-link-args=-Wl,--no-as-needed "
                 f"-Zpre-link-args=-l{SANITIZERS[kind]}")
        words = ["--target", target]
        if kind == "thread":
            words.append("several_threads")
        return self.run(
            f"{kind}-sanitizer", words=words, wrap=["setarch", "-R"],
            env={"RUSTC_BOOTSTRAP": "1", "RUSTFLAGS": flags,
                 "ASAN_OPTIONS": "detect_leaks=0",
                 "TSAN_OPTIONS": "halt_on_error=1 suppressions="
                                 f"{self.dir / CRATE}/tsan.supp"},
            seconds=seconds)


def tests(bench):
    """What make test runs of them."""
    host = Host(bench.settings, bench.toolchain)
    host.ensure()
    result = host.plain(seconds=SHORT)
    result.add(host.loom())
    return result


def soak(bench, seconds):
    """All of them, for about so long: random sequences have half of it."""
    host = Host(bench.settings, bench.toolchain)
    host.ensure()
    every = RANDOM + THREADS
    result = host.plain(seconds=max(1, seconds // (2 * every)), depth=1)
    result.add(host.loom())
    result.add(host.sanitized("thread",
                              seconds=max(1, seconds // (4 * THREADS))))
    result.add(host.sanitized("address",
                              seconds=max(1, seconds // (4 * every))))
    return result


def _prepare(settings):
    settings.logs.mkdir(parents=True, exist_ok=True)
    settings.cache.open()
    settings.cache.lock()
    toolchain = Toolchain(settings)
    toolchain.ensure()
    host = Host(settings, toolchain)
    host.ensure()
    return host


def host_tests(settings):
    """make host: these tests alone, with the sanitizers."""
    start = time.monotonic()
    host = _prepare(settings)
    result = Result()
    for part in (host.plain(seconds=SHORT, depth=1), host.loom(),
                 *(host.sanitized(kind) for kind in SANITIZERS)):
        result.add(part)
    for name in result.failures:
        say.line(f"FAILED: {name}")
    say.line(f"make host: {result.passed} passed, {result.failed} failed "
             f"({say.duration(time.monotonic() - start)})")
    return 1 if result.failed else 0


# Mutants --------------------------------------------------------------


def rate(outcomes):
    """(caught, all that compile, the others by name) of cargo-mutants'
    outcomes."""
    caught, missed = 0, []
    for outcome in outcomes["outcomes"]:
        mutant = outcome["scenario"]
        if not isinstance(mutant, dict):
            continue
        if outcome["summary"] in ("CaughtMutant", "Timeout"):
            caught += 1
        elif outcome["summary"] == "MissedMutant":
            missed.append(mutant["Mutant"]["name"])
    return caught, caught + len(missed), missed


def _make_root(tree):
    """Make the tree a workspace of cargo's, in place of the folder in it."""
    manifest = tree / CRATE / "Cargo.toml"
    package, mark, shared = manifest.read_text().partition("[workspace.lints")
    head, _, package = package.partition("[package]")
    members = re.findall(r'"([^"]+)"', head)
    manifest.write_text("[package]" + package)
    (tree / "Cargo.toml").write_text(
        '[workspace]\nresolver = "2"\nmembers = '
        + json.dumps([CRATE, *(f"{CRATE}/{name}" for name in members)])
        + "\n\n" + mark + shared)
    shutil.copytree(tree / CRATE / ".cargo", tree / ".cargo")


def host_mutants(settings):
    """make host-mutants: how much of what could be wrong is found."""
    start = time.monotonic()
    if settings.shard and not re.fullmatch(r"\d+/[1-9]\d*", settings.shard):
        raise Failure(f"SHARD={settings.shard} is no part of the mutants",
                      "say 0/10 to 9/10 for a tenth of them, for example")
    shard = (["--shard", settings.shard, "--sharding", "round-robin"]
             if settings.shard else [])
    target = settings.out / "host-mutants.json"
    target.unlink(missing_ok=True)
    host = _prepare(settings)
    log = settings.logs / "host-mutants.log"
    root = settings.cache.path / f"cargo-mutants-{MUTANTS}-{host.toolchain.key}"
    if not (root / "bin/cargo-mutants").exists():
        # Certificates that this machine has of its own are those that cargo
        # needs in there too.
        certificates = os.environ.get("SSL_CERT_FILE", "")
        env = {"CARGO_HTTP_CAINFO": certificates} if certificates else {}
        with say.step(f"cargo-mutants {MUTANTS}"):
            status = host.toolchain.run(
                ["nice", "cargo", "install", "cargo-mutants", "--locked",
                 "--version", MUTANTS, "--root", root], log, "",
                cwd=settings.cache.path, check=False, timeout=LIMIT,
                read=[certificates] if certificates else [],
                env={"CARGO_HOME": host.dir / "cargo",
                     "CARGO_TARGET_DIR": host.dir / "target-install", **env})
        if status:
            say.line("skipped: cargo-mutants, which cannot be had here (log: "
                     f"{log})")
            return 0
    # It copies a tree and looks at nothing outside, so the tree is all of it.
    tree = host.dir / "mutants"
    shutil.rmtree(tree, ignore_errors=True)
    for part in PARTS:
        shutil.copytree(host.dir / part, tree / part)
    _make_root(tree)
    with say.step("mutants"):
        host.toolchain.run(
            ["nice", root / "bin/cargo-mutants", "mutants", "--no-shuffle",
             "-j", str(settings.jobs), "-o", host.dir,
             "--timeout", str(HANGS),
             "-p", "xen_host", *shard,
             # The files stand outside of the package, which its paths show.
             *(word for name in MUTATED for word in ("-f", f"**/{name}")),
             "--", "--offline", "--lib"], log, "", cwd=tree, check=False,
            env={"XEN_HOST_CASES": FEW, "XEN_HOST_SHRINK": "0",
                 "CARGO_PROFILE_DEV_DEBUG": "0",
                 "CARGO_PROFILE_TEST_DEBUG": "0",
                 "CARGO_HOME": host.dir / "cargo",
                 "PATH": f"{root}/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            timeout=6 * 3600)
    try:
        found = json.loads((host.dir / "mutants.out/outcomes.json")
                           .read_text())
    except (OSError, ValueError) as error:
        raise Failure("cargo-mutants did not end", log=log) from error
    caught, total, missed = rate(found)
    for name in missed:
        say.line(f"  not caught: {name}")
    target.write_text(json.dumps({"schema": 1, "shard": settings.shard,
                                  "caught": caught, "mutants": total,
                                  "missed": missed}, indent=2) + "\n")
    say.line(f"make host-mutants: {caught} of {total} caught "
             f"({say.duration(time.monotonic() - start)})")
    return 0 if total and caught >= CAUGHT * total else 1
