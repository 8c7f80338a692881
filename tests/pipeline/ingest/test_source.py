"""Reading a source: rows as they should be read, rejected rows, and the lines that are reported for them.

`test_bad_input.py` tests mistakes of users from end to end; this file tests each way of reading on its own.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.events import EVENT_SCHEMA
from pipeline.config.errors import UserError
from pipeline.config.load import load_params
from pipeline.ingest.files.raw_tables import SourceError, resolve_files
from pipeline.ingest.source import read_source
from pipeline.stores.database import connect

PARAMS = Path(__file__).parents[3] / "params.yaml"
HEADER = "customer_id,occurred_at,event_type,product_id,category_path,unit_price\n"
ROW = "c1,2025-01-01,view,p1,A > B,1.5\n"
BAD = "c2,never,view,p1,A,1\n"
FRAME = pd.DataFrame(
    {"customer_id": ["a"], "occurred_at": [pd.Timestamp("2025-01-01")], "event_type": ["view"], "product_id": ["p"]}
)
LENIENT = tuple(
    f"checks.{rule}.error=1.0"
    for rule in ("unreadable_row", "unreadable_time", "negative_price", "unreadable_number", "broken_encoding",
                 "missing_customer_id", "text_too_long", "negative_quantity", "missing_product_id")
)  # fmt: skip


class Reader:
    """Writes a log, reads it, and keeps the results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rejected: list[dict[str, Any]] = []
        self.tables: dict[str, list[dict[str, Any]]] = {}

    def __call__(self, content: Any, *more: str, name: str = "log.csv") -> Any:
        self.write(name, content)
        return self.read(f"source.events.path={self.folder / name}", *more)

    def write(self, name: str, content: Any) -> None:
        path = self.folder / name
        if isinstance(content, pd.DataFrame):
            content.to_parquet(path)
        elif isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def read(self, *overrides: str, params_file: Path = PARAMS) -> Any:
        params = load_params(params_file, ["source.products=null", "source.customers=null", *LENIENT, *overrides])
        out = self.folder / "out" / "rejected.parquet"
        with connect(params.engine, folder=self.folder / "work") as con:
            source = read_source(con, params, rejected_path=out)
            assert dict(source.events.schema().items()).keys() == dict(EVENT_SCHEMA.items()).keys()
            for name, table in (("products", source.products), ("customers", source.customers)):
                if table is not None:
                    self.tables[name] = table.order_by(table.columns[0]).to_pyarrow().to_pylist()
            events = source.events.to_pyarrow().to_pylist()
        self.rejected = pq.read_table(out).to_pylist()
        assert source.summary.read_count == len(events) + len(self.rejected)
        return source.summary, events


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Reader]:
    yield Reader(tmp_path)


def moment(read: Reader, value: Any, *more: str) -> datetime | None:
    """The only time of a log, or None if it was rejected as unreadable."""
    name = "log.csv"
    if isinstance(value, str):
        summary, events = read(HEADER + ROW + ROW.replace("2025-01-01", value), *more, name=name)
        events = [event for event in events if event["occurred_at"] is not None][1:] or []
    else:
        summary, events = read(FRAME.assign(occurred_at=value), *more, name="log.parquet")
    if not events:
        assert summary.rejected_by_rule["unreadable_time"]
        return None
    return events[0]["occurred_at"]


KYIV, SANTIAGO = "source.events.timezone=Europe/Kyiv", "source.events.timezone=America/Santiago"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-01-01 03:00:00 +02:00", datetime(2025, 1, 1, 1)),
        ("2025-01-01 03:00:00+0200", datetime(2025, 1, 1, 1)),
        ("2025-01-01T03:00:00-0330", datetime(2025, 1, 1, 6, 30)),
        ("2025-01-01T03:00:00.25Z", datetime(2025, 1, 1, 3, 0, 0, 250_000)),
        ("2025-10-26 03:30:00", datetime(2025, 10, 26, 1, 30)),  # repeated in Kyiv: the later
        ("2025-03-30 03:30:00", None),  # skipped in Kyiv
        ("2025-01-01T03:00:00+02:00:00", None),  # DuckDB would read 03:00 and drop the offset
        ("2025-01-01 03:00:00 EST", None),
    ],
)
def test_times_as_text(read: Reader, text: str, expected: datetime | None) -> None:
    assert moment(read, text, KYIV) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2025-09-07", datetime(2025, 9, 7, 4)),  # the day began at 1:00
        (datetime(2025, 9, 7).date(), datetime(2025, 9, 7, 4)),
        ("2025-09-07 00:30:00", None),
    ],
)
def test_a_date_whose_midnight_was_skipped(read: Reader, value: Any, expected: datetime | None) -> None:
    assert moment(read, value, SANTIAGO) == expected


