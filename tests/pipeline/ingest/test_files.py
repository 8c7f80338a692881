"""Encodings, dialects, workbooks, zip archives, and files in queries."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest

from pipeline.config.errors import ParamsError
from pipeline.config.load import load_params
from pipeline.ingest.files.digests import blaming_changes
from pipeline.ingest.files.formats import FileError
from pipeline.ingest.files.raw_tables import SourceError, read_raw
from pipeline.stores.database import connect
from tests.pipeline.ingest.test_source import BAD, HEADER, PARAMS, ROW, Reader, query

GERMAN, UKRAINIAN = "Küche > Töpfe", "Взуття > Їжа"
WORDS = {
    "cp1252": ("Küche", "Möbel", "Schränke", "Größe", "Gürtel"),
    "cp1251": ("Взуття", "Одяг", "Іграшки", "Їжа", "Техніка"),
    "koi8-u": ("Обувь", "Одежда", "Игрушки", "Книги", "Посуда"),
    "cp866": ("Обувь", "Одежда", "Игрушки", "Книги", "Посуда"),
    "cp1250": ("Żywność", "Odzież", "Książki", "Łazienka", "Źródło"),
    "cp1253": ("Παπούτσια", "Ρούχα", "Βιβλία", "Παιχνίδια", "Κουζίνα"),
}


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def in_category(*names: str) -> str:
    """A row for each category."""
    return "".join(ROW.replace("A > B", name) for name in names)


def categories(events: list[dict[str, Any]]) -> set[str]:
    return {row["category_path"] for row in events}


def encoding_warnings(summary: Any) -> list[str]:
    return [warning for warning in summary.warnings if "UTF-8" in warning]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8", "UTF-8-sig"])
@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_a_declared_encoding(read: Reader, encoding: str, name: str) -> None:
    log = (HEADER + in_category(GERMAN) + BAD).encode(encoding)
    summary, events = read(
        gzip.compress(log) if name.endswith("gz") else log, f"source.events.encoding={encoding}", name=name
    )
    assert categories(events) == {GERMAN}
    assert ([row["line"] for row in read.rejected], summary.physical_line_count) == ([3], 3)
    assert not encoding_warnings(summary)


@pytest.mark.parametrize("encoding", [*WORDS])
def test_an_encoding_is_found_with_a_warning(read: Reader, encoding: str) -> None:
    summary, events = read((HEADER + in_category(*WORDS[encoding])).encode(encoding))
    assert categories(events) == set(WORDS[encoding])
    (warning,) = encoding_warnings(summary)
    assert warning.endswith(f"such as source.events.encoding: {encoding}")


@pytest.mark.parametrize(
    ("name", "encoding"), [("été", "cp1252"), ("Një çantë", "cp1252"), ("£20 voucher", "cp1252"), ("Їжа", "cp1251")]
)
def test_one_word_is_enough_for_the_most_common_encodings(read: Reader, name: str, encoding: str) -> None:
    summary, events = read((HEADER + in_category(name)).encode(encoding))
    assert categories(events) == {name}
    assert len(encoding_warnings(summary)) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_utf8_and_files_with_a_mark_are_not_warned_of(read: Reader, encoding: str) -> None:
    summary, events = read((HEADER + in_category(GERMAN, UKRAINIAN)).encode(encoding))
    assert categories(events) == {GERMAN, UKRAINIAN} and not encoding_warnings(summary)


def test_a_mark_wins_over_the_declared_encoding(read: Reader) -> None:
    _, events = read((HEADER + in_category(GERMAN)).encode("utf-8-sig"), "source.events.encoding=cp1251")
    assert categories(events) == {GERMAN}


def test_few_accents_late_in_a_long_file(read: Reader) -> None:
    body = ROW * 60_000 + in_category("été") + ROW * 1000 + BAD
    summary, events = read((HEADER + body).encode("cp1252"))
    assert (len(events), summary.rejected_count) == (61_001, 1)
    assert [row["line"] for row in read.rejected] == [61_003]
    assert len(encoding_warnings(summary)) == 1


def test_json_lines_in_another_encoding(read: Reader) -> None:
    event = {"customer_id": "a", "occurred_at": "2025-01-01", "event_type": "view", "product_id": "p"}
    lines = [json.dumps({**event, "category_path": name}, ensure_ascii=False) for name in WORDS["cp1251"]]
    _, events = read("\n".join(lines).encode("cp1251"), name="log.jsonl")
    assert categories(events) == set(WORDS["cp1251"])


def test_bytes_that_mean_nothing_break_their_row_only(read: Reader) -> None:
    log = (HEADER + in_category(GERMAN) + ROW).encode("cp1252") + b"c\x819,2025-01-01,view,p1,A,1\n"
    summary, events = read(log, "source.events.encoding=cp1252")
    assert (len(events), summary.rejected_by_rule["broken_encoding"]) == (2, 1)
    assert [(row["line"], row["raw"]) for row in read.rejected] == [(4, "c\\x819,2025-01-01,view,p1,A,1")]


def test_a_file_in_the_wrong_encoding_names_the_key(read: Reader) -> None:
    with pytest.raises(SourceError, match=r"source\.events\.encoding: log\.csv: expected text in utf-16-le"):
        read((HEADER + ROW).encode("utf-16-le") + b"\x00\xd8a\x00", "source.events.encoding=utf-16-le")
    with pytest.raises(SourceError, match=r"source\.events\.encoding: log\.csv: .* Try utf-16-le or utf-16-be"):
        read((HEADER + ROW).encode("utf-16-le"))


def test_copies_in_utf8_are_deleted(read: Reader) -> None:
    read.write("log.csv", (HEADER + in_category(GERMAN)).encode("cp1252"))
    params = load_params(PARAMS, [f"source.events.path={read.folder / 'log.csv'}"])
    with connect(params.engine, folder=read.folder / "work") as con:
        read_raw(con, params.source.events, params, name="raw_events", key="source.events")
        assert not [path for path in (read.folder / "work").rglob("*") if path.suffix == ".txt"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_a_first_line_for_excel_is_skipped(read: Reader, end: str, mark: str, sign: str) -> None:
    rows = HEADER + "too,few\n" + ROW + "too,few\n" + BAD
    summary, events = read((f"{mark}sep={sign}\n" + rows.replace(",", sign)).replace("\n", end))
    assert (len(events), summary.rejected_count, summary.physical_line_count) == (1, 3, 6)
    assert [(row["line"], row["reasons"][0]) for row in read.rejected] == [
        (3, "unreadable_row"), (5, "unreadable_row"), (6, "unreadable_time"),
    ]  # fmt: skip


NAMES = "source.events.header=[customer_id, occurred_at, event_type, product_id, category_path, unit_price]"


@pytest.mark.parametrize("sign", [",", ";"])
def test_names_of_columns_for_a_file_without_a_header(read: Reader, sign: str) -> None:
    # There are more commas than semicolons, but they would make too many columns.
    row = ROW.replace(",", sign).replace("A > B", "A" if sign == "," else "A, B, C, D, E, F, G")
    summary, events = read(row * 2 + BAD.replace(",", sign), NAMES)
    assert (len(events), events[0]["customer_id"], summary.physical_line_count) == (2, "c1", 3)
    assert [row["line"] for row in read.rejected] == [3]


def test_names_that_do_not_fit_the_columns(read: Reader) -> None:
    with pytest.raises(SourceError, match=r"source\.events\.header: .* Got 2 names; .* log\.csv has 6 values"):
        read(ROW, "source.events.header=[customer_id, occurred_at]")
    for value in ("false", "[a, A]", "[]", "[1]"):
        with pytest.raises(
            ParamsError, match=r"`source\.events\.header`: expected true, or .* the name of each column"
        ):
            load_params(PARAMS, [f"source.events.header={value}"])


@pytest.mark.parametrize(
    "row", [ROW, "17,1735689600,view,p\n", "1,2,3,view\n", "17,view,20250101\n", "a,31.12.2024 10:00\n"]
)
def test_a_row_in_place_of_the_header_is_refused_without_its_values(read: Reader, row: str) -> None:
    with pytest.raises(
        SourceError, match=r"source\.events\.header: .* Found numbers or dates\. If the file has no header"
    ) as caught:
        read(row * 3)
    assert row.split(",")[1] not in str(caught.value)


def test_numbers_may_be_names_of_columns(read: Reader) -> None:
    mapping = "source.events.columns={customer_id: '0', occurred_at: '1', event_type: '2', product_id: '3'}"
    _, events = read("0,1,2,3\n" + "c1,2025-01-01,view,p1\n", mapping)
    assert events[0]["customer_id"] == "c1"
    _, events = read(HEADER.replace("\n", ",2024,2023\n") + ROW.replace("\n", ",1,2\n"))
    assert len(events) == 1


def test_a_declared_delimiter(read: Reader) -> None:
    header = HEADER.replace(",", "|").replace("unit_price", '"price, net, in EUR, of one"')
    for delimiter in ("auto", "'|'"):  # signs within quotes do not count
        _, events = read(header + ROW.replace(",", "|"), f"source.events.delimiter={delimiter}")
        assert events[0]["customer_id"] == "c1"
    with pytest.raises(SourceError, match=r"one column only: .* declare it in source\.events\.delimiter"):
        read((HEADER + ROW).replace(",", "~"))
    _, events = read((HEADER + ROW).replace(",", "~"), "source.events.delimiter='~'")
    assert events[0]["customer_id"] == "c1"
    with pytest.raises(ParamsError, match=r"`source\.events\.delimiter`: expected auto or one sign"):
        load_params(PARAMS, ["source.events.delimiter=';;'"])


def test_any_suffix_with_a_declared_format(read: Reader) -> None:
    with pytest.raises(SourceError, match=r"Found \.txt\. .* need source\.events\.format: csv"):
        read(HEADER + ROW, name="log.txt")
    _, events = read(HEADER + ROW, "source.events.format=csv", name="log.txt")
    assert len(events) == 1
    (read.folder / "days").mkdir()
    for day in ("1", "2"):
        read.write(f"days/export.{day}", HEADER + ROW)
    assert len(read.read(f"source.events.path={read.folder / 'days'}", "source.events.format=csv")[1]) == 2


def test_an_unknown_encoding_or_format_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"`source\.events\.encoding`: expected auto or an encoding, such as"):
        load_params(PARAMS, ["source.events.encoding=hex"])
    with pytest.raises(ParamsError, match=r"source\.events\.format"):
        load_params(PARAMS, ["source.events.format=xml"])


COLUMNS = ["customer_id", "occurred_at", "event_type", "product_id", "category_path", "unit_price"]


def workbook(*sheets: tuple[str, list[list[Any]]], hidden: str = "") -> bytes:
    """An Excel workbook; ``hidden`` is the name of a sheet that is not shown."""
    book = openpyxl.Workbook()
    del book["Sheet"]
    for name, rows in sheets:
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        sheet.sheet_state = "hidden" if name == hidden else "visible"
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def test_cells_of_a_workbook_are_texts(read: Reader) -> None:
    rows = [
        COLUMNS,
        ["00115", datetime(2025, 1, 1, 8, 45, 38), "view", 17850, "3E4", 57.57],
        ["5.0", date(2025, 1, 2), "view", 2.0**53, True, 434.99999999999994],
        [],
        ["1-2", "2025-01-03", "view", "=1/0", None, None],
        ["c9", "never", "view", "p", "A", 1],
    ]
    summary, events = read(workbook(("Orders", rows), ("Notes", [["x"]]), hidden="Notes"), name="log.xlsx")
    found = {row["customer_id"]: row for row in events}
    assert set(found) == {"00115", "5.0"}
    assert found["00115"] | {"occurred_at": datetime(2025, 1, 1, 8, 45, 38), "product_id": "17850", "category_path": "3E4", "unit_price": 57.57} == found["00115"]  # fmt: skip
    assert found["5.0"] | {"occurred_at": datetime(2025, 1, 2), "product_id": str(2**53), "category_path": "true", "unit_price": 435.0} == found["5.0"]  # fmt: skip
    assert [(row["row"], row["line"], row["file"]) for row in read.rejected] == [
        (5, None, "log.xlsx"), (6, None, "log.xlsx"),
    ]  # fmt: skip
    assert (summary.physical_line_count, summary.files["events"]) == (None, 1)


def test_the_sheet_must_be_named_if_there_are_several(read: Reader) -> None:
    row = ["c1", "2025-01-01", "view", "p"]
    book = workbook(("2024", [COLUMNS[:4], row]), ("2025", [COLUMNS[:4], row, row]))
    with pytest.raises(
        SourceError, match=r"source\.events\.sheet: log\.xlsx: expected the name of a sheet\. .*'2024', '2025'"
    ):
        read(book, name="log.xlsx")
    with pytest.raises(SourceError, match=r"source\.events\.sheet: .* expected a sheet 'all'\. .*'2024', '2025'"):
        read(book, "source.events.sheet=all", name="log.xlsx")
    assert len(read(book, "source.events.sheet='2025'", name="log.xlsx")[1]) == 2


def test_workbooks_with_different_columns_and_a_header_below_a_gap(read: Reader) -> None:
    row = ["c1", "2025-01-01", "view", "p"]
    (read.folder / "books").mkdir()
    read.write("books/a.xlsx", workbook(("s", [[], [None, *COLUMNS[:4]], [None, *row]])))
    read.write("books/b.xlsx", workbook(("s", [[*COLUMNS[:4], "unit_price"], [*row, 2]])))
    _, events = read.read(f"source.events.path={read.folder / 'books'}")
    assert sorted(str(event["unit_price"]) for event in events) == ["2.0", "None"]


def test_workbooks_without_a_header_or_with_unnamed_columns(read: Reader) -> None:
    row = ["c1", "2025-01-01", "view", "p"]
    names = f"source.events.header=[{', '.join(COLUMNS[:4])}]"
    assert len(read(workbook(("s", [row, row])), names, name="log.xlsx")[1]) == 2
    with pytest.raises(
        SourceError, match=r"source\.events\.header: .* Got 4 names; the sheet of log\.xlsx has 5 columns"
    ):
        read(workbook(("s", [[*row, 1]])), names, name="log.xlsx")
    with pytest.raises(SourceError, match=r"source\.events\.header: .* Row 3 has a value in a column without a name"):
        read(workbook(("s", [COLUMNS[:4], row, [*row, 1]])), name="log.xlsx")
    with pytest.raises(SourceError, match=r"source\.events\.header: .* names each column once"):
        read(workbook(("s", [])), name="log.xlsx")


def test_files_with_the_suffix_of_another_kind(read: Reader) -> None:
    with pytest.raises(SourceError, match=r"source\.events\.format: log\.xls: expected an Excel .* write csv"):
        read(HEADER + ROW, name="log.xls")
    assert len(read(HEADER + ROW, "source.events.format=csv", name="log.xls")[1]) == 1
    book = workbook(("s", [COLUMNS[:4], ["c1", "2025-01-01", "view", "p"]]))
    with pytest.raises(SourceError, match=r"source\.events\.format: log\.csv: expected text, found an Excel workbook"):
        read(book, name="log.csv")
    assert len(read(book, "source.events.format=excel", name="log.csv")[1]) == 1


def archive(members: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def test_a_zip_archive_is_read_as_its_files(read: Reader) -> None:
    members = {
        "2025/jan.csv": HEADER + ROW + BAD,
        "2025/feb.csv": (HEADER + in_category("Küche") + BAD).encode("cp1252"),
        "mar.csv.gz": gzip.compress((HEADER + ROW).encode()),
        "../../up.csv": HEADER + ROW,
        "empty.csv": "",
        "__MACOSX/2025/._jan.csv": "not,this\n",
        ".hidden.csv": "not,this\n",
    }
    summary, events = read(archive(members), name="log.zip")
    assert (len(events), summary.files["events"]) == (4, 4)
    assert [(row["file"], row["line"]) for row in read.rejected] == [("feb.csv", 3), ("jan.csv", 3)]
    (warning,) = encoding_warnings(summary)
    assert warning.startswith("source.events: feb.csv is not in UTF-8")
    assert not (read.folder.parent / "up.csv").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "expected a zip archive"),
        (archive({"a.csv": HEADER, "b.jsonl": "{}"}), "expected files of one kind"),
        (archive({"a.zip": archive({"a.csv": HEADER})}), "expected files of one kind"),
        (archive({}), "expected files of one kind"),
        (archive({"a.csv": ""}), "expected an archive of files with rows"),
        (archive({"a.parquet": "x"}), "expected an archive of text files"),
        (archive({"a.csv": HEADER}).replace(b"\x00\x00\x08\x00", b"\x01\x00\x08\x00"), "Found a password"),
    ],
)
def test_zip_archives_that_cannot_be_read(read: Reader, content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=rf"source\.events\.path: .*{message}"):
        read(content, name="log.zip")


def test_a_zip_archive_that_becomes_too_large_is_refused(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    large = archive({"a.csv": HEADER + ROW * 100_000})
    assert len(read(large, name="log.zip")[1]) == 100_000
    monkeypatch.setattr("pipeline.ingest.files.archives.SMALL_BYTES", 2**20)
    with pytest.raises(SourceError, match=r"log\.zip: expected an archive that becomes at most 200 times as large"):
        read(large, name="log.zip")


def read_query(read: Reader, text: str, *more: str) -> Any:
    """A query in a params file in the reader's folder, where its files are."""
    (read.folder / "mine.yaml").write_text(f"base: {PARAMS}\n", encoding="utf-8")
    return read.read(*query(text), *more, params_file=read.folder / "mine.yaml")


