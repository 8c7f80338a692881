"""The workbook: typed cells, no formulas, reproducible bytes, and only sizes for small groups."""

from __future__ import annotations

import inspect
import io
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from pipeline.report.lineage import lineage_records
from pipeline.report.texts.formats import number
from pipeline.report.texts.wording import wording
from pipeline.report.workbook.sheets import sheets as sheets_of
from pipeline.report.workbook.table import Sheet, texts, translator
from pipeline.report.workbook.training_sheets import lineage_sheet
from pipeline.report.workbook.writer import FORMATS, workbook, write_workbook
from pipeline.stores import files
from tests.pipeline.report.facet_summaries import as_summary, interest_segment, quality, reading, with_interests

AS_OF = datetime(2025, 11, 1)
TEXTS = texts()
FOUND = {
    *("algorithm", "n_segments", "stability", "rules_fidelity", "silhouette", "davies_bouldin", "calinski_harabasz"),
    *("density_validity", "noise_share", "noise_share_fitted", "smallest_share"),
}
"""Figures of `quality` that a training can have."""
COMPOSED = {"repeat others; removed", "repeat others; kept", "read", "accepted"}
NAMES = [("VIP", "s01"), ("Browsers", "s02"), ("Cats", "i01"), ("Dogs", "i02")]
RISKY = ["=1+1", "+A1", "-2", "@SUM(A1)", "\t=1", "\r=1", "https://x.example", "{=1}", "007", "1e5"]
SMALL = {"customer_count": 3.0, "customer_share": 0.01, "spend_share": 0.02}


def interest(label: str) -> dict[str, Any]:
    figures = {"share": 0.5, "lift": 2.0, "lift_low": 1.5, "customer_count": 40}
    return {"category": f"Pets > {label}", "label": label, **figures}


def segment(segment_id: str, name: str, **changes: Any) -> dict[str, Any]:
    return {
        **{"facet": "behaviour", "segment_id": segment_id, "name": name, "names": {}, "names_by_figures": {}},
        **{"archetype": "vip", "is_standing": False, "is_small": False, "stages": [], "five_w": {}, "evidence": []},
        "stability_word": "stable",
        **{"customer_count": 100, "customer_share": 0.5, "spend_share": 0.75, "stability": 0.8, "is_stable": True},
        **{
            "top_categories": [interest("Cats"), interest("Dogs")],
            "playbook": {"en": "Write.", "uk": "Пишіть."},
            "avoid": {"en": "Shouting.", "uk": "Крику."},
        },
        "rule": {
            "conditions": [{"column": "order_count", "is_above": True, "bound": 2.0, "is_share": False, "label": ""}],
            **{"precision": 0.9, "coverage": 0.6},
        },
        "figures": {"customer_count": 100.0, "searches_per_customer": 0.0, "buyer_share": 0.5, "orders_per_buyer": 3.0},
        **changes,
    }


