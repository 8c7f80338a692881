"""Kills, signals, full disks, locks, two writers and hostile inputs, with what must hold after each; `make chaos` prints the counts."""

from __future__ import annotations

import fcntl
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import cli
from tests.chaos import canaries
from tests.chaos.fuzz import fuzz
from tests.chaos.tries import (
    Command,
    Ended,
    Results,
    Workshop,
    commands,
    digests,
    leftovers,
    open_runs,
    torn_files,
    workshop,
)

STOPPED = f"{cli.STOPPED}\n"
NEW_RUN = ("train", "backtest")
"""Commands that make a run, and first close those that were killed; `compare` makes one, but closes none."""
NOT_REPEATED = ("compare", "explain", "check", "init", "simulate")
"""Commands whose results do not lie in the outputs folder."""
CUSTOMERS = 600
SEED = 7
FUZZED = 2_000
"""Inputs."""


@dataclass(frozen=True)
class Undisturbed:
    """What a command gives if nothing disturbs it.

    Attributes
    ----------
    before, after : dict of str to str
        Name -> digest of the files in the outputs folder.
    repeated : dict of str to str
        The same after the command runs once more, as if it had been killed when all was done.
    stable : set of str
        Files that are the same when the command runs twice from the same beginning.
    """

    ended: Ended
    before: dict[str, str]
    after: dict[str, str]
    repeated: dict[str, str]
    stable: set[str]


def undisturbed(made: Workshop, command: Command) -> Undisturbed:
    """Run a command twice, each time from its beginning."""
    made.begin(command.begins)
    outputs = made.work / "outputs"
    before = digests(outputs)
    (ended,) = made.run(command)
    after = digests(outputs)
    made.begin(command.begins)
    made.run(command)
    again = digests(outputs)
    made.run(command)
    stable = {name for name in after if again.get(name) == after[name]}
    return Undisturbed(ended, before, after, digests(outputs), stable)


def faults_after_kill(made: Workshop, command: Command, usual: Undisturbed) -> list[str]:
    """Readers see old or new files, and the same command again gives what it would have given."""
    outputs = made.work / "outputs"
    faults = [*canaries.leaks(made.work), *(f"torn: {name}" for name in torn_files(outputs))]
    for name, digest in digests(outputs).items():
        is_known = digest in (usual.before.get(name), usual.after.get(name))
        if name in usual.stable and not is_known and "state/" not in name:
            faults.append(f"neither old nor new: {name}")
    (again,) = made.run(command)
    if again.code != usual.ended.code:
        return [*faults, f"repeated: exit code {again.code}: {again.errors[-300:]}"]
    now = digests(outputs)
    if command.arguments[0] not in NOT_REPEATED:
        expected = (usual.after, usual.repeated)
        changed = [name for name in sorted(usual.stable) if now.get(name) not in [each.get(name) for each in expected]]
        faults += [f"repeated: another {name}" for name in changed if "state/" not in name]
    faults += [f"repeated: left {name}" for name in leftovers(made)]
    if command.arguments[0] in NEW_RUN and open_runs(made):
        faults.append("repeated: a run is still RUNNING")
    return faults


def faults_after_end(made: Workshop, ended: Ended, usual: Undisturbed) -> list[str]:
    """A terminated command says so once, and leaves nothing behind; one that was too quick has ended as usual."""
    faults = [f"terminated: left {name}" for name in leftovers(made)]
    # Too late, or before and after the command's own work, when there is nothing to clean up.
    if ended.code in (usual.ended.code, -signal.SIGTERM) and STOPPED not in ended.errors:
        return faults
    if ended.code != 1 or ended.errors.count(STOPPED) != 1:
        faults.append(f"terminated: exit code {ended.code}: {ended.errors[-200:]}")
    if open_runs(made):
        faults.append("terminated: a run is still RUNNING")
    return faults


def disturb(made: Workshop, command: Command, results: Results, *, tries: int, random_tries: int, seed: int) -> None:
    """Kill and terminate a command at steps and at random moments.

    Parameters
    ----------
    tries, random_tries : int
        Of each kind; steps are spread over the whole command, and all are tried if there are so few.
    """
    usual = undisturbed(made, command)
    if usual.ended.code not in (0, 3):
        results.add("undisturbed", command.name, [f"exit code {usual.ended.code}: {usual.ended.errors[-300:]}"])
        return
    found = canaries.leaks(made.work) + canaries.spoken(made.root / "log-0", command.arguments[0])
    results.add("undisturbed, with canaries", command.name, found)
    random_ = random.Random(f"{seed} {command.name}")
    count = usual.ended.steps
    old = "without old outputs" if command.is_first else "with old outputs"
    for sent in (signal.SIGKILL, signal.SIGTERM):
        kind = f"{'kill -9' if sent == signal.SIGKILL else 'SIGTERM'} at a step, {old}"
        for step in sorted(random_.sample(range(1, count + 1), min(tries, count))):
            made.begin(command.begins)
            (ended,) = made.run(command, step=step, signal=int(sent))
            faults = [] if sent == signal.SIGKILL else faults_after_end(made, ended, usual)
            faults += faults_after_kill(made, command, usual)
            results.add(kind, command.name, faults, place=f"step {step} of {count}")
        for _ in range(random_tries):
            seconds = random_.uniform(0.0, usual.ended.seconds)
            made.begin(command.begins)
            (ended,) = made.run(command, after_seconds=seconds, signal=int(sent))
            faults = [] if sent == signal.SIGKILL else faults_after_end(made, ended, usual)
            kind = f"{'kill -9' if sent == signal.SIGKILL else 'SIGTERM'} at a random moment"
            faults += faults_after_kill(made, command, usual)
            results.add(kind, command.name, faults, place=f"after {seconds:.2f} s")