@pytest.mark.parametrize(
    ("value", "more", "expected"),
    [
        (pd.Timestamp("2025-01-01 12:00"), [KYIV], datetime(2025, 1, 1, 10)),
        (pd.Timestamp("2025-07-01 12:00", tz="Asia/Tokyo"), [KYIV], datetime(2025, 7, 1, 3)),
        (datetime(2025, 1, 1).date(), [KYIV], datetime(2024, 12, 31, 22)),
        (1735689600, ["source.events.time_format=epoch_s"], datetime(2025, 1, 1)),
        (1735689600.5, ["source.events.time_format=epoch_s"], datetime(2025, 1, 1, 0, 0, 0, 500_000)),
        (1735689600123456789, ["source.events.time_format=epoch_ns"], datetime(2025, 1, 1, 0, 0, 0, 123_457)),
        (20250101, ["source.events.time_format='%Y%m%d'"], datetime(2025, 1, 1)),
        (pd.Timestamp("2025-01-01"), ["source.events.time_format=epoch_s"], datetime(2025, 1, 1)),
    ],
)
def test_typed_times(read: Reader, value: Any, more: list[str], expected: datetime) -> None:
    assert moment(read, value, *more) == expected


@pytest.mark.parametrize(
    ("text", "time_format", "expected"),
    [
        ("2025-01-01 03:00 EST", "%Y-%m-%d %H:%M %Z", datetime(2025, 1, 1, 8)),
        ("2025-01-01 03:00 +0100", "%Y-%m-%d %H:%M %z", datetime(2025, 1, 1, 2)),
        ("01.07.2025 03:00", "%d.%m.%Y %H:%M", datetime(2025, 7, 1, 0)),
    ],
)
def test_time_formats_with_a_zone(read: Reader, text: str, time_format: str, expected: datetime) -> None:
    _, events = read(HEADER + ROW.replace("2025-01-01", text), KYIV, f"source.events.time_format='{time_format}'")
    assert events[0]["occurred_at"] == expected


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("1735689600", [], "try time_format: epoch_s"),
        ("1735689600000", ["source.events.time_format=epoch_s"], "try time_format: epoch_ms"),
        ("2025-01-01", ["source.events.time_format=iso"], "a format such as %Y-%m-%d"),
        (
            "2010-12-01 08:26:00",
            ["source.events.time_format=%d.%m.%Y"],
            "Got '2010-12-01 08:26:00': try time_format: auto",
        ),
        ("01.12.2010T08:26", [], r"01\.12\.2010 is 1 December 2010 with day_first"),
        ("01.12.2010 08:26", [], r"01\.12\.2010 is 1 December 2010 with day_first, 12 January 2010 with month_first"),
        ("1.12.10 08:26", [], r"Got '1.12.10 08:26': try time_format: a strptime format, such as %d\.%m\.%Y"),
    ],
)
def test_a_wrong_time_format_suggests_the_right_one(read: Reader, text: str, more: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(HEADER + ROW.replace("2025-01-01", text), *more)


@pytest.mark.parametrize(
    ("others", "advice"),
    [({}, "Name another column."), ({"sold_on": datetime(2025, 1, 1)}, "Name another column, such as 'sold_on'.")],
)
def test_numbers_too_small_for_times_suggest_no_unit(read: Reader, others: dict[str, Any], advice: str) -> None:
    with pytest.raises(UserError) as refused:
        read(FRAME.assign(occurred_at=27, **others), name="log.parquet")
    assert str(refused.value).endswith(f"expected times, got numbers (median 27). {advice}")
    with pytest.raises(UserError) as refused:
        read(HEADER + ROW.replace("2025-01-01", "27"))
    assert "time_format: epoch" not in str(refused.value)


@pytest.mark.parametrize("wrong", ["nan", "inf", "1e400", "20251231235959123"])
def test_a_wrong_number_among_seconds_does_not_suggest_another_unit(read: Reader, wrong: str) -> None:
    rows = HEADER + "".join(ROW.replace("2025-01-01", text) for text in ("1735689600.5", "1735689601.25", wrong))
    with pytest.raises(UserError, match="try time_format: epoch_s\\."):
        read(rows)
    with pytest.raises(UserError, match=r"unreadable_time +1 rows") as refused:
        read(rows, "source.events.time_format=epoch_s", "checks.unreadable_time.error=0.01")
    assert "try time_format" not in str(refused.value)


@pytest.mark.parametrize(
    ("texts", "more", "expected"),
    [
        (["03/04/2025 10:05", "13/04/2025"], [], [datetime(2025, 4, 3, 10, 5), datetime(2025, 4, 13)]),
        (["3/4/2025 1:05 PM", "4/13/2025"], [], [datetime(2025, 3, 4, 13, 5), datetime(2025, 4, 13)]),
        (["03.04.2025, 10:05:06"], ["source.events.time_format=day_first"], [datetime(2025, 4, 3, 10, 5, 6)]),
        (["31.10.2025 23:59:58.125"], [], [datetime(2025, 10, 31, 23, 59, 58, 125_000)]),
        (["10-31-2025T01:02:03.000004"], [], [datetime(2025, 10, 31, 1, 2, 3, 4)]),
        (["03-04-2025T10:05"], ["source.events.time_format=month_first"], [datetime(2025, 3, 4, 10, 5)]),
    ],
)
def test_the_whole_column_decides_which_number_is_the_day(
    read: Reader, texts: list[str], more: list[str], expected: list[datetime]
) -> None:
    rows = "".join(ROW.replace("2025-01-01", f'"{text}"') for text in texts)
    _, events = read(HEADER + rows, *more)
    assert [event["occurred_at"] for event in events] == expected


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_texts_are_measured_in_characters(name: str, tmp_path: Path) -> None:
    texts = ["x" * 10, "ф" * 10, "ф" * 11, "x" * 11, None, "x"]
    frame = pd.DataFrame({"customer_id": "a", "occurred_at": "2025-01-01", "event_type": "view", "product_id": "p"},
                         index=range(len(texts))).assign(channel=texts)  # fmt: skip
    read = Reader(tmp_path)
    summary, events = read(
        frame if name.endswith("parquet") else frame.to_csv(index=False), "source.max_text_chars=10", name=name
    )
    assert summary.rejected_by_rule["text_too_long"] == 2
    assert sorted(row["channel"] or "" for row in events) == sorted(["", "x", "x" * 10, "ф" * 10])


def test_both_orders_of_day_and_month_in_one_column_are_refused(read: Reader) -> None:
    rows = ROW.replace("2025-01-01", "31/12/2024") + ROW.replace("2025-01-01", "12/30/2024")
    with pytest.raises(UserError, match="1 times with the day first and 1 with the month first"):
        read(HEADER + rows)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("customer_id", [[1]], r"expected text or numbers, got BIGINT\[\]"),
        ("unit_price", [{"a": 1}], "expected numbers, got STRUCT"),
        ("unit_price", [datetime(2025, 1, 1)], "expected numbers, got TIMESTAMP"),
        ("occurred_at", [True], "expected times, got BOOLEAN"),
    ],
)
def test_types_that_cannot_be_read(read: Reader, column: str, value: list[Any], message: str) -> None:
    table = pa.table({**{name: FRAME[name].tolist() for name in FRAME}, column: value})
    with pytest.raises(UserError, match=message):
        read(table, name="log.parquet")