def test_columns_of_a_query_are_texts(read: Reader) -> None:
    read.write(
        "log.csv", HEADER + "".join(ROW.replace("c1", name).replace("p1", "3E4") for name in ("7", "007", "1.50"))
    )
    read.write("names.parquet", pd.DataFrame({"id": ["007"], "channel": ["shop"]}))
    summary, events = read_query(
        read,
        "with log as (select * from 'log.csv' where customer_id not like 'C%') "
        "select log.*, channel from log left join 'names.parquet' as names on id = customer_id",
    )
    assert {row["customer_id"]: row["channel"] for row in events} == {"7": None, "007": "shop", "1.50": None}
    assert {row["product_id"] for row in events} == {"3E4"}
    assert not summary.warnings or "kindred" not in str(summary.warnings)


def test_rows_of_a_file_in_a_query_that_cannot_be_split_are_set_aside(read: Reader) -> None:
    read.write("a.csv", HEADER + ROW + "too,few\n")
    read.write("b.csv", HEADER + "too,few\n" + ROW + BAD)
    summary, events = read_query(read, "select * from 'a.csv' union all select * from './b.csv'")
    assert (summary.read_count, len(events), summary.rejected_by_rule["unreadable_row"]) == (5, 2, 2)
    places = [(row["file"], row["line"], row["reasons"]) for row in read.rejected]
    assert places[:2] == [("a.csv", 3, ["unreadable_row"]), ("b.csv", 2, ["unreadable_row"])]
    assert places[2][0] == "query"
    with pytest.raises(SourceError, match=r"unreadable_row .*; see a\.csv line 3, b\.csv line 2"):
        read_query(read, "select * from 'a.csv' union all select * from './b.csv'", "checks.unreadable_row.error=0")


