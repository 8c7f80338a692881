"""A small shop in which commands are killed, terminated, locked out and run side by side, and what must hold after it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.chaos import canaries

PROJECT = Path(__file__).parents[2]
SETTINGS = (
    *("facets.behaviour.n_segments=5", "facets.interest.algorithm=kmeans", "facets.interest.n_segments=4"),
    *("quality.stability_resamples=2", "quality.validity=false", "quality.ceiling_customers=200", "interests.fit=off"),
    *("engine.memory_limit=1GB", "engine.threads=1", "outputs.folder=outputs", "outputs.scores=outputs/scores.parquet"),
    *("source.events.path=shop/events", "source.products.path=shop/products.parquet"),
    "source.customers.path=shop/customers.parquet",
)
AS_SCORED = ("--set", "as_of=2025-11-15T00:00:00Z")
"""Of the scores that the audience, the changes and the updates begin with."""
LIMIT_SECONDS = 180.0


@dataclass(frozen=True)
class Command:
    """A command with its arguments, and the folder it begins in: new, trained, scored or updated."""

    name: str
    arguments: tuple[str, ...]
    begins: str

    @property
    def is_first(self) -> bool:
        """Whether it begins without old outputs."""
        return self.begins == "new"


@dataclass
class Ended:
    """How a command ended."""

    code: int | None
    seconds: float
    steps: int
    errors: str


@dataclass
class Workshop:
    """Folders in which commands begin, and a process that runs them. Each try begins with a copy, at one place.

    Attributes
    ----------
    root : Path
        Holds the shop, the copies and ``work``, in which every command runs.
    settings : sequence of str
        Over params.yaml.
    """

    root: Path
    settings: Sequence[str] = SETTINGS
    server: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        for place in (self.work, self.temporary):
            place.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / "params.yaml", self.work)
        self.server = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            umask=0o022,  # the usual one, with which files are readable by others
            env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self.server.stdout and self.server.stdout.readline() == "ready\n"

    @property
    def work(self) -> Path:
        """Where commands run."""
        return self.root / "work"

    @property
    def temporary(self) -> Path:
        """The folder for temporary files of all commands."""
        return self.root / "temporary"

    def close(self) -> None:
        """End the process."""
        self.server.communicate(timeout=30)

    def save(self, name: str) -> None:
        """Keep what ``work`` holds, as a place to begin."""
        shutil.copytree(self.work, self.root / name, symlinks=True, dirs_exist_ok=True)

    def begin(self, name: str) -> None:
        """Let ``work`` hold what was kept."""
        for place in (self.work, self.temporary):
            shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.root / name, self.work, symlinks=True)
        self.temporary.mkdir()

    def run(self, *commands: Command, **how: Any) -> list[Ended]:
        """Run commands at once; ``how``: step, after_seconds, signal."""
        requests = [self._request(command, number, how) for number, command in enumerate(commands)]
        assert self.server.stdin and self.server.stdout
        print(json.dumps(requests), file=self.server.stdin, flush=True)
        found = []
        for request, answer in zip(requests, json.loads(self.server.stdout.readline()), strict=True):
            log = Path(request["log"])
            steps = Path(f"{log}.steps")
            found.append(
                Ended(
                    code=answer["code"],
                    seconds=answer["seconds"],
                    steps=int(steps.read_text() or 0) if steps.exists() else 0,  # empty: killed as it was written
                    errors=Path(f"{log}.stderr").read_text(),
                )
            )
        return found

    def _request(self, command: Command, number: int, how: dict[str, Any]) -> dict[str, Any]:
        log = self.root / f"log-{number}"
        for old in self.root.glob(f"{log.name}.*"):
            old.unlink()
        settings = [part for setting in self.settings for part in ("--set", setting)]
        takes_params = command.arguments[0] not in ("simulate", "init")
        params = ("--params", "params.yaml", *settings) if takes_params else ()
        place = {"folder": str(self.work), "temporary": str(self.temporary), "log": str(log)}
        ends = {"step": None, "after_seconds": None, "signal": int(signal.SIGKILL), "limit_seconds": LIMIT_SECONDS}
        return {**place, **ends, **how, "arguments": [*command.arguments, *params]}


@dataclass
class Results:
    """Tries by kind and command, and what did not hold."""

    tries: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    """Kind, command, and the fault with where it was."""

    def add(self, kind: str, command: str, faults: list[str], *, place: str = "") -> None:
        """Count a try."""
        self.tries[kind, command] += 1
        self.faults += [(kind, command, f"{place}: {fault}" if place else fault) for fault in faults]

    def table(self) -> str:
        """Tries and faults by kind, with the tries of each command, and then each fault."""
        lines = ["| kind | command (tries) | tries | faults |", "|---|---|---|---|"]
        for kind in dict.fromkeys(kind for kind, _ in self.tries):
            by_command = {command: count for (of, command), count in self.tries.items() if of == kind}
            listed = "; ".join(f"{command} ({count:,})" for command, count in by_command.items())
            found = sum(of == kind for of, _, _ in self.faults)
            lines.append(f"| {kind} | {listed} | {sum(by_command.values()):,} | {found} |")
        return "\n".join([*lines, "", *(f"{kind}, {command}: {fault}" for kind, command, fault in self.faults)])


STEPS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "trained": [("train",), ("train", "--set", "seed=9")],
    "scored": [
        ("score",),
        ("score", *AS_SCORED),
        ("score", "--out", "earlier.parquet"),
        ("audience", "lapsing_vips"),
    ],
    "updated": [("score", "--update")],
}
"""Folder in which commands begin -> what made it of the one above."""


@contextmanager
def workshop(
    root: Path, *, customers: int, steps: Mapping[str, Sequence[tuple[str, ...]]] = STEPS
) -> Iterator[Workshop]:
    """A shop with canaries, and by default trained twice, scored and updated."""
    made = Workshop(root, (*SETTINGS, *canaries.SETTINGS))
    try:
        simulate = ("simulate", "--out", "shop", "--customers", str(customers), "--seed", "5")
        for name, listed in {"new": [simulate], **steps}.items():
            for arguments in listed:
                (ended,) = made.run(Command(arguments[0], arguments, name))
                assert ended.code == 0, (arguments, ended)
                if arguments == simulate:
                    canaries.plant(made.work / "shop")
            made.save(name)
        yield made
    finally:
        made.close()


def commands(made: Workshop) -> list[Command]:
    """Every command but `serve`, which ends only when it is stopped, with arguments that exist in the shop."""
    outputs = made.root / "scored" / "outputs"
    challenger = json.loads((outputs / "challenger" / "manifest.json").read_text())["run_id"]
    champion = json.loads((outputs / "manifest.json").read_text())["run_id"]
    scores = pq.read_table(outputs / "scores.parquet", columns=["customer_id", "segment_id"]).to_pandas()
    customer, segment = scores.customer_id[7], scores.segment_id[scores.segment_id.str.startswith("s0")].iloc[0]
    later = ("--set", "as_of=2025-11-22T00:00:00Z")
    listed: list[tuple[str, str, Sequence[str]]] = [
        ("train, first", "new", ["train"]),
        ("train", "trained", ["train"]),
        ("score, first", "trained", ["score"]),
        ("score", "scored", ["score", *later]),
        ("score --update, first", "scored", ["score", "--update"]),
        ("score --update", "updated", ["score", "--update", *later]),
        ("report", "scored", ["report"]),
        ("report --xlsx", "scored", ["report", "--xlsx"]),
        ("rename", "scored", ["rename", segment, "Our gold"]),
        ("promote", "trained", ["promote", challenger, "--force"]),
        ("compare", "trained", ["compare", champion, challenger]),
        ("history", "scored", ["history", "--every", "quarter"]),
        ("audience", "scored", ["audience", "carts_this_week"]),
        ("audience --for", "scored", ["audience", "--segment", segment, "--for", "klaviyo"]),
        ("changes", "scored", ["changes", "--out", "outputs/list.csv"]),
        ("effect", "scored", ["effect", "lapsing_vips", "--until", "2025-11-22"]),
        ("drift", "scored", ["drift", *later]),
        ("migration", "scored", ["migration", "earlier.parquet", "outputs/scores.parquet"]),
        ("forget", "updated", ["forget", customer]),
        ("explain", "scored", ["explain", customer, *AS_SCORED]),
        ("check", "scored", ["check"]),
        ("backtest", "trained", ["backtest"]),
        ("init", "new", ["init", "shop/events", "--out", "described.yaml", "--overwrite"]),
        ("simulate", "new", ["simulate", "--out", "shop", "--customers", "60", "--seed", "5"]),
    ]
    return [Command(name, tuple(arguments), begins) for name, begins, arguments in listed]


def digests(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files that others read; not of locks and of what is hidden."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    shown = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in shown}


def torn_files(folder: Path) -> list[str]:
    """Files of which only a part is there."""
    return [name for name in digests(folder) if not _is_whole(folder / name)]


def _is_whole(path: Path) -> bool:
    try:
        if path.suffix == ".parquet":
            pq.read_table(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".xlsx":
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        elif path.suffix == ".html":
            return path.read_text().rstrip().endswith("</html>")
        elif path.suffix in (".csv", ".txt", ".yaml"):
            return path.read_bytes().endswith(b"\n")
    except Exception:
        return False
    return True


def leftovers(made: Workshop) -> list[str]:
    """Temporary files and folders that no command uses any more."""
    places = [made.work, made.work / "outputs", made.work / "mlartifacts"]
    found = [path for place in places for pattern in canaries.LEFTOVERS for path in place.glob(pattern)]
    return [path.name for path in [*found, *made.temporary.iterdir()]]


def open_runs(made: Workshop) -> int:
    """Runs of the store that have not ended."""
    database = made.work / "mlflow.db"
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database)) as con:
        try:
            return int(con.execute("select count(*) from runs where status = 'RUNNING'").fetchone()[0])
        except sqlite3.OperationalError:
            return 0