def test_ids_of_every_type(read: Reader) -> None:
    big = 2**63 - 1
    for value, text in ((big, str(big)), (17850.0, "17850"), ("17850.0", "17850.0"), ("007", "007"), (1.5, "1.5")):
        _, events = read(FRAME.assign(customer_id=[value]), name="log.parquet")
        assert events[0]["customer_id"] == text
    _, events = read(json.dumps({**json.loads(FRAME.assign(occurred_at="2025-01-01").to_json(orient="records"))[0],
                                 "customer_id": 17850.0}) + "\n", name="log.jsonl")  # fmt: skip
    assert events[0]["customer_id"] == "17850"


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_text_is_null_in_every_column(read: Reader, empty: str | None) -> None:
    """Columns with and without empty texts are read by different SQL."""
    sessions, orders = ("s1", empty, "s1"), ("o1", "o2", empty)
    rows = [
        FRAME.assign(customer_id=f"c{place}", session_id=sessions[place], order_id=orders[place]) for place in range(3)
    ]
    _, events = read(pd.concat(rows).assign(channel="web"), name="log.parquet")
    values = {row["customer_id"]: (row["session_id"], row["order_id"], row["channel"]) for row in events}
    assert values == {"c0": ("s1", "o1", "web"), "c1": (None, "o2", "web"), "c2": ("s1", None, "web")}


def test_event_types_are_mapped(read: Reader) -> None:
    words = ["view", "VIEW", "look", "buy", "purchase", "", None, "unheard of"]
    rows = pd.concat([FRAME.assign(event_type=word, order_id=str(place)) for place, word in enumerate(words)])
    types = json.dumps({"view": ["view", "look"], "purchase": ["buy"], "other": ["unheard of"]})
    summary, events = read(rows, f"source.events.event_types={types}", *LENIENT,
                           "checks.missing_event_type.error=1.0", name="log.parquet")  # fmt: skip
    kinds = {row["order_id"]: row["event_type"] for row in events}
    assert kinds == {"0": "view", "1": "other", "2": "view", "3": "purchase", "4": "other", "7": "other"}
    assert summary.rejected_by_rule["missing_event_type"] == 2
    assert summary.unlisted_count == 2


@pytest.mark.parametrize("price", ['"1,5"', "1.5 EUR", "nan", "1e999"])
def test_texts_that_are_not_numbers(read: Reader, price: str) -> None:
    summary, events = read(HEADER + ROW + ROW.replace("1.5", price))
    assert summary.rejected_by_rule["unreadable_number"] == 1
    assert len(events) == 1


