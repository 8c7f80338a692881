"""Damaged, cut off and impossible files end in one message that names the file."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main

COLUMNS = ("customer_id", "occurred_at", "event_type", "product_id")
ROWS = [[f"c{n % 50}", f"2025-0{1 + n % 9}-01 08:{n % 60:02}:00", "view", f"p{n % 7}"] for n in range(3_000)]
TEXT = "\n".join(",".join(row) for row in [COLUMNS, *ROWS]) + "\n"

Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    def run(path: Path, *more: str) -> tuple[int, str]:
        settings = [f"source.events.path={path}", "source.products=null", "source.customers=null", *more]
        settings += [f"outputs.folder={tmp_path / 'outputs'}", f"outputs.scores={tmp_path / 'scores.parquet'}"]
        code = main(["check", *[word for setting in settings for word in ("--set", setting)]])
        return code, capsys.readouterr().err

    return run


def wide(count: int) -> list[list[str]]:
    names = [*COLUMNS, *(f"x{n}" for n in range(count - len(COLUMNS)))]
    return [names, *([*row, *["1"] * (count - len(row))] for row in ROWS[:50])]


def csv_of(rows: list[list[str]]) -> bytes:
    return "\n".join(",".join(row) for row in rows).encode()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("log.csv", TEXT.replace("\n", "\r").encode(), "log.csv: expected lines that end in LF or CRLF"),
        ("log.csv", ("x" * 140_000 + "," + TEXT).encode(), "log.csv: expected names of columns of at most 131,072"),
        ("log.csv.gz", gzip.compress(TEXT.encode())[:-300], "log.csv.gz: expected a file that can be read to its end"),
        ("log.csv.gz", b"\x1f\x8b" + b"?" * 300, "log.csv.gz: expected a file that can be read to its end"),
        ("log.csv.zst", bytes(pa.compress(TEXT.encode(), "zstd", asbytes=True))[:-300], "log.csv.zst: expected a file"),
        ("log.csv", TEXT.replace("product_id", "kindred_row").encode(), "expected other names than kindred_row"),
        ("log.csv", csv_of(wide(1_001)), "expected at most 1,000 columns, found 1,001"),
        ("log.jsonl", b'{"customer_id": "c", "Kindred_File": 1}\n', "expected other names than Kindred_File"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    check: Check, tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    (tmp_path / name).write_bytes(content)
    code, errors = check(tmp_path / name)
    assert (code, errors.count("kindred: ")) == (2, 1), errors
    assert expected in errors


def as_parquet(path: Path, rows: list[list[str]]) -> Path:
    names, *values = rows
    pq.write_table(pa.table({name: [row[at] for row in values] for at, name in enumerate(names)}), path)
    return path


@pytest.mark.parametrize("seed", range(3))
def test_parquet_that_is_damaged_before_its_footer(check: Check, tmp_path: Path, seed: int) -> None:
    path = as_parquet(tmp_path / "log.parquet", [[*COLUMNS], *ROWS])
    damaged = bytearray(path.read_bytes())
    for place in random.Random(seed).sample(range(4, len(damaged) // 2), 300):
        damaged[place] = 7
    path.write_bytes(damaged)
    code, errors = check(path)
    assert (code, errors.count("kindred: ")) == (2, 1), errors
    assert "log.parquet" in errors


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kindred_row", "expected other names than kindred_row"),
        ("product\0", "without zero bytes, found one in the name of column 4"),
    ],
)
def test_names_that_cannot_be_used_in_parquet_and_queries(
    check: Check, tmp_path: Path, name: str, message: str
) -> None:
    path = as_parquet(tmp_path / "log.parquet", [[*COLUMNS[:3], name], *ROWS])
    for more in ((), ("source.events.path=null", f"source.events.query=from '{path}'")):
        code, errors = check(path, *more)
        assert code == 2 and message in errors, errors


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_thousand_columns_are_read(check: Check, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"log.{suffix}"
    as_parquet(path, wide(1_000)) if suffix == "parquet" else path.write_bytes(csv_of(wide(1_000)))
    started = time.process_time()
    code, errors = check(path)
    assert code == 0, errors
    assert time.process_time() - started < 20


@pytest.mark.parametrize("year", ["290000", "10000", "-5000", "0000"])
def test_years_far_from_now_are_rejected_rows(check: Check, tmp_path: Path, year: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(TEXT + f"c1,{year}-01-01 00:00:00,view,p1\n")
    code, errors = check(path)
    assert code == 0, errors
    times = pa.array([2**62 // 1000, -(2**62) // 1000, 0], pa.int64()).cast(pa.timestamp("us"))
    table = pa.table(
        {"customer_id": ["a"] * 3, "occurred_at": times, "event_type": ["view"] * 3, "product_id": ["p"] * 3}
    )
    pq.write_table(table, tmp_path / "log.parquet")
    code, errors = check(tmp_path / "log.parquet")
    assert code in (0, 2) and "unexpected" not in errors


def test_a_file_that_is_deleted_while_it_is_read(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = as_parquet(tmp_path / "log.parquet", [[*COLUMNS], *ROWS])
    from pipeline.ingest import source

    read = source.read_raw

    def read_and_delete(*arguments: Any, **settings: Any) -> Any:
        found = read(*arguments, **settings)
        path.unlink()
        return found

    monkeypatch.setattr(source, "read_raw", read_and_delete)
    code, errors = check(path)
    assert (code, errors.count("kindred: ")) == (2, 1), errors
    assert "log.parquet: expected a file that can be read to its end" in errors


def test_letters_in_a_long_line_are_found_at_once(check: Check, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(
        TEXT.encode() + b"c1,2025-01-01,view," + b"x" * 300_000 + b"\n" + "c2,2025-01-01,view,é\n".encode("cp1252")
    )
    started = time.process_time()
    check(path)
    assert time.process_time() - started < 20