def refused_plainly(ended: Ended, *words: str) -> list[str]:
    """Exit code 2, and one message with these words."""
    is_plain = ended.code == 2 and ended.errors.count("kindred: ") == 1 and all(word in ended.errors for word in words)
    return [] if is_plain else [f"exit code {ended.code}: {ended.errors[-300:]}"]


LOCKS = {
    "outputs/.lock": ("another kindred command is writing here",),
    "mlflow.db": ("Waiting up to", "locked"),
    "mlartifacts/.lock": ("Waiting up to", "locked"),
}
"""What a command holds while it works -> what another one says."""


def locks(made: Workshop, results: Results, *, names: Iterable[str] = tuple(LOCKS)) -> None:
    """A lock held elsewhere is said at once; the outputs folder is refused, the store is waited for."""
    for name in names:
        made.begin("scored")
        with held(made.work / name):
            (ended,) = made.run(Command("score", ("score",), "scored"))
        results.add("locks", "score", refused_plainly(ended, *LOCKS[name]), place=name)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a database or a lock file, as another program does."""
    if path.suffix == ".db":
        with closing(sqlite3.connect(path, isolation_level=None)) as con:
            con.execute("begin exclusive")
            yield
    else:
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def two_writers(made: Workshop, results: Results, *, names: tuple[str, ...]) -> None:
    """Of two commands at once in one folder, one ends as usual and one is refused or waits; files are those of one."""
    for command in [command for command in commands(made) if command.name in names]:
        usual = undisturbed(made, command)
        made.begin(command.begins)
        ended = made.run(command, command)
        codes = sorted(each.code if each.code is not None else -1 for each in ended)
        faults = [] if codes in ([0, 0], [0, 2]) else [f"exit codes {codes}: {[each.errors[-200:] for each in ended]}"]
        faults += [f"left {name}" for name in leftovers(made)]
        faults += [f"torn: {name}" for name in torn_files(made.work / "outputs")]
        now = digests(made.work / "outputs")
        faults += [f"another {name}" for name in usual.stable if now.get(name) != usual.after[name]]
        results.add("two writers", command.name, faults)


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[bool]:
    """A small disk at a folder; False if none can be mounted here."""
    place.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def full_disks(made: Workshop, results: Results, *, sizes: tuple[str, ...]) -> None:
    """A command on a disk that is too small ends as usual or is refused plainly; the old outputs stay whole."""
    cases = {"outputs/.work": ("score", "train"), "mlartifacts/models": ("train",), "../temporary": ("train", "score")}
    for place, names in cases.items():
        for command in [Command(name, (name,), "scored") for name in names]:
            for size in sizes:
                made.begin("scored")
                settings = ("--set", "engine.temp_directory=outputs/.work") if "outputs" in place else ()
                with small_disk(made.work / place, size) as is_mounted:
                    if not is_mounted:
                        results.tries["full disks: skipped, as no tmpfs can be mounted here", "none"] = 0
                        return
                    (ended,) = made.run(Command(command.name, (*command.arguments, *settings), "scored"))
                faults = [] if ended.code == 0 else refused_plainly(ended)
                faults += [f"torn: {name}" for name in torn_files(made.work / "outputs")]
                results.add("full disks", command.name, faults, place=f"{size} at {place}")


def main() -> None:
    """Run the campaign; arguments: tries of each command and kind, and names of commands and parts (default: all)."""
    tries, names = int(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2:]
    results, started = Results(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as root, workshop(Path(root), customers=CUSTOMERS) as made:
        parts = {
            command.name: partial(disturb, made, command, tries=tries, random_tries=max(tries // 3, 1), seed=SEED)
            for command in commands(made)
        }
        parts |= {
            "two writers": partial(two_writers, made, names=("train", "score", "score --update", "rename")),
            "full disks": partial(full_disks, made, sizes=("64k", "1m", "4m")),
            "locks": partial(locks, made),
            "fuzz": partial(fuzz, made=made, folder=Path(root), count=FUZZED),
        }
        try:
            for name in names or parts:
                known = len(results.faults)
                parts[name](results=results)
                print(f"[{time.monotonic() - started:,.0f} s] {name}: {len(results.faults) - known} faults", flush=True)
                print(
                    "".join(f"    {kind}: {fault}\n" for kind, _, fault in results.faults[known:]), end="", flush=True
                )
        finally:  # also of a campaign that is interrupted
            print(results.table())
    sys.exit(bool(results.faults))


if __name__ == "__main__":
    main()