def test_a_missing_quantity_is_one(read: Reader) -> None:
    _, events = read("quantity," + HEADER + "," + ROW + "3," + ROW)
    assert sorted(event["quantity"] for event in events) == [1.0, 3.0]


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (HEADER + ROW + BAD, 3),
        (HEADER + 'c1,2025-01-01,view,p,"A\nB\n\nC",1\n' + ROW + BAD, 7),
        (HEADER + "too,few\n" + ROW + BAD, 4),
        (HEADER + "too,few\n" + ROW + "too,few\ntoo,few\n" + BAD + ROW, 6),
        (HEADER + ROW + "\n\n" + BAD, 5),
        (HEADER + 'c1,2025-01-01,view,p,"A\nB",1\n' + "too,few\n" + BAD + 'c1,2025-01-01,view,p,"A\nB",1\n', 5),
        ("\ufeff" + HEADER + "too,few\n" + BAD + ROW, 3),
        ((HEADER + "too,few\n" + ROW + BAD).replace("\n", "\r\n"), 4),
    ],
)
def test_lines_are_numbered_as_in_an_editor(read: Reader, log: str, line: int) -> None:
    read(log)
    lines_by_reason = {row["reasons"][0]: row["line"] for row in read.rejected}
    assert lines_by_reason["unreadable_time"] == line
    lines = log.lstrip("\ufeff").splitlines()
    assert all(lines[row["line"] - 1] == row["raw"] for row in read.rejected if row["reasons"] == ["unreadable_row"])


def test_lines_in_a_long_compressed_file(read: Reader) -> None:
    body = [ROW] * 300_000
    body[100_000], body[200_000], body[299_999] = "too,few\n", BAD, BAD
    summary, _ = read(gzip.compress((HEADER + "".join(body)).encode(), 1), name="log.csv.gz")
    assert [row["line"] for row in read.rejected] == [100_002, 200_002, 300_001]
    assert (summary.read_count, summary.physical_line_count) == (300_000, 300_001)


def test_invalid_bytes_are_kept_in_the_rejected_row(read: Reader) -> None:
    accents = ROW.replace("A > B", "été").encode()  # most lines show that the file is UTF-8
    log = HEADER.encode() + accents + b"c\xff9,2025-01-01,view,p1,A,1\n" + accents
    summary, events = read(log)
    assert (summary.rejected_by_rule["broken_encoding"], summary.rejected_by_rule["unreadable_row"]) == (1, 0)
    (row,) = read.rejected
    assert (row["file"], row["line"], row["reasons"]) == ("log.csv", 3, ["broken_encoding"])
    assert row["raw"] == "c\\xff9,2025-01-01,view,p1,A,1"
    assert len(events) == 2


def test_an_unclosed_quote_names_its_line(read: Reader) -> None:
    with pytest.raises(SourceError, match=r"has 6 lines, but 3 were accounted for .*see line 3"):
        read(HEADER + ROW + 'c1,2025-01-01,view,"p1,A,1\n' + ROW * 3)


def test_json_lines(read: Reader) -> None:
    good = {"customer_id": "a", "occurred_at": "2025-01-01", "event_type": "view", "product_id": 'p\\x01 "q" ,é'}
    late = {**good, "unit_price": -1}
    lines = [json.dumps(good), "", "[1]", json.dumps(good, ensure_ascii=False), "{broken", json.dumps(late)]
    summary, events = read("\n".join(lines) + "\n", name="log.jsonl")
    assert [event["product_id"] for event in events] == [good["product_id"]] * 2
    assert [(row["line"], row["reasons"]) for row in read.rejected] == [
        (3, ["unreadable_row"]), (5, ["unreadable_row"]), (6, ["negative_price"]),
    ]  # fmt: skip
    assert summary.read_count == 5


@pytest.mark.parametrize("text", ['[{"customer_id": "a"}]', "{}\n", "not json\n"])
def test_json_without_one_object_per_line(read: Reader, text: str) -> None:
    with pytest.raises(SourceError, match="one JSON object per line"):
        read(text, name="log.json")


def test_zst_and_tabs_and_semicolons(read: Reader) -> None:
    packed = pa.compress((HEADER + ROW).encode(), codec="zstd", asbytes=True)
    for content, name in ((packed, "a.csv.zst"), (HEADER + ROW, "b.csv"), ((HEADER + ROW).replace(",", "\t"), "c.tsv"),
                          ((HEADER + ROW).replace(",", ";"), "d.csv")):  # fmt: skip
        _, events = read(content, name=name)
        assert (events[0]["customer_id"], events[0]["category_path"]) == ("c1", "A > B")


def test_a_folder_a_glob_and_a_list_of_files(read: Reader) -> None:
    for place in ("x", "y"):
        (read.folder / place).mkdir()
        read.write(f"{place}/log.csv", HEADER + ROW.replace("c1", place) + BAD)
    read.write("x/.hidden.csv", "not,this\n")
    for path, count in ((read.folder / "x", 1), (f"{read.folder}/*/log.csv", 2),
                        (f"[{read.folder}/x/log.csv, {read.folder}/y/log.csv]", 2)):  # fmt: skip
        summary, events = read.read(f"source.events.path={path}")
        assert (len(events), summary.files["events"], summary.physical_line_count) == (count, count, 3 * count)
        assert [row["line"] for row in read.rejected] == [3] * count


