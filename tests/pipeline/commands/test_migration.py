"""Moves between dates: by hand, from two score files, and from a history of the shop."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.migration_tables import GROUP_ORDER, segmentation_columns, stage_moves, summarise_migration
from pipeline.commands.history import history, parse_date, scoring_dates
from pipeline.commands.migration import migration
from pipeline.commands.rename import rename
from pipeline.commands.score import score
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import SILENT
from pipeline.report.migration import as_text, page
from pipeline.report.pages.render import render_template
from pipeline.report.texts.languages import read_texts
from pipeline.report.texts.wording import wording
from pipeline.stores import mlflow_runs, model_registry
from pipeline.stores.writers import write_table
from tests.pipeline.conftest import params_in
from tests.pipeline.report.axe import barriers, needs_axe

SEGMENTATION_COLUMNS = segmentation_columns(["segment_id", "segment"])
DATES = [datetime(2025, month, 1, tzinfo=UTC) for month in (1, 2, 3)]


def build_history(*customer_paths: tuple[int, list[str]]) -> pd.DataFrame:
    """Build a history from (customer count, lifecycle stage at each date); an empty stage means not known yet."""
    rows = []
    number = 0
    for count, stages in customer_paths:
        for _ in range(count):
            number += 1
            for date, stage in zip(DATES, stages, strict=True):
                row = {"customer_id": f"c{number}", "as_of": pd.Timestamp(date), "lifecycle_stage": stage}
                rows.append(row | {"segment_id": f"s-{stage}", "segment": stage.upper()})
    frame = pd.DataFrame([row for row in rows if row["lifecycle_stage"]])
    return frame.assign(temperature="cold", rfm_group=None, value_tier=None)[SEGMENTATION_COLUMNS]


PATHS = (
    (30, ["active", "active", "active"]),
    (20, ["active", "slipping", "active"]),
    (15, ["active", "lapsed", "lost"]),
    (12, ["", "first_order", "first_order"]),
    (3, ["active", "lost", "lost"]),
)


def rows_of(table: pd.DataFrame, segmentation: str) -> pd.DataFrame:
    return table[table.segmentation == segmentation]


def test_moves_by_hand() -> None:
    result = summarise_migration(build_history(*PATHS), min_group=10)
    assert list(result.groups["lifecycle_stage"]) == [
        *("active", "first_order", "slipping", "lapsed", "lost", "(unknown)"),
    ]
    moves = rows_of(result.moves, "lifecycle_stage")
    first = moves[(moves.from_as_of == DATES[0]) & (moves.to_as_of == DATES[1])]
    shown = first.dropna(subset="from_group").set_index(["from_group", "to_group"]).customer_count.to_dict()
    # The three customers lost at once are hidden together with the fifteen lapsed, or the 68 active would reveal them.
    # Twelve new customers and eighteen hidden ones are rounded.
    assert shown == {("active", "active"): 30, ("active", "slipping"): 20, ("(unknown)", "first_order"): 10}
    assert first[first.from_group.isna()].customer_count.tolist() == [20]
    steps = rows_of(result.steps, "lifecycle_stage").set_index(["from_as_of", "to_as_of"])
    last = steps.loc[(DATES[1], DATES[2])]
    assert last[["stayed_count", "moved_count", "up_count", "down_count"]].tolist() == [40, 20, 20, 0]
    whole = steps.loc[(DATES[0], DATES[2])]
    assert whole[["stayed_count", "down_count", "new_count", "hidden_count"]].tolist() == [50, 20, 10, 0]
    assert rows_of(result.steps, "segment").up_count.isna().all()


@pytest.mark.parametrize("min_group", [1, 10, 25])
def test_rows_of_two_dates_add_up_to_all_customers(min_group: int) -> None:
    result = summarise_migration(build_history(*PATHS), min_group=min_group)
    totals = result.moves.groupby(["segmentation", "from_as_of", "to_as_of"]).customer_count.sum()
    for dates in ((DATES[0], DATES[1]), (DATES[0], DATES[2])):
        assert (totals[:, *dates] - 80).abs().max() <= (0 if min_group == 1 else 2 * min_group)
    assert not (result.moves.customer_count < min_group).any()


def test_stays_and_the_lost_by_hand() -> None:
    result = summarise_migration(build_history(*PATHS), min_group=10)
    stays = rows_of(result.stays, "lifecycle_stage").set_index("group")
    # Slipping: 20 stayed 28 days. First order: 12 are still there after 28 days. Stays that start at the first or the
    # last date are left out, and the three lost customers are too few to show.
    assert stays.median_days.dropna().to_dict() == {"slipping": 28.0, "lapsed": 28.0}
    assert stays.loc["first_order", ["stay_count", "mean_days", "longest_days"]].tolist() == [10, 28.0, 28.0]
    assert "lost" not in stays.index
    lost = rows_of(result.lost, "lifecycle_stage")
    assert lost[lost.group.notna()][["group", "last_stable_count"]].to_numpy().tolist() == [["active", 20]]
    assert (lost.before_count.sum(), lost.last_stable_count.sum()) == (20, 20)
    # Once some customers have bought, only lost buyers count; three customers are too few to show.
    rows = build_history(*PATHS)
    number = rows.customer_id.str.removeprefix("c").astype(int)
    fifteen = summarise_migration(rows.assign(value_tier=(number <= 65).map({True: "vip", False: None})), min_group=10)
    assert rows_of(fifteen.lost, "value_tier")[["group", "last_stable_count"]].to_numpy().tolist() == [["vip", 20]]
    three = summarise_migration(rows.assign(value_tier=(number > 65).map({True: "vip", False: None})), min_group=10)
    assert three.lost.empty


def test_the_order_of_rows_does_not_matter() -> None:
    rows = build_history(*PATHS)
    first, second = (summarise_migration(frame, min_group=10) for frame in (rows, rows.sample(frac=1, random_state=1)))
    for name, table in first.tables.items():
        pd.testing.assert_frame_equal(table, second.tables[name])


def test_page_and_text() -> None:
    result = summarise_migration(build_history(*PATHS), min_group=10)
    contents = page(result.groups, result.tables, wording("en"), warnings=["mind the gap"], min_group=10)
    assert [section["key"] for section in contents["sections"]] == [
        "segment",
        "lifecycle_stage",
    ]  # the other segmentations have one group each
    assert (contents["start"], contents["end"], contents["step"]) == ("1 Jan 2025", "1 Mar 2025", "31 days")
    text = as_text(contents)
    assert re.search(r"Lifecycle +50 +20 +0 +20 +10 +0\n", text)
    assert "Warnings\n  - mind the gap" in text and "over 28" in text
    # The three customers who were not slipping are hidden together with the fifteen who were.
    assert re.search(
        r"Where lost buyers come from .*\n.*\nnot shown separately: some groups are too small +20 \(100%\)", text
    )
    matrix = contents["sections"][1]["matrix"]
    assert [row["name"] for row in matrix["rows"]] == ["active", "not known"]
    assert matrix["totals"] == ["50", "10", "20"] and matrix["total"] == "80"


def test_a_facet_with_another_name_is_shown_by_that_name() -> None:
    rows = build_history(*PATHS).assign(
        brand_segment_id=lambda table: table.segment_id, brand_segment=lambda table: table.segment
    )
    result = summarise_migration(rows, min_group=10)
    for language in ("en", "uk"):
        contents = page(result.groups, result.tables, wording(language), warnings=[], min_group=10)
        assert [section["title"] for section in contents["sections"]][1] == "Brand"


def moves_page(language: str) -> str:
    words = wording(language)
    result = summarise_migration(build_history(*PATHS), min_group=10)
    contents = page(result.groups, result.tables, words, warnings=["–"], min_group=10)
    return render_template("moves.html.j2", words=words, **contents)


@pytest.mark.parametrize("language", ["uk", "ru", "sq"])
def test_the_page_is_in_its_language(language: str) -> None:
    visible_text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", moves_page(language), flags=re.DOTALL)
    assert f'<html lang="{language}">' in moves_page(language) and "31" in visible_text
    english = {
        key: text for key, text in read_texts("en").items() if key.startswith("moves.") and isinstance(text, str)
    }
    untranslated = [
        text
        for key, text in english.items()
        if len(text) > 4 and text in visible_text and text != wording(language)(key)
    ]
    assert untranslated == []


@needs_axe
@pytest.mark.parametrize("width", [400, 1300])
def test_axe_finds_no_barrier(width: int, tmp_path: Path) -> None:
    assert barriers(moves_page("uk"), tmp_path, width=width) == []


def test_a_shop_with_one_segment() -> None:
    result = summarise_migration(build_history(*PATHS).assign(segment_id="s01", segment="All"), min_group=10)
    text = as_text(page(result.groups, result.tables, wording("en"), warnings=[], min_group=10))
    assert "Lifecycle" in text and "Segment" not in text


def test_moments() -> None:
    as_of, first = datetime(2025, 3, 31, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)
    result = scoring_dates(as_of, "month", since=datetime(2024, 12, 31, tzinfo=UTC), first=first)
    assert [f"{date:%m-%d}" for date in result] == ["12-31", "01-31", "02-28", "03-31"]
    assert len(scoring_dates(as_of, "week", since=as_of - timedelta(days=21), first=first)) == 4
    assert len(scoring_dates(as_of, "quarter", since=first, first=first)) == 5
    assert scoring_dates(as_of, "month", since=first, first=datetime(2025, 2, 20, tzinfo=UTC))[0].month == 2
    with pytest.raises(UserError, match="at least two dates"):
        scoring_dates(as_of, "quarter", since=datetime(2025, 3, 1, tzinfo=UTC), first=first)
    with pytest.raises(UserError, match="expected a date"):
        parse_date("last spring")
    assert parse_date("2025-01-31") == datetime(2025, 1, 31, tzinfo=UTC)


def at(params: Params, as_of: datetime, **more: Any) -> Params:
    return params.model_copy(update={"as_of": as_of, **more})


@pytest.mark.parametrize(("hysteresis", "since_month", "months"), [(0.0, 8, (8, 11)), (0.2, None, (5, 8, 11))])
def test_each_date_equals_a_score_at_that_date(
    trained: Any, tmp_path: Path, hysteresis: float, since_month: int | None, months: tuple[int, ...]
) -> None:
    settings, model = trained[0], trained[1].model_uri
    changed = {
        "score": settings.score.model_copy(update={"hysteresis": hysteresis}),
        "minimum": settings.minimum.model_copy(update={"usual_history_days": 120}),  # not in February
    }
    settings = settings.model_copy(update=changed)
    out = tmp_path / "history.parquet"
    since = settings.as_of.replace(month=since_month) if since_month else None
    output = history(settings, every="quarter", since=since, model_uri=model, out=out, progress=SILENT)
    result = pq.read_table(out)
    assert {"interest_segment_id", "interest_segment"} <= set(result.column_names)
    moved = pq.read_table(tmp_path / "history-moves.parquet").to_pandas()
    assert set(moved.segmentation) == {"segment", "interest_segment", *GROUP_ORDER}
    dates = sorted(set(result["as_of"].to_pylist()))
    assert dates == [settings.as_of.replace(month=month) for month in months]
    for as_of in dates:
        scores = score(at(settings, as_of), model_uri=model, out=tmp_path / "scores.parquet", progress=SILENT)
        columns = segmentation_columns(["segment_id", "interest_segment_id"])
        expected = pq.read_table(scores.path, columns=columns)
        from_history = result.filter([date == as_of for date in result["as_of"].to_pylist()])
        assert from_history.to_pydict() == expected.to_pydict()
        assert from_history.schema.equals(expected.schema)
    assert "before the model’s training" in output and "of the 365 days that are used" in output


def test_history_writes_complete_files_without_customer_ids(trained: Any, tmp_path: Path) -> None:
    settings, model = trained[0], trained[1].model_uri
    out = tmp_path / "history.parquet"
    late = at(settings, settings.as_of + timedelta(days=90))
    since = late.as_of - timedelta(days=190)
    output = history(late, every="quarter", since=since, model_uri=model, out=out, progress=SILENT)
    assert "after the last event" in output
    ids = set(pq.read_table(out, columns=["customer_id"])["customer_id"].to_pylist())
    manifest = (tmp_path / "history-manifest.json").read_text()
    html = (tmp_path / "history.html").read_text()
    assert all(name in manifest for name in ("history-moves.parquet", "history-lost.parquet", "history.html"))
    assert not re.findall(r"<script|(?:src|href)=|url\(|https?://", html)
    assert all(
        f"<h2>{title}</h2>" in html
        for title in ("Segments", "Interests", "Lifecycle", "Temperature", "RFM", "Value tier")
    )
    for name in ("moves", "steps", "stays", "lost"):
        table = pq.read_table(tmp_path / f"history-{name}.parquet")
        assert table.num_rows and not ids & {value for column in table.columns for value in column.to_pylist()}
    assert not ids & set(re.findall(r"[\w-]+", html + output + manifest))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    history(late, every="quarter", since=since, model_uri=model, out=out, progress=SILENT)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    in_ukrainian = late.model_copy(update={"language": "uk"})
    since = late.as_of - timedelta(days=100)
    history(in_ukrainian, every="quarter", since=since, model_uri=model, out=out, progress=SILENT)
    for _, own in trained[1].segments.groupby("facet"):
        assert escape(own.names.iloc[0]["uk"]) in (tmp_path / "history.html").read_text()


def test_two_files_of_scores(trained: Any, tmp_path: Path) -> None:
    settings, model = trained[0], trained[1].model_uri
    paths = [tmp_path / "one.parquet", tmp_path / "two.csv"]
    for path, as_of in zip(paths, (settings.as_of - timedelta(days=90), settings.as_of), strict=True):
        score(at(settings, as_of), model_uri=model, out=path, progress=SILENT)
    segment = trained[1].segments.segment_id[0]
    rename(settings, segment, "Our <gold>")
    try:
        output = migration(settings, *paths, out=tmp_path / "moves.parquet")
    finally:
        rename(settings, segment, None)
    assert "&lt;" not in output
    html = (tmp_path / "moves.html").read_text()
    assert "Our &lt;gold&gt;" in html and "Our <gold>" not in html
    moves = pq.read_table(tmp_path / "moves.parquet").to_pandas()
    known = trained[1].segments.query("facet == 'behaviour'").customer_count.sum()
    assert (moves.groupby("segmentation").customer_count.sum() - known).abs().max() < 0.1 * known  # rounded
    assert set(moves.segmentation) == {"segment", "interest_segment", *GROUP_ORDER}
    # The order of the two files does not matter.
    migration(settings, *reversed(paths), out=tmp_path / "again.parquet")
    again = pq.read_table(tmp_path / "again.parquet").to_pandas()
    pd.testing.assert_frame_equal(
        again.drop(columns=["from_name", "to_name"]), moves.drop(columns=["from_name", "to_name"])
    )
    before = paths[0].read_bytes()
    with pytest.raises(UserError, match=r"this file is an input"):
        migration(settings, *paths, out=paths[0])
    assert paths[0].read_bytes() == before
    with pytest.raises(UserError, match="two different dates"):
        migration(settings, paths[0], paths[0], out=tmp_path / "no.parquet")


def scores_of(ids: list[str | None], path: Path) -> Path:
    rows = pd.DataFrame({name: "x" for name in [*SEGMENTATION_COLUMNS, "model_uri", "run_id"]}, index=range(len(ids)))
    table = pa.Table.from_pandas(rows.assign(customer_id=ids).drop(columns="as_of"), preserve_index=False)
    as_of = pa.array([DATES[path.suffix == ".csv"]] * len(ids), pa.timestamp("us", tz="UTC"))
    write_table(path, table.append_column("as_of", as_of))
    return path


@pytest.mark.parametrize(
    ("language", "back", "between"), [("en", "Back again", "In between"), ("sq", "Të rikthyer", "Jashtë grupeve")]
)
def test_groups_that_were_empty_at_training_are_named_in_the_language_of_the_page(
    trained: Any, tmp_path: Path, language: str, back: str, between: str
) -> None:
    """The run of the scores was deleted or its summary lacks the group, so the names of the rules are used."""
    groups = {"standing-returned": "Повернулися", "noise": "Поза групами", "s77": "Свої"}
    segments = {"segment_id": list(groups), "segment": list(groups.values())}
    for path in (tmp_path / "one.parquet", tmp_path / "two.csv"):
        table = pq.read_table(scores_of(["a", "b", "c"], tmp_path / "raw.parquet")).drop_columns([*segments, "as_of"])
        as_of = pa.array([DATES[path.suffix == ".csv"]] * 3, pa.timestamp("us", tz="UTC"))
        for name, values in {**segments, "as_of": as_of}.items():
            table = table.append_column(name, pa.array(values))
        write_table(path, table)
    naming = trained[0].naming.model_copy(update={"min_group": 1})
    settings = trained[0].model_copy(update={"naming": naming, "language": language})
    migration(settings, tmp_path / "one.parquet", tmp_path / "two.csv", out=tmp_path / "moves.parquet")
    html = (tmp_path / "moves.html").read_text()
    assert back in html and between in html and "Свої" in html
    assert "Повернулися" not in html and "Поза групами" not in html


def test_customers_are_the_same_in_csv(trained: Any, tmp_path: Path) -> None:
    # Many CSV readers take "NA" as null, and ids that look like formulas get an apostrophe in CSV.
    ids: list[str | None] = ["NA", "=1", "-a", "@b", "+380", "'quoted"]
    paths = [scores_of(ids, tmp_path / name) for name in ("one.parquet", "two.csv")]
    settings = trained[0].model_copy(update={"naming": trained[0].naming.model_copy(update={"min_group": 1})})
    migration(settings, *paths, out=tmp_path / "moves.parquet")
    moves = pq.read_table(tmp_path / "moves.parquet").to_pandas()
    assert rows_of(moves, "segment")[["from_group", "to_group", "customer_count"]].to_numpy().tolist() == [
        ["x", "x", 6]
    ]
    # Rewritten by another tool: numbers for ids, times without a time zone.
    scores_of(["1", "2"], paths[1])
    again = pq.read_table(scores_of(["1", "2"], paths[0])).to_pandas()
    again = again.assign(customer_id=again.customer_id.astype(int), as_of=again.as_of.dt.tz_localize(None))
    again.to_parquet(paths[0])
    migration(settings, *paths, out=tmp_path / "moves.parquet")
    moves = pq.read_table(tmp_path / "moves.parquet").to_pandas()
    assert rows_of(moves, "segment")[["from_group", "to_group", "customer_count"]].to_numpy().tolist() == [
        ["x", "x", 2]
    ]
    scores_of(["a", None], tmp_path / "three.csv")
    with pytest.raises(UserError, match="each customer once, with an id"):
        migration(settings, paths[0], tmp_path / "three.csv", out=tmp_path / "moves.parquet")


def test_comparing_two_files_creates_no_store(shop: Path, tmp_path: Path) -> None:
    settings, ids = params_in(tmp_path, shop), [f"c{number}" for number in range(20)]
    place = tmp_path / "elsewhere"
    paths = [scores_of(list(ids), place / name) for name in ("one.parquet", "two.csv")]
    migration(settings, *paths, out=place / "moves.parquet")
    assert (place / "moves.html").is_file() and list(tmp_path.iterdir()) == [place]
    migration(settings, *paths, out=tmp_path / "outputs" / "moves.parquet")
    assert set(tmp_path.iterdir()) == {place, tmp_path / "outputs"}


def test_files_that_are_not_scores(trained: Any, tmp_path: Path) -> None:
    pd.DataFrame({"customer_id": ["c1"]}).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for name, why in (
        ("other.parquet", "expected a score file"),
        ("other.csv", "expected a score file"),
        ("none.csv", "does not exist"),
    ):
        with pytest.raises(UserError, match=why):
            migration(trained[0], tmp_path / name, tmp_path / name, out=tmp_path / "out.parquet")
    with pytest.raises(UserError, match=r"\.parquet or \.csv"):
        migration(trained[0], tmp_path / "other.csv", tmp_path / "other.csv", out=tmp_path / "out.xlsx")
    with pytest.raises(UserError, match=r"\.parquet or \.csv"):
        history(trained[0], every="month", since=None, model_uri="x", out=tmp_path / "out.xlsx", progress=SILENT)
    assert model_registry.has_champion(mlflow_runs.open_store(trained[0]))


def test_the_log_is_never_overwritten(params: Callable[..., Params], shop: Path) -> None:
    products = shop / "products.parquet"
    before = products.read_bytes()
    with pytest.raises(UserError, match=r"this file is an input"):
        history(params(), every="month", since=None, model_uri="x", out=products, progress=SILENT)
    with pytest.raises(UserError, match=r"this file is an input"):
        score(params(), model_uri="x", out=products, progress=SILENT)
    assert products.read_bytes() == before


def test_moves_of_the_report_by_hand() -> None:
    then = pd.DataFrame({"customer_id": [f"c{number}" for number in range(30)], "lifecycle_stage": "active"})
    now = then.assign(lifecycle_stage=["active"] * 12 + ["slipping"] * 15 + ["lost"] * 3)
    new_customer = pd.DataFrame({"customer_id": ["new"], "lifecycle_stage": ["cart"]})
    result = stage_moves(then, pd.concat([now, new_customer]), since="2025-10-02", min_group=1)
    assert result == {
        **{"since": "2025-10-02", "customer_count": 30, "stayed_share": 0.4, "groups": ["active", "slipping", "lost"]},
        "rows": [[12, 15, 3], [0, 0, 0], [0, 0, 0]],
    }
    # Three customers are too few to show, and twelve more are hidden so the three cannot be worked out.
    fewer = stage_moves(then, now, since="2025-10-02", min_group=10)
    assert fewer is not None
    assert fewer["rows"] == [[0, 20], [0, 0]]
    assert stage_moves(then.head(0), now, since="2025-10-02", min_group=2) is None