def test_a_query_takes_globs_workbooks_archives_and_any_suffix(read: Reader) -> None:
    (read.folder / "days").mkdir()
    for day in ("1", "2"):
        read.write(f"days/{day}.csv", HEADER + ROW)
    read.write("log.xlsx", workbook(("s", [COLUMNS[:4], ["007", "2025-01-01", "view", "p"]])))
    read.write("log.zip", archive({"a.csv": HEADER + in_category("Küche")}))
    read.write("log.dat", (HEADER + ROW).replace(",", "~"))
    for name, count in (("days/*.csv", 2), ("log.xlsx", 1), ("log.zip", 1)):
        summary, events = read_query(read, f"select * from '{name}'")
        assert (len(events), summary.files["events"]) == (count, count)
    _, events = read_query(read, "select * from 'log.dat'", "source.events.format=csv", "source.events.delimiter='~'")
    assert events[0]["customer_id"] == "c1"


def test_json_lines_in_a_query_keep_their_types(read: Reader) -> None:
    event = {"day": "2025-01-01", "items": [{"id": "p1"}, {"id": "p2"}]}
    read.write("log.jsonl", json.dumps(event) + "\n")
    _, events = read_query(
        read,
        "select 'c' as customer_id, day as occurred_at, 'view' as event_type, item.id as product_id "
        "from (select day, unnest(items) as item from 'log.jsonl')",
    )
    assert sorted(row["product_id"] for row in events) == ["p1", "p2"]