def test_rejected_rows_of_parquet_name_file_and_row(read: Reader) -> None:
    good = pd.concat([FRAME] * 3)
    for index in range(3):
        read.write(f"part-{index}.parquet", good.assign(customer_id=["a", None if index == 1 else "b", "c"]))
    read.read(f"source.events.path={read.folder}/part-*.parquet")
    (row,) = read.rejected
    assert (row["file"], row["row"], row["line"]) == ("part-1.parquet", 2, None)
    assert json.loads(row["raw"])["product_id"] == "p"


@pytest.mark.parametrize("column", ["line", "row", "reasons", "file", "filename", "raw", "kindred", 'odd "name"'])
def test_extra_columns_may_have_any_name(read: Reader, column: str) -> None:
    read(pd.concat([FRAME, FRAME.assign(customer_id=None)]).assign(**{column: "x"}), name="log.parquet")
    assert json.loads(read.rejected[0]["raw"])[column] == "x"
    quoted = '"' + column.replace('"', '""') + '"'
    read(f"{quoted},{HEADER}x,{ROW}x,{BAD}")
    assert json.loads(read.rejected[0]["raw"])[column] == "x"


def test_mapped_columns_are_quoted(read: Reader) -> None:
    odd = 'user"; drop table x; --'
    frame = FRAME.rename(columns={"customer_id": odd})
    _, events = read(frame, f"source.events.columns={json.dumps({'customer_id': odd})}", name="log.parquet")
    assert events[0]["customer_id"] == "a"


def test_a_header_with_a_repeated_column_is_refused(read: Reader) -> None:
    with pytest.raises(SourceError, match=r"names each column once\. Found more than once: product_id"):
        read(HEADER.replace("unit_price", "product_id") + ROW)


def query(text: str) -> tuple[str, str]:
    return "source.events.path=null", f"source.events.query={json.dumps(text)}"


SELECT = "select '{}' as customer_id, '2025-01-01' as occurred_at, 'view' as event_type, 'p' as product_id"


@pytest.mark.parametrize("end", ["", ";", " -- a note", "\n-- a note\n;"])
def test_a_query_may_end_with_a_semicolon_or_comment(read: Reader, end: str) -> None:
    summary, events = read.read(*query(SELECT.format("a") + end))
    assert [event["customer_id"] for event in events] == ["a"]
    assert summary.physical_line_count is None


