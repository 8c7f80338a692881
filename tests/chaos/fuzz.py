"""Damaged and hostile logs, params files, states and models by seed: each is read, or refused in one message."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa

from pipeline.cli import main
from pipeline.config.known_keys import all_keys
from tests.chaos.tries import Command, Results, Workshop

PARAMS = Path(__file__).parents[2] / "params.yaml"
COLUMNS = ("customer_id", "occurred_at", "event_type", "product_id", "category_path", "unit_price")
LIMIT_SECONDS = 30
"""Of one reading of a few rows."""
SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".zip", ".jsonl", ".parquet", ".xlsx")
STRANGE_CELLS = (
    *("", "NULL", "\0", "\r", "\n", '"', '""', "'", ";", "\t", "\ufeff", "\u202e", "é" * 9, "x" * 200_000),
    *("290000-01-01", "0000-00-00", "-5000-01-01", "9999-12-31 23:59:59", "1e400", "nan", "inf", "-0", "9" * 400),
    *("2025-02-30", "infinity", "<b>", "'; drop table x; --", "{}", "[", "../../x", "%s", "=1+1"),
)
STRANGE_NAMES = ("kindred_row", "kindred_file", "KINDRED_ROW", "line", "rowid", "select", "a" * 140_000, "", "\0", '"')
STRANGE_VALUES = (
    *("null", "true", "-1", "0", "1", ".nan", ".inf", "1e308", "9" * 30, "''", "x", "[]", "{}", "[x]", "{a: 1}"),
    *(
        '"\\0"',
        "*a",
        "&a [*a]",
        "!!int x",
        "!!python/object:x {}",
        "2025-01-01",
        "9999-12-31T23:59:59Z",
        "~",
        "- x",
        "|",
    ),
    *("/dev/null", "/proc/self/mem", "a" * 5000, "http://[", "$HOME", "'select 1'", "../..", "models:/x", "\u202e"),
)


def rows(random_: random.Random) -> list[list[str]]:
    """A small log, with a strange cell or name now and then."""
    found = [
        [f"c{n % 7}", f"2025-0{1 + n % 9}-01 0{n % 9}:00:00", "view", f"p{n % 3}", "Pets > Cats", "2.5"]
        for n in range(30)
    ]
    for _ in range(random_.choice((0, 0, 1, 5))):
        random_.choice(found)[random_.randrange(len(COLUMNS))] = random_.choice(STRANGE_CELLS)
    return found


def header(random_: random.Random) -> list[str]:
    """Names of columns: sometimes repeated, strange or many."""
    names = [*COLUMNS]
    kind = random_.randrange(8)
    if kind == 0:
        names += [random_.choice(STRANGE_NAMES)]
    elif kind == 1:
        names[random_.randrange(len(names))] = random_.choice((*STRANGE_NAMES, *COLUMNS))
    elif kind == 2:
        names += [f"x{n}" for n in range(random_.choice((100, 1_100)))]
    return names


def content(random_: random.Random, suffix: str) -> bytes:
    """A whole file of that kind."""
    names, table = header(random_), rows(random_)
    table = [[*row, *["1"] * (len(names) - len(row))] for row in table]
    if suffix in (".parquet", ".xlsx"):
        unique = {name or f"n{at}": [row[at] for row in table] for at, name in enumerate(names)}
        buffer = io.BytesIO()
        with contextlib.suppress(Exception):  # what the library refuses to write is an empty file
            frame = pd.DataFrame(unique)
            frame.to_parquet(buffer) if suffix == ".parquet" else frame.to_excel(buffer, index=False)
        return buffer.getvalue()
    if suffix == ".jsonl":
        return "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in table).encode()
    end, sign = random_.choice(("\n", "\n", "\r\n", "\r")), random_.choice((",", ",", ";", "\t"))
    text = end.join(sign.join(line) for line in [names, *table]).encode(random_.choice(("utf-8", "utf-8", "utf-16")))
    if suffix == ".csv.gz":
        return gzip.compress(text, mtime=0)
    if suffix == ".csv.zst":
        return bytes(pa.compress(text, codec="zstd", asbytes=True))
    if suffix == ".zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo("log.csv"), text)
        return buffer.getvalue()
    return text


def damaged(random_: random.Random, whole: bytes) -> bytes:
    """The bytes cut, changed, doubled or left alone."""
    kind, place = random_.randrange(6), random_.randrange(max(len(whole), 1))
    if kind == 0:
        return whole[:place]
    if kind == 1:
        changed = bytearray(whole)
        for _ in range(random_.choice((1, 8, 64)) if whole else 0):
            changed[random_.randrange(len(whole))] = random_.randrange(256)
        return bytes(changed)
    if kind == 2:
        return whole[:place] + random_.randbytes(9) + whole[place:]
    return whole[:place] + whole if kind == 3 else whole


def log_settings(random_: random.Random, folder: Path) -> list[str]:
    """A damaged log, and settings that read it."""
    suffix = random_.choice(SUFFIXES)
    path = folder / f"log{suffix}"
    path.write_bytes(damaged(random_, content(random_, suffix)))
    settings = [f"source.events.path={path}", "source.products=null", "source.customers=null"]
    return settings + ([f"source.events.columns={{channel: {COLUMNS[1]}}}"] if random_.random() < 0.1 else [])


def params_text(random_: random.Random) -> str:
    """A params file with some keys of any value, or with damaged text."""
    if random_.random() < 0.3:
        return damaged(random_, PARAMS.read_bytes()).decode("utf-8", errors="replace")
    text = f"base: {PARAMS}\n"
    keys = [*all_keys()]
    for top in {random_.choice(keys) for _ in range(random_.choice((1, 1, 3)))}:
        text += "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(top))[:-1]
        text += f" {random_.choice(STRANGE_VALUES)}\n"
    return text


def faults_of(code: int, errors: str, seconds: float) -> list[str]:
    """The exit code is 0 or 2, and 2 comes with one message that is no traceback."""
    faults = [f"took {seconds:.0f} s"] if seconds > LIMIT_SECONDS else []
    if code not in (0, 2) or "Traceback" in errors or (code == 2 and errors.count("kindred: ") != 1):
        faults.append(f"exit code {code}: {errors[-300:]}")
    return faults


def checked(folder: Path, *arguments: str) -> list[str]:
    """Run check in this process; what did not hold."""
    places = [f"outputs.folder={folder / 'outputs'}", f"outputs.scores={folder / 'scores.parquet'}"]
    settings = [word for place in places for word in ("--set", place)]
    errors, started = io.StringIO(), time.process_time()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(["check", *arguments, *settings])
        except SystemExit as ended:
            code = int(ended.code or 0)
    return faults_of(code, errors.getvalue(), time.process_time() - started)


def fuzz_files(results: Results, folder: Path, seeds: range) -> None:
    """Read damaged logs."""
    for seed in seeds:
        random_ = random.Random(f"file {seed}")
        settings = log_settings(random_, folder)
        faults = checked(folder, *[word for setting in settings for word in ("--set", setting)])
        results.add("fuzzed files", "check", faults, place=f"seed {seed}, {settings[0].rpartition('/')[2]}")
        shutil.rmtree(folder / "outputs", ignore_errors=True)
        for path in folder.glob("log.*"):
            path.unlink()


def fuzz_params(results: Results, folder: Path, seeds: range) -> None:
    """Check a log with strange params files."""
    log = folder / "plain.csv"
    plain = [[f"c{n % 7}", f"2025-0{1 + n % 9}-01", "view", "p", "Pets", "2.5"] for n in range(30)]
    log.write_text("\n".join(",".join(line) for line in [[*COLUMNS], *plain]))
    for seed in seeds:
        path = folder / "fuzzed.yaml"
        path.write_text(params_text(random.Random(f"params {seed}")), encoding="utf-8")
        settings = [f"source.events.path={log}", "source.products=null", "source.customers=null"]
        words = [word for setting in settings for word in ("--set", setting)]
        faults = checked(folder, "--params", str(path), *words)
        results.add("fuzzed params", "check", faults, place=f"seed {seed}")


def fuzz_folder(
    results: Results, made: Workshop, kind: str, seeds: range, files: Callable[[Path], Iterator[Path]], *words: str
) -> None:
    """Run a command after one file of a state or model was damaged."""
    for seed in seeds:
        random_ = random.Random(f"{kind} {seed}")
        made.begin("updated")
        path = random_.choice(sorted(files(made.work)))
        path.write_bytes(damaged(random_, path.read_bytes()))
        (ended,) = made.run(Command(words[0], words, "updated"))
        code = -1 if ended.code is None else ended.code
        faults = faults_of(code, ended.errors, ended.seconds)
        results.add(f"fuzzed {kind}", " ".join(words[:2]), faults, place=f"seed {seed}, {path.name}")


def state_files(work: Path) -> Iterator[Path]:
    """Files of the state of `score --update`."""
    return (path for path in (work / "outputs" / "state").rglob("*") if path.is_file())


def model_files(work: Path) -> Iterator[Path]:
    """Files of the models in the store."""
    return (path for model in work.rglob("MLmodel") for path in model.parent.rglob("*") if path.is_file())


def fuzz(results: Results, made: Workshop, folder: Path, *, count: int) -> None:
    """Of ``count`` inputs, half are files, four in ten params, the rest states and models."""
    fuzz_files(results, folder, range(count // 2))
    fuzz_params(results, folder, range(count * 4 // 10))
    later = ("--set", "as_of=2025-11-22T00:00:00Z")
    fuzz_folder(results, made, "state", range(count // 20), state_files, "score", "--update", *later)
    fuzz_folder(results, made, "models", range(count // 20), model_files, "score")