def summary(*segments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    shop = {"customer_count": 200.0, "searches_per_customer": 0.0, "buyer_share": 0.25, "orders_per_buyer": 1.5}
    tried = quality(silhouette=0.1, stability=0.876)
    facet = {"name": "behaviour", "names": "archetypes", "clustered_count": 100, "shop": shop, "quality": tried}
    method = {
        **{
            "history_days": 365.0,
            "log_days": 30.0,
            "usual_history_days": 60.0,
            "horizon_days": 30,
            "min_events": 3,
            "min_group": 10,
        },
        **{"tier_by": "spend", "timezone": "UTC", "min_known_share": 0.0, "noise_policy": None, "is_fitted": True},
        **{"query_counts": {}, "interests": {"half_life_days": 45.0, "kappa": 8.0, "signal_weights": {}}},
    }
    return {
        **{"run_id": "abc", "language": "en", "currency": None, "as_of": "2025-11-01 00:00 UTC"},
        **{"customer_count": 203, "clustered_count": 100, "segments": list(segments), "shop": shop},
        "totals": {"buyers": 9, "repeat_buyers": 3, "orders": 20.0, "paid": 9.0, "spend": 8.0},
        **{"spend_is": "net", "revenue": None, "has_spend": True, "crossings": []},
        "heat_map": {"segment_ids": [], "categories": [], "lifts": []},
        "lineage": {"trainings": [], "rows": []},
        "funnel": {"steps": ["known"], "shop": [203], "segments": {}},
        "interests": [{"category": "Pets > Cats", "label": "Cats", "lifts": {"s01": 2.5}}],
        "quality": tried | {"notes": ["Short log."], "validity": None},
        "reading": reading(
            **{"read_count": 10, "accepted_count": 8, "rejected_count": 2, "duplicate_count": 1},
            **{"rejected_by_rule": {"unreadable_time": 2}, "event_types": {"view": 8}},
            **{"first_event_at": "2025-01-02 03:04:05", "last_event_at": ""},
        ),
        **{"method": method, "audiences": [], "attributes": None, "migration": None, "crossing": None},
        "facets": [facet | {"min_events": 3, "min_evidence": 0.0, "noise_policy": None}],
        **changes,
    }


def sheets(report: dict[str, Any], lineage: list[dict[str, Any]]) -> list[Sheet]:
    """The tables of a summary.json and a lineage file."""
    return sheets_of(as_summary(report), lineage_records(lineage))


LINEAGE = [
    {
        **{"as_of": "2025-10-01 00:00", "run_id": "old", "segment_id": "s01", "verdict": "new", "is_here": True},
        **{"jaccard": None, "related": [], "name": "Best"},
    },
    {
        **{"as_of": "2025-11-01 00:00", "run_id": "abc", "segment_id": "s01", "verdict": "survived", "is_here": True},
        **{"jaccard": 0.756, "related": ["s01"], "name": "VIP"},
    },
]


def opened(made: bytes) -> Any:
    return openpyxl.load_workbook(io.BytesIO(made))


def values(made: bytes, name: str) -> list[tuple[Any, ...]]:
    return list(opened(made)[name].iter_rows(values_only=True))


def test_all_tables_against_expected_rows() -> None:
    money = {"paid_per_customer": 33.0, "spend_per_customer": 30.0}
    vip = segment("s01", "VIP")
    vip["figures"] |= money
    made = workbook(sheets(summary(vip), LINEAGE), created=AS_OF)
    book = opened(made)
    names = ["Segments", "Figures", "Interests", "Lineage", "Quality", "Data quality", "Playbook"]
    assert book.sheetnames == ["README", *names]
    assert [(row[0], row[1]) for row in values(made, "README")[2:]] == [
        (name, book[name].max_row - 1) for name in names
    ]
    assert values(made, "Segments")[1] == (
        *("s01", "VIP", "Behaviour", "vip", False, 100, 0.5, 0.75, 3_300.0, 300.0, 0.8, True, "Cats; Dogs"),
        *("at least 3 orders", 0.9, 0.6),
    )
    assert values(made, "Figures")[1:] == [
        ("s01", "VIP", "Have ordered", 0.5, 0.25, 2, "buyer_share"),
        ("s01", "VIP", "Orders per buyer", 3, 1.5, 2, "orders_per_buyer"),
    ]
    assert values(made, "Interests") == [("Category", "VIP (s01)"), ("Pets > Cats", 2.5)]
    assert values(made, "Lineage")[2] == (AS_OF, "abc", "s01", "VIP", "same", True, 0.756, "s01")
    shown = {"algorithm": "kmeans", "n_segments": 2, "stability": 0.876, "rules_fidelity": 0.8, "silhouette": 0.1}
    shown |= {"noise_share": 0, "smallest_share": 0.5}
    assert values(made, "Quality")[1:] == [
        *((name, value, "Behaviour") for name, value in shown.items()),
        ("note", "Short log.", None),
    ]
    assert ("rejected", "unreadable time", 2, 0.2) in values(made, "Data quality")
    assert ("actions", "first (UTC)", datetime(2025, 1, 2, 3, 4, 5), None) in values(made, "Data quality")
    assert values(made, "Playbook")[1:] == [("s01", "VIP", 100, "Write.", "Shouting.")]


def two_facets(**changes: Any) -> dict[str, Any]:
    """VIP and Browsers by Cats and Dogs."""
    report = summary(segment("s01", "VIP"), segment("s02", "Browsers"), **changes)
    made = segment("i01", "", figures={"customer_count": 100.0, "buyer_share": 0.5})
    return with_interests(
        report,
        interest_segment(made, "i01", "Cats"),
        interest_segment(made, "i02", "Dogs"),
        interest_segment(made, "standing-unknown", "Interests not known"),
        **{"silhouette": 0.4},
    )


def test_tables_of_two_facets() -> None:
    report = two_facets()
    report["facets"][1]["shop"] = {"buyer_share": 0.4}
    made = workbook(sheets(report, LINEAGE), created=AS_OF)
    assert {row[0]: row[2] for row in values(made, "Segments")[1:]} == {
        **dict.fromkeys(("s01", "s02"), "Behaviour"),
        **dict.fromkeys(("i01", "i02", "standing-unknown"), "Interests"),
    }
    rows = values(made, "Behaviour and interests")[1:]
    assert rows[0] == ("s01", "VIP", "i01", "Cats", 80, 0.08, pytest.approx(1.6), True)
    # A hidden cell; and unknown interests are not compared with chance.
    assert ("s01", "VIP", "standing-unknown", "Interests not known", *[None] * 4) in rows
    assert ("s02", "Browsers", "standing-unknown", "Interests not known", 0, 0, None, None) in rows
    assert ("i01", "Cats", "Have ordered", 0.5, 0.4, 1.25, "buyer_share") in values(made, "Figures")
    quality = values(made, "Quality")[1:]
    assert ("silhouette", 0.1, "Behaviour") in quality and ("silhouette", 0.4, "Interests") in quality
    single = opened(workbook(sheets(summary(segment("s01", "VIP")), LINEAGE), created=AS_OF))
    assert "Behaviour and interests" not in single.sheetnames


def test_lineage_has_the_names_of_each_training() -> None:
    names = {"en": "Best", "uk": "Найкращі"}
    unnamed = {key: value for key, value in LINEAGE[0].items() if key != "name"} | {"segment_id": "s02"}
    gone = {**LINEAGE[1], "segment_id": "s03", "verdict": "gone", "is_here": False, "name": None}
    rows = [LINEAGE[0] | {"names": names}, LINEAGE[0] | {"segment_id": "s03"}, unnamed, LINEAGE[1], gone]
    for language, best in names.items():
        report = summary(segment("s01", "By hand"), segment("s02", "Two"), language=language)
        (sheet,) = (
            sheet for sheet in sheets(report, rows) if sheet.columns.keys() & {"Related segments", "Пов’язані сегменти"}
        )
        assert [row[3] for row in sheet.rows] == [best, "Best", None, "By hand", "Best"]


def test_cell_formats_frozen_headers_and_filters() -> None:
    book = opened(workbook(sheets(summary(segment("s01", "VIP")), LINEAGE), created=AS_OF))
    assert book["Segments"]["G2"].number_format == FORMATS["share"] and book["Segments"]["G2"].data_type == "n"
    assert book["Segments"]["F2"].number_format == "#,##0"
    assert [book["Figures"][cell].number_format for cell in ("D2", "D3")] == [FORMATS["share"], FORMATS["number"]]
    assert book["Lineage"]["A2"].is_date and book["Lineage"]["A2"].number_format == FORMATS["moment"]
    for sheet in book:
        named = sheet["A1"].value == "Segment ID"
        assert sheet.freeze_panes == ("C2" if named else "B2")
        assert sheet.auto_filter.ref == sheet.dimensions
        assert all(9 <= column.width <= 62 for column in sheet.column_dimensions.values())


def test_amounts_are_numbers_with_a_currency_format() -> None:
    report = summary(segment("s01", "VIP", figures={"customer_count": 100.0, "spend_per_customer": 9.5}))
    report["shop"]["spend_per_customer"] = 3.0
    for currency, unit in ((None, ""), ("UAH", " [$UAH]")):
        code = f"[>=100]#,##0{unit};[=0]0{unit};#,##0.00{unit}"
        cell = opened(workbook(sheets(report, LINEAGE), created=AS_OF, currency=currency))["Figures"]["D2"]
        assert (cell.value, cell.number_format) == (9.5, code)


@pytest.mark.parametrize("text", RISKY)
def test_a_text_is_never_a_formula(text: str) -> None:
    report = summary(segment("s01", text, playbook={"en": text}, archetype=text), run_id=text)
    report["interests"][0]["category"] = text
    made = workbook(sheets(report, LINEAGE), created=AS_OF)
    cells = [cell for sheet in opened(made) for row in sheet.iter_rows() for cell in row]
    assert {cell.data_type for cell in cells} <= {"s", "n", "b", "d"}  # a formula would be f
    assert not any(cell.hyperlink for cell in cells)
    # Excel's own escape of control characters is left as it is by openpyxl.
    escaped = text.replace("\r", "_x000D_")
    assert [row[3] for row in values(made, "Playbook")[1:]] in ([text], [escaped])
    assert b"<f>" not in b"".join(_parts(made))


def _parts(made: bytes) -> list[bytes]:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        return [archive.read(name) for name in archive.namelist()]


def test_a_small_group_has_only_its_size() -> None:
    small = segment("s02", "Few", is_small=True, figures=SMALL, customer_count=3, customer_share=0.01, spend_share=0.02)
    made = workbook(sheets(summary(segment("s01", "VIP"), small), []), created=AS_OF)
    assert values(made, "Segments")[2] == ("s02", "Few", "Behaviour", None, False, 3, 0.01, *[None] * 9)
    for name in ("Figures", "Playbook"):
        assert "s02" not in {row[0] for row in values(made, name)}
    assert values(made, "Interests")[0] == ("Category", "VIP (s01)")


def test_an_unstable_segment_has_no_playbook() -> None:
    made = workbook(sheets(summary(segment("s01", "VIP", is_stable=False)), []), created=AS_OF)
    assert values(made, "Playbook")[1:] == []


def test_the_bytes_do_not_depend_on_the_clock(tmp_path: Path) -> None:
    report = summary(segment("s01", "VIP"))
    for name in ("a", "b"):
        write_workbook(tmp_path / f"{name}.xlsx", as_summary(report), lineage_records(LINEAGE))
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    assert openpyxl.load_workbook(tmp_path / "a.xlsx").properties.created == AS_OF


def test_missing_and_infinite_values_are_empty_and_long_texts_are_cut() -> None:
    rows: list[tuple[Any, ...]] = [(None, float("nan")), ("x" * 40_000, float("inf"))]
    made = workbook([Sheet("t", "", {"a": "text", "b": "number"}, rows)], created=AS_OF)
    rows_read = values(made, "t")
    assert rows_read[1] == (None, None) and rows_read[2][1] is None
    assert len(rows_read[2][0]) == 32_767


def test_a_failure_keeps_the_old_workbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.xlsx"
    path.write_text("old")

    def full(_: Path, __: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(files.OutputError, match="disk is full"):
        write_workbook(path, as_summary(summary(segment("s01", "VIP"))), [])
    assert [file.name for file in tmp_path.iterdir()] == ["a.xlsx"] and path.read_text() == "old"


@pytest.mark.parametrize("language", ["uk", "ru", "sq"])
def test_all_fixed_texts_are_translated(language: str) -> None:
    translate = translator(language)
    reports = [two_facets(language=name) for name in ("en", language)]
    english, other = (sheets(report, LINEAGE) for report in reports)
    for before, after in zip(english, other, strict=True):
        same = {before.name} & {after.name} | {*before.columns} & {*after.columns}
        assert same <= {f"{name} ({key})" for name, key in NAMES} and before.about != after.about
        assert len(after.name) <= 31 and len(after.columns) == len(before.columns)
    fixed = {row[place] for sheet in other for row in sheet.rows for place in sheet.translated}
    fixed -= {wording(language)(key) for key in ("finding.unreadable_time", "event.view")}
    assert {text for text in fixed if text.isascii()} <= {text for text in map(translate, TEXTS) if text.isascii()}
    assert all(set(texts) == {"uk", "ru", "sq"} for texts in TEXTS.values())
    assert not {text for text, translations in TEXTS.items() if translations[language] == text}
    assert opened(workbook(other, created=AS_OF)).sheetnames == [sheet.name for sheet in other]


def test_every_translated_text_is_used() -> None:
    code = " ".join(
        " ".join(
            Path(inspect.getfile(function)).read_text() for function in (sheets_of, lineage_sheet, write_workbook)
        ).split()
    )
    verdicts = {"new", "split", "merged", "gone"} | FOUND
    assert {text for text in TEXTS if " ".join(text.split())[:60] not in code} <= verdicts | COMPOSED


def displayed(code: str, value: float) -> str:
    """The value as a spreadsheet shows it: the first section of the format whose condition holds."""
    for section in code.split(";"):
        match = re.fullmatch(r"(?:\[(>=|=)([\d.]+)\])?[#,]*0?(?:\.(0+))?(%?).*", section)
        assert match is not None
        sign, bound, decimals, percent = match.groups()
        if sign is None or (value >= float(bound) if sign == ">=" else value == float(bound)):
            return f"{value:,.{len(decimals or '')}{percent or 'f'}}"
    raise AssertionError(code)


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("share", [0.0, 0.0123, 0.0994, 0.0996, 0.511, 1.0]),
        ("number", [0.0, 0.26, 1.06, 19.94, 20.1, 12_345.4]),
        ("money", [0.0, 9.5, 99.94, 100.4, 12_345.4]),
    ],
)
def test_cells_have_the_digits_of_the_report(form: str, values: list[float]) -> None:
    code = FORMATS[form].replace("{unit}", "")
    assert [displayed(code, value) for value in values] == [number(value, form) for value in values]