def test_paths_in_a_query_start_at_the_params_file(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("here", "there"):
        (read.folder / place).mkdir()
        read.write(f"{place}/log.parquet", FRAME.assign(customer_id=place))
    (read.folder / "here" / "mine.yaml").write_text(
        f"base: {PARAMS}\nsource:\n  events: {{query: select * from 'log.parquet'}}\n  products: null\n  customers: null\n"
    )
    monkeypatch.chdir(read.folder / "there")
    params = load_params(read.folder / "here" / "mine.yaml")
    with connect(params.engine, folder=read.folder / "work") as con:
        events = read_source(con, params, rejected_path=None).events.to_pyarrow().to_pylist()
    assert [event["customer_id"] for event in events] == ["here"]
    assert Path.cwd().name == "there"


def test_messages_of_the_database_show_no_values(read: Reader) -> None:
    with pytest.raises(SourceError, match="Conversion Error") as caught:
        read.read(*query("select cast('secret@example.org' as int) as customer_id"))
    assert "secret" not in str(caught.value)


def test_only_dates_are_shown_of_a_column_of_times(read: Reader) -> None:
    for value in ("a@example.org", "+355 69 123 4567", "c17", "2025-01-01 Ann"):
        with pytest.raises(SourceError) as caught:
            read(HEADER + ROW.replace("2025-01-01", value))
        assert value not in str(caught.value) and "Got" not in str(caught.value)


def test_negative_quantities_come_with_how_to_map_returns(read: Reader) -> None:
    with pytest.raises(SourceError, match=r"source\.events\.negative_rows: return"):
        read(
            "customer_id,occurred_at,event_type,product_id,quantity\nc1,2025-01-01,purchase,p1,-1\n",
            "checks.negative_quantity.error=0",
        )


def test_messages_name_the_params_file_that_was_given(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(f"base: {PARAMS}\n", encoding="utf-8")
    assert load_params(path).file_name == str(path)
    assert load_params(Path("params.yaml")).file_name == "params.yaml"


def test_all_reasons_of_a_row_and_all_rows_broken(read: Reader) -> None:
    with pytest.raises(
        SourceError, match=r"none of the 1 rows can be used.\n  missing_customer_id .*\n.*see log.csv line 2"
    ):
        read(HEADER + ",never,view,p,A,-1\n")
    read(HEADER + ROW + ",never,view,,,-1\n")
    assert read.rejected[0]["reasons"] == [
        "missing_customer_id", "unreadable_time", "missing_product_id", "negative_price",
    ]  # fmt: skip


def test_the_order_of_rows_changes_nothing(read: Reader) -> None:
    rows = [ROW, ROW.replace("c1", "c2"), BAD, ROW, ROW.replace("1.5", "-1")]
    results = []
    for log in (rows, rows[::-1]):
        summary, events = read(HEADER + "".join(log))
        counts = {key: value for key, value in summary.as_dict().items() if key != "digest"}
        results.append((counts, sorted(map(str, events))))
    assert results[0] == results[1]
    assert results[0][0]["duplicate_count"] == 1


def test_unused_columns_that_look_like_ours_cause_a_warning(read: Reader) -> None:
    header = "customer_id,occurred_at,event_type,product_id,Qty,price,invoice_no,Session,colour\n"
    row = "c1,2025-01-01,purchase,p1,7,1.5,i1,v1,red\n"
    summary, events = read(header + row)
    assert events[0]["quantity"] == 1.0
    found = [text for text in summary.warnings if "looks like" in text]
    assert [text.split(" but ")[0] for text in found] == [
        "column 'Qty' looks like quantity",
        "column 'price' looks like unit_price",
        "column 'invoice_no' looks like order_id",
        "column 'Session' looks like session_id",
    ]
    assert found[0].endswith('every row counts as one item: if it is, add source.events.columns: {quantity: "Qty"}')
    mapped = "source.events.columns={quantity: Qty, unit_price: price, order_id: invoice_no, session_id: Session}"
    summary, events = read(header + row, mapped)
    assert events[0]["quantity"] == 7.0
    assert not [text for text in summary.warnings if "looks like" in text]


def test_a_log_needs_products_only_if_it_has_a_column_of_them(read: Reader) -> None:
    header = "customer_id,occurred_at,event_type,unit_price"
    row = "c1,2025-01-01,purchase,5"
    summary, events = read(f"{header}\n{row}\n")
    assert (len(events), summary.rejected_count, summary.has_products, summary.has_orders_alone) == (1, 0, False, True)
    assert not {"unknown_product", "without_category", "missing_product_id"} & {
        *summary.noted_by_rule,
        *summary.rejected_by_rule,
    }
    assert not summary.warnings
    for column in ("product_id", "category_path"):
        summary, events = read(f"{header},{column}\n{row},\n{row},p\n{row.replace('purchase', 'view')},p\n")
        assert (len(events), summary.has_products, summary.has_orders_alone) == (2, True, False)
        assert summary.rejected_by_rule["missing_product_id"] == 1


def test_a_column_that_looks_like_products_is_named(read: Reader) -> None:
    summary, _ = read("customer_id,occurred_at,event_type,unit_price,sku\nc1,2025-01-01,purchase,5,s\n")
    [warning] = summary.warnings
    assert warning.startswith("column 'sku' looks like product_id but is not used, so products are not known")


def test_the_digest_depends_on_the_content_of_all_tables(read: Reader) -> None:
    read.write("products.csv", "product_id,category_path\np1,A\n")

    def digest(log: str) -> str:
        summary, _ = read(log, f"source.products={{path: {read.folder / 'products.csv'}}}")
        return summary.digest

    first = digest(HEADER + ROW)
    assert digest(HEADER + ROW) == first
    assert digest(HEADER + ROW + ROW) != first
    read.write("products.csv", "product_id,category_path\np1,B\n")
    assert digest(HEADER + ROW) != first


def test_the_digest_is_of_contents_not_of_names(read: Reader) -> None:
    elsewhere = read.folder / "elsewhere"
    elsewhere.mkdir()
    for name, row in (("a.csv", ROW), ("b.csv", ROW.replace("c1", "c2")), ("elsewhere/log.csv", ROW)):
        read.write(name, HEADER + row)

    def digest(setting: str) -> str:
        summary, _ = read.read(f"source.events.{setting}")
        return summary.digest

    one, two = read.folder / "a.csv", read.folder / "b.csv"
    relative = os.path.relpath(one, PARAMS.parent)
    assert digest(f"path={one}") == digest(f"path={relative}") == digest(f"path={elsewhere / 'log.csv'}")
    assert digest(f"path=[{one}, {two}]") == digest(f"path=[{two}, {one}]") != digest(f"path={one}")
    by_query = [read.read("source.events.path=null", f"source.events.query=select * from '{name}'")[0].digest
                for name in (one, relative, two)]  # fmt: skip
    assert by_query[0] == by_query[1] != by_query[2]


def products(read: Reader, table: str, *more: str) -> tuple[Any, dict[str, Any]]:
    read.write("products.csv", table)
    summary, _ = read(HEADER + ROW, f"source.products={{path: {read.folder / 'products.csv'}}}", *more)
    return summary, {row["product_id"]: row["category_path"] for row in read.tables["products"]}


@pytest.mark.parametrize(
    ("separator", "text", "path"),
    [
        (" > ", "Pets > Cats", "Pets > Cats"),
        (" > ", "<b>Pets</b> > 🐈 'q'", "<b>Pets</b> > 🐈 'q'"),
        (">", "Pets >Cats> Food>", "Pets > Cats > Food"),
        (".", "pets.cats", "pets > cats"),
        ("/", "a > b/c", "a / b > c"),
    ],
)
def test_category_paths_are_canonical(read: Reader, separator: str, text: str, path: str) -> None:
    _, paths = products(read, f"product_id,category_path\np1,{text}\n", f"source.category_separator='{separator}'")
    assert paths == {"p1": path}


def test_a_repeated_product_takes_the_first_category_with_a_warning(read: Reader) -> None:
    for rows in ("p1,B\np1,A\np1,\n", "p1,\np1,A\np1,B\n"):
        summary, paths = products(read, "product_id,category_path\n" + rows)
        assert paths == {"p1": "A"}
        assert any("1 are in several categories" in warning for warning in summary.warnings)


def test_category_levels_with_an_empty_one(read: Reader) -> None:
    _, paths = products(read, "product_id,level_1,level_2,level_3\np1,Pets,,Food\np2,,,\n")
    assert paths == {"p1": "Pets > Food", "p2": None}


def tree(read: Reader, rows: str) -> tuple[Any, dict[str, Any]]:
    read.write("categories.csv", "category_id,parent_id,name\n" + rows)
    return products(
        read,
        "product_id,category_id\np1,3\np2,1\np3,99\n",
        f"source.categories={{path: {read.folder / 'categories.csv'}}}",
    )


def test_categories_get_the_path_of_their_parents(read: Reader) -> None:
    summary, paths = tree(read, "3,2,Food\n1,,Pets\n2,1,Cats > Dogs\n")
    assert paths == {"p1": "Pets > Cats / Dogs > Food", "p2": "Pets", "p3": None}
    assert not [warning for warning in summary.warnings if "categories" in warning]


def test_categories_without_a_parent_and_repeated_ones(read: Reader) -> None:
    summary, paths = tree(read, "3,2,Food\n2,77,Cats\n2,77,Dogs\n1,,Pets\n,,nothing\n")
    assert paths == {"p1": "Cats > Food", "p2": "Pets", "p3": None}
    assert [warning for warning in summary.warnings if warning.startswith("categories")] == [
        "categories: 1 have a parent that is not in the table and were taken as roots",
        "categories: 2 of 5 rows repeat a category_id or have none; the first in alphabetical order was taken",
    ]


@pytest.mark.parametrize("rows", ["1,2,A\n2,1,B\n3,2,C\n", "1,1,A\n"])
def test_a_cycle_of_categories_is_refused(read: Reader, rows: str) -> None:
    with pytest.raises(SourceError, match="in or below a cycle"):
        tree(read, rows)


def customers(read: Reader, table: str, *more: str) -> tuple[Any, list[dict[str, Any]]]:
    read.write("customers.csv", table)
    columns = ", columns: {customer_id: household}" if "household" in table else ""
    summary, _ = read(HEADER + ROW, f"source.customers={{path: {read.folder / 'customers.csv'}{columns}}}", *more)
    return summary, read.tables["customers"]


def test_customers_have_one_row_each(read: Reader) -> None:
    summary, rows = customers(
        read, "customer_id,registered_at,city\n07,2025-01-01T02:00:00+02:00,Lviv\n07,,Kyiv\n,,x\n8,soon,\n"
    )
    assert [(row["customer_id"], row["city"]) for row in rows] == [("07", "Lviv"), ("8", None)]
    assert rows[0]["registered_at"] == datetime(2025, 1, 1)
    assert rows[1]["registered_at"] is None
    assert any("2 of 4 rows repeat a customer or have no customer_id" in warning for warning in summary.warnings)
    assert any("1 of 4 values of registered_at could not be read" in warning for warning in summary.warnings)


def test_a_mapped_column_wins_over_one_with_our_name(read: Reader) -> None:
    _, rows = customers(read, "household,customer_id,city\n1,x,Lviv\n")
    assert [(row["customer_id"], row["city"]) for row in rows] == [("1", "Lviv")]


def test_a_price_column_is_refused_as_category(read: Reader) -> None:
    row = "c1,2025-01-01,view,p1,9.99,2.5\n"
    with pytest.raises(SourceError, match=r"columns.category_path: .*'category_path' holds numbers with decimals"):
        read(HEADER + row)
    read.write("products.csv", "product_id,level_1,level_2\np1,A,9.5\np2,A,3.25\n")
    with pytest.raises(SourceError, match=r"source.products.columns.level_2: .*'level_2'"):
        read(HEADER + ROW, f"source.products.path={read.folder / 'products.csv'}", "source.products.columns={}")
    assert read(HEADER + row.replace("9.99", "17.0"))[0].accepted_count == 1


def test_events_without_a_category_are_counted(read: Reader) -> None:
    read.write("products.csv", "product_id,category_path\np1,A\np2,\n")
    rows = "".join(f"c1,2025-01-01,{kind},{product},,1\n" for kind, product in
                   [("view", "p1"), ("view", "p2"), ("cart", "p2"), ("view", "p3"), ("contact", "")])  # fmt: skip
    summary, _ = read(HEADER + rows + ROW.replace("p1", "p2"),
                      f"source.products.path={read.folder / 'products.csv'}", "source.products.columns={}")  # fmt: skip
    assert (summary.noted_by_rule["unknown_product"], summary.noted_by_rule["without_category"]) == (1, 2)
    assert read(HEADER + ROW + ROW.replace("A > B", ""))[0].noted_by_rule["without_category"] == 1


def test_a_log_described_without_categories_gets_no_warning(read: Reader) -> None:
    summary, _ = read("customer_id,occurred_at,event_type,product_id\nc1,2025-01-01,view,p1\n")
    assert summary.noted_by_rule["without_category"] == 1
    assert not any("without_category" in warning for warning in summary.warnings)
    summary, _ = read(HEADER + ROW.replace("A > B", ""))
    assert any("without_category" in warning for warning in summary.warnings)


def test_discounts_above_the_price_are_reported_and_kept(read: Reader) -> None:
    header = HEADER.replace("\n", ",quantity,discount\n")
    rows = [(9.99, 3, 29.97), (9.99, 3, 29.98), (0.1, 3, 0.1 + 0.2), ("", 1, 5.0), (5.0, 1, "")]
    log = "".join(f"c1,2025-01-0{day},purchase,p1,A,{price},{count},{less}\n"
                  for day, (price, count, less) in enumerate(rows, start=1))  # fmt: skip
    summary, events = read(header + log)
    assert (summary.noted_by_rule["discount_above_price"], summary.accepted_count, len(events)) == (1, 5, 5)
    assert any(
        "discount_above_price: 1 of 5 rows (20.00%), kept; unit_price may already be net" in warning
        for warning in summary.warnings
    )


def test_a_million_categories(read: Reader) -> None:
    count = 1_000_000
    ids = pa.array(range(count)).cast(pa.string())
    read.write("products.parquet", pa.table({"product_id": ids, "level_1": ["r"] * count, "level_2": ids}))
    summary, _ = read(HEADER + ROW.replace("p1", "7"), f"source.products.path={read.folder / 'products.parquet'}",
                      "source.products.columns={}")  # fmt: skip
    assert (summary.product_count, summary.noted_by_rule["unknown_product"]) == (count, 0)


def test_warnings_are_logged(read: Reader, caplog: pytest.LogCaptureFixture) -> None:
    read(HEADER + ROW + BAD)
    assert any("unreadable_time: 1 of 2 rows" in message for message in caplog.messages)
    assert not any("never" in message or "c2" in message for message in caplog.messages)


def test_the_file_of_rejected_rows_is_replaced(read: Reader) -> None:
    read(HEADER + ROW + BAD)
    assert len(read.rejected) == 1
    read(HEADER + ROW)
    assert read.rejected == []
    assert [path.name for path in (read.folder / "out").iterdir()] == ["rejected.parquet"]


def test_category_paths_of_events_are_canonical(read: Reader) -> None:
    rows = "".join(f"c1,2025-01-01,view,p1,{path},1\n" for path in (" A > x", "A > x > ", "A >  x", " > "))
    _, events = read(HEADER + rows)
    assert sorted(str(row["category_path"]) for row in events) == ["A > x", "A > x", "A > x", "None"]


def test_as_of_before_the_first_event_is_refused(read: Reader) -> None:
    with pytest.raises(SourceError, match="before any event"):
        read(HEADER + ROW, "as_of=2024-06-01T00:00:00Z", "checks.after_as_of.error=0.5")


def test_event_types_in_no_list_are_reported_and_kept(read: Reader) -> None:
    rows = "".join(f"c1,2025-01-0{day},{kind},p1,A,1\n" for day, kind in enumerate(("VIEW", "VIEW", "gift", "cart"), 1))
    summary, events = read(HEADER + rows)
    assert summary.event_types == {"other": 3, "cart": 1} and len(events) == 4
    (unlisted, unsold) = summary.warnings
    assert "3 of 4 events" in unlisted and "VIEW (2), gift (1)" in unlisted
    assert "no event is a purchase" in unsold


def test_purchases_without_a_price_are_reported(read: Reader) -> None:
    summary, _ = read(HEADER + "c1,2025-01-01,purchase,p1,A,\n")
    assert summary.warnings == [
        "no purchase has a unit_price: spend is 0 for everybody; value tiers and RFM groups do not use it"
    ]


@pytest.mark.parametrize("name", ["products", "customers"])
def test_a_missing_table_that_is_optional_says_how_to_leave_it_out(name: str, tmp_path: Path) -> None:
    params = load_params(PARAMS, [f"source.{name}.path={tmp_path / 'none.parquet'}"])
    table = getattr(params.source, name)
    with pytest.raises(SourceError, match=rf"source\.{name}\.path: expected .* If .* write source: {{{name}: null}};"):
        resolve_files(table, params, key=f"source.{name}")
    with pytest.raises(SourceError, match=r"Relative paths start at \S+\.$"):
        resolve_files(table, params, key="source.events")


def test_a_table_of_spark_needs_spark(read: Reader) -> None:
    with pytest.raises(
        SourceError, match=r"source\.events\.table: expected engine\.kind: spark.* source\.events\.path"
    ):
        read.read("source.events.path=null", "source.events.table=shop.events")