def test_files_in_a_query_have_the_names_that_the_database_gives_them(read: Reader) -> None:
    (read.folder / "day").mkdir()
    for name in ("log.csv", "LOG.csv", "day/it's é.csv"):
        read.write(name, HEADER + ROW.replace("c1", f"00{len(name)}"))
    named = (
        "select log.* from log.csv union all select log.* from 'log.csv' union all by name select 'é' as x, \"LOG\".* "
        "from \"LOG.csv\" union all by name select \"it's é\".* from 'day/it''s é.csv' -- from 'log.csv'"
    )
    _, events = read_query(read, named)
    assert sorted(row["customer_id"] for row in events) == ["0014", "007", "007", "007"]
    _, events = read_query(
        read, "with e as (select * from 'log.csv' as a) select e.* from e semi join 'LOG.csv' b using (product_id)"
    )
    assert [row["customer_id"] for row in events] == ["007"]
    with pytest.raises(SourceError, match=r"source\.events\.query: expected the name of a file in quotes: 'log\.csv'"):
        read_query(read, r"select * from E'log\x2ecsv'")


@pytest.mark.parametrize(
    ("expression", "cast"),
    [("abs(unit_price)", "unit_price::double"), ("unit_price * 2", "quantity::double"),
     ("case when unit_price > 2 then 1 end", "quantity::double"), ('sum("unit_price")', '"unit_price"::double')],
)  # fmt: skip
def test_arithmetic_on_texts_names_the_cast(read: Reader, expression: str, cast: str) -> None:
    read.write("log.csv", HEADER + ROW)
    with pytest.raises(SourceError, match=r"source\.events\.query: .* are text, so that ids keep") as caught:
        read_query(read, f"select {expression} as x from 'log.csv'")
    assert f"write {cast} for a column of numbers" in str(caught.value)


def test_other_errors_of_a_query_come_without_the_hint(read: Reader) -> None:
    read.write("log.csv", HEADER + ROW)
    with pytest.raises(SourceError) as caught:
        read_query(read, "select nothing from 'log.csv'")
    assert "are text" not in str(caught.value)


def test_a_file_that_grows_while_it_is_read_is_named_as_such(tmp_path: Path) -> None:
    growing, still = tmp_path / "growing.csv", tmp_path / "still.csv"
    for path in (growing, still):
        path.write_text("a,b\n")
    with (
        pytest.raises(FileError, match=r"growing\.csv changed while it was read"),
        blaming_changes([still, growing]),
        growing.open("a") as file,
    ):
        file.write('1,"')
        file.flush()
        raise FileError("an unclosed quote")
    with pytest.raises(FileError, match=r"growing\.csv changed"), blaming_changes([growing]):
        growing.unlink()
        growing.read_text()
    with pytest.raises(FileError, match="an unclosed quote"), blaming_changes([still]):
        raise FileError("an unclosed quote")
    with blaming_changes([still]):
        still.write_text("what was read was complete")
