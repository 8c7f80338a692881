"""`score --update` gives the same result as a full rebuild, whatever the log does in between."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.events import ObservationWindow
from features.interests import SHARE_PREFIX
from features.seasons import SEASON_PREFIX
from models.top_categories import top_categories
from pipeline.commands.score import score
from pipeline.commands.train import TrainingResult
from pipeline.config.errors import UserError
from pipeline.config.params import Params, source_fingerprint
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.profiles.build import Profiles, build_profiles, fetch_profiles
from pipeline.profiles.seasonality import expected_shares_for_batch, full_season_mix
from pipeline.scoring.incremental import customers_leaving_tier_window, measure_incrementally
from pipeline.scoring.state import FOLDER
from pipeline.scoring.state_manifest import MANIFEST
from pipeline.stores import files
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from tests.pipeline.conftest import params_in

START = datetime(2025, 1, 1)
DAYS = 60
HISTORY_DAYS = 25.0
EVENT_TYPES = (
    "view",
    "view",
    "view",
    "search",
    "cart",
    "remove_from_cart",
    "purchase",
    "purchase",
    "return",
    "contact",
    "favourite",
    "email_open",
    "email_click",
    "redemption",
)


def random_log(seed: int, *, customers: int = 60, count: int = 1_500) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Events in bursts, many of them around midnight, and the time each one reaches the log."""
    draw = np.random.default_rng(seed)
    kinds = draw.choice(EVENT_TYPES, count)
    night = draw.integers(1, DAYS, count) * 86_400 + draw.normal(0, 1_500, count).astype(int)
    any_time = draw.integers(0, DAYS * 86_400, count)
    at = START + pd.to_timedelta(np.where(draw.random(count) < 0.5, night, any_time), unit="s")
    is_trade = np.isin(kinds, ("purchase", "return"))
    numbers = np.minimum(draw.zipf(1.5, count), customers)
    events = pd.DataFrame(
        {
            "customer_id": [f"c{number}" for number in numbers],
            "occurred_at": at,
            "event_type": kinds,
            "product_id": np.where(kinds == "contact", None, [f"p{number}" for number in draw.integers(0, 9, count)]),
            "query": np.where(kinds == "search", draw.choice(["cat  food", "Lamp", "desk"], count), None),
            "quantity": np.where(is_trade, draw.integers(1, 4, count), 1).astype(float),
            "unit_price": np.where(is_trade, draw.integers(100, 9_000, count) / 100, np.nan),
            "discount": np.where(is_trade & (draw.random(count) < 0.3), 0.5, np.nan),
            # Orders of many lines that span days, and purchases without an order.
            "order_id": np.where(
                is_trade & (draw.random(count) < 0.6),
                [f"o{number}-{day // 2}" for number, day in zip(numbers, at.day_of_year, strict=True)],
                None,
            ),
            "channel": draw.choice(["web", "app", "Shop"], count),
        }
    )
    late = np.where(draw.random(count) < 0.2, draw.random(count) * 2.9, 0.0)
    arrived = events.occurred_at + pd.to_timedelta(late, unit="D")
    products = pd.DataFrame(
        {"product_id": [f"p{n}" for n in range(8)], "category_path": [f"Home > C{n % 3} > D{n % 5}" for n in range(8)]}
    )
    events["arrived"] = arrived
    return events, products


def returns_before_purchases() -> pd.DataFrame:
    """Customers with two events: the return leaves the value-tier window before the order does."""
    returns = pd.DataFrame({"customer_id": [f"back{number}" for number in range(12)], "event_type": "return"})
    returns = returns.assign(occurred_at=START + pd.to_timedelta(23 + returns.index * 0.7, unit="D"), product_id="p1")
    returns = returns.assign(quantity=1.0, unit_price=5.0, channel="web")
    purchases = returns.assign(
        event_type="purchase", occurred_at=returns.occurred_at + timedelta(hours=40), unit_price=20.0
    )
    return pd.concat([returns, purchases]).assign(arrived=lambda rows: rows.occurred_at)


def small_params(folder: Path, *more: str) -> Params:
    return params_in(
        folder,
        folder,
        f"source.events.path={folder / 'log.parquet'}",
        f"history_days={HISTORY_DAYS}",
        "searches.min_customers=1",
        "interests.max_categories=3",
        "naming.season_days=4",
        "naming.min_group=1",
        "engine.threads=1",
        "checks.unknown_product={warn: 1.0, error: 1.0}",
        *more,
    )


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Params]:
    return lambda *more: small_params(tmp_path, *more)


@dataclass(frozen=True)
class NightResult:
    """The result of an update or a rebuild."""

    profiles: Profiles
    season_mix: np.ndarray
    messages: list[str] = field(default_factory=list)


class AllColumns(frozenset[str]):
    """A set of columns that contains every name, so all columns are fetched."""

    def __contains__(self, name: object) -> bool:
        return True


ALL_COLUMNS = AllColumns()


class Night:
    """One log over several nights, scored by update and by rebuild on each."""

    def __init__(self, params: Params, events: pd.DataFrame, products: pd.DataFrame) -> None:
        self.params, self.events, self.products = params, events, products
        self.folder = params.path(params.outputs.folder)
        self.shop: Any = None
        self.trained = params

    def write(self, as_of: datetime) -> None:
        """Write the log as of a date: events that have arrived, and some of the next day."""
        log = self.events[self.events.arrived < as_of + timedelta(days=1)]
        log = log[(log.arrived < as_of) | (log.occurred_at >= as_of)].drop(columns="arrived")
        log.to_parquet(self.params.path(self.params.source.events.path), coerce_timestamps="us")
        self.products.to_parquet(self.params.path(self.params.source.products.path))
        customer_ids = sorted(log[log.occurred_at < as_of].customer_id.unique())[::2]
        silent = [f"silent{number}" for number in range(as_of.day % 7)]
        pd.DataFrame({"customer_id": [*customer_ids, *silent]}).to_parquet(
            self.params.path(self.params.source.customers.path)
        )

    def at(self, as_of: datetime) -> Params:
        return self.params.model_copy(update={"as_of": pd.Timestamp(as_of, tz="UTC").to_pydatetime()})

    def rebuilt(self, as_of: datetime) -> NightResult:
        params = self.at(as_of)
        with connect(params.engine, folder=self.folder) as con:
            source = read_source(con, params, rejected_path=None)
            profiles = build_profiles(DuckDB(con), source, params, shop=self.shop, columns=ALL_COLUMNS)
            window = ObservationWindow(params.as_of, HISTORY_DAYS)
            mix = full_season_mix(source, profiles.shop.spec, params, window)
        return NightResult(profiles, mix)

    def updated(
        self,
        as_of: datetime,
        *,
        model_uri: str = "models:/kindred/1",
        save: bool = True,
        columns: Collection[str] = ALL_COLUMNS,
    ) -> NightResult:
        params = self.at(as_of)
        with connect(params.engine, folder=self.folder) as con:
            trained = self.trained.model_copy(update={"as_of": params.as_of})
            result = measure_incrementally(
                con,
                params,
                trained,
                shop=self.shop,
                model_uri=model_uri,
                rejected_path=None,
                progress=SILENT,
            )
            table = fetch_profiles(DuckDB(con), result.measures, trained, columns=columns)
            if save:
                result.commit()
            profiles = Profiles(table, self.shop, result.measures.new_categories, result.measures.query_counts)
            return NightResult(profiles, result.season_mix, result.summary_lines(len(table), 1))


def assert_same(result: NightResult, expected: NightResult) -> None:
    profiles, others = result.profiles, expected.profiles
    assert list(profiles.table) == list(others.table)
    pd.testing.assert_frame_equal(profiles.table, others.table, rtol=1e-9, atol=1e-9)
    # These columns do not age, so they must be equal to the last digit.
    kept = profiles.table.columns.str.startswith(("evidence", SHARE_PREFIX, SEASON_PREFIX))
    pd.testing.assert_frame_equal(profiles.table.loc[:, kept], others.table.loc[:, kept], check_exact=True)
    pd.testing.assert_frame_equal(profiles.new_categories, others.new_categories, check_dtype=False)
    np.testing.assert_array_equal(result.season_mix, expected.season_mix)
    (shares, top), (other_shares, other_top) = compared_with_the_shop(result), compared_with_the_shop(expected)
    np.testing.assert_allclose(shares, other_shares, rtol=1e-7)
    assert top == other_top and any(top)


def compared_with_the_shop(result: NightResult) -> tuple[np.ndarray, Any]:
    """Expected shares of all customers and categories, and the top categories compared with them."""
    table, spec, kappa = result.profiles.table, result.profiles.shop.spec, 8.0
    expected, rows = expected_shares_for_batch(table, spec, result.season_mix, kappa=kappa), np.arange(len(table))
    top = top_categories(table, spec, expected, max_count=3, min_lift=1.1, min_share=0.05)
    return np.array([expected.of(column, rows) for column in range(len(spec.cut.categories))]), top.to_pylist()


def start(params: Params, seed: int) -> Night:
    night = Night(params, *random_log(seed))
    first = START + timedelta(days=30)
    night.write(first)
    night.shop = night.rebuilt(first).profiles.shop
    return night


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A night with a saved state, to be copied."""
    folder = tmp_path_factory.mktemp("night")
    night = start(small_params(folder), 7)
    night.updated(START + timedelta(days=30))
    return night


@pytest.fixture
def saved(built: Night, small: Callable[..., Params], tmp_path: Path) -> Night:
    shutil.copytree(built.params.path(built.params.outputs.folder), tmp_path / "outputs", dirs_exist_ok=True)
    night = Night(small(), built.events, built.products)
    night.shop, night.trained = built.shop, built.trained
    return night


TIERS = (
    (),
    ("value.tier_days=6", "value.tier_by=order_count", "value.regular_quantile=0.2", "calendar.country=UA"),
    ("value.tier_days=6", "cards.timezone=Europe/Kyiv"),  # returns leave the value-tier window
)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "more"), list(enumerate(TIERS)))
def test_updates_give_what_a_rebuild_gives(small: Callable[..., Params], seed: int, more: tuple[str, ...]) -> None:
    night = start(small(*more), seed)
    night.events = pd.concat([night.events, returns_before_purchases()], ignore_index=True)
    draw = np.random.default_rng(seed)
    as_of = START + timedelta(days=30)
    night.write(as_of)
    assert "from the whole log" in night.updated(as_of).messages[0]
    for number, step in enumerate(draw.choice([1.0, 1.37, 2.5], 3)):
        as_of += timedelta(days=float(step))
        if number == 1:
            night.products = night.products.assign(category_path=night.products.category_path[::-1].to_numpy())
        if number == 2:
            new = pd.DataFrame({"product_id": ["p8"], "category_path": ["Garden > Tools"]})
            night.products = pd.concat([night.products, new], ignore_index=True)
        night.write(as_of)
        assert_same(night.updated(as_of), night.rebuilt(as_of))


@pytest.mark.slow
def test_customers_without_new_events_keep_interests_and_cool_down(small: Callable[..., Params]) -> None:
    """If a customer has no new events and none left the window, the shares are exactly the same."""
    night = start(small(), 5)
    before, after = START + timedelta(days=30), START + timedelta(days=36)
    events = night.events.assign(arrived=night.events.occurred_at)
    left = (events.occurred_at >= before - timedelta(days=HISTORY_DAYS)) & (events.occurred_at < before)
    stays = events.occurred_at >= after - timedelta(days=HISTORY_DAYS)
    came = events.occurred_at.between(before, after, inclusive="left")
    away = set(events.customer_id[left & stays]) - set(events.customer_id[(left & ~stays) | came])
    night.events = events
    night.write(after)
    first, later = (night.rebuilt(moment).profiles.table.set_index("customer_id") for moment in (before, after))
    names = sorted(name for name in away if first.evidence[name] > 0)
    assert len(names) > 5
    kept = first.columns.str.startswith(("evidence", SHARE_PREFIX, SEASON_PREFIX))
    pd.testing.assert_frame_equal(first.loc[names, kept], later.loc[names, kept], check_exact=True)
    assert (later.activity[names] < first.activity[names]).all()


def test_customers_whose_return_left_the_tier_window_are_measured_again(small: Callable[..., Params]) -> None:
    """Returns count within the value-tier window, as orders do; after that they are no longer deducted."""
    kinds = ["purchase", "return", "view", "return"]
    days = [START + timedelta(days=day) for day in (1.5, 1.5, 1.5, 9.0)]
    old = ibis.memtable(pd.DataFrame({"customer_id": list("abcd"), "event_type": kinds, "occurred_at": days}))
    before, now = (ObservationWindow((START + timedelta(days=day)).replace(tzinfo=UTC), 365.0) for day in (7, 8))
    left = customers_leaving_tier_window(old, before, now, small("value.tier_days=6"))
    assert sorted(left.to_pandas().customer_id) == ["a", "b"]
    assert not len(customers_leaving_tier_window(old, before, now, small()).to_pandas())


def test_only_requested_columns_are_fetched_with_the_same_values(saved: Night) -> None:
    as_of = START + timedelta(days=31)
    saved.write(as_of)
    whole = saved.rebuilt(as_of).profiles.table
    requested = {"customer_id", "spend", "lifecycle_stage", "days_since_last_purchase", "unknown column"}
    result = saved.updated(as_of, columns=requested).profiles.table
    assert set(result) == requested - {"unknown column"}
    pd.testing.assert_frame_equal(result, whole[list(result)], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_a_state_follows_links_and_exclusions(small: Callable[..., Params], tmp_path: Path) -> None:
    """With the same links and exclusions only new events are read; with others, everything."""
    links = pd.DataFrame({"customer_id": ["c1", "c2"], "alias_id": ["c7", "c9"]})
    links.to_csv(tmp_path / "links.csv", index=False)
    (tmp_path / "staff.txt").write_text("c3\n", encoding="utf-8")
    lists = (
        f"source.identities={{path: {tmp_path / 'links.csv'}}}",
        f"source.exclude.customer_ids={tmp_path / 'staff.txt'}",
    )
    night = start(small(*lists), 3)
    as_of, whole = START + timedelta(days=30), "State built from the whole log, as source.identities or source.exclude"
    night.updated(as_of)
    for number in range(4):
        as_of += timedelta(days=1)
        night.write(as_of)
        if number == 1:
            pd.concat([links, links.assign(alias_id=["c4", "c5"])]).to_csv(tmp_path / "links.csv", index=False)
        if number == 3:
            (tmp_path / "staff.txt").write_text("c3\nc6\n", encoding="utf-8")
        result = night.updated(as_of)
        assert any(text.startswith(whole) for text in result.messages) == (number in (1, 3))
        assert any("only events from" in text for text in result.messages) == (number in (0, 2))
        assert_same(result, night.rebuilt(as_of))
    assert not {"c3", "c6", "c4", "c5", "c7", "c9"} & {*result.profiles.table.customer_id}


@pytest.mark.slow
def test_rows_that_arrive_too_late_are_reported_and_not_counted(small: Callable[..., Params]) -> None:
    night = start(small(), 7)
    as_of = START + timedelta(days=30)
    night.updated(as_of)
    before = night.events
    very_late = before[before.occurred_at < as_of - timedelta(days=6)].head(3).assign(arrived=as_of)
    night.events = pd.concat([before, very_late])
    night.write(as_of + timedelta(days=1))
    result = night.updated(as_of + timedelta(days=1))
    assert any("Too late: 3 rows" in line for line in result.messages)
    assert any("only events from 2025-01-28" in line for line in result.messages)
    night.events = before
    night.write(as_of + timedelta(days=1))
    assert_same(result, night.rebuilt(as_of + timedelta(days=1)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("model", "comes from another model"),
        ("params", "trained with other parameters"),
        ("source", "a source with other settings"),
        ("truncated", "missing or damaged"),
        ("removed", "missing or damaged"),
        ("seasons", "missing or damaged"),
        ("layout", "comes from another version of Kindred"),
        ("manifest", "manifest is damaged"),
        ("manifest lacks", "manifest is damaged"),
        ("future", "cannot go back"),
        ("gap", "a gap: no events on 2025-01-28"),
        ("no news", "a gap: add the missing log"),
        ("nothing at all", "a gap: no events on 2025-01-28"),
        ("overlap", "There is an overlap"),
    ],
)
def test_refuses_a_state_that_does_not_fit(
    small: Callable[..., Params], saved: Night, damage: str, message: str
) -> None:
    night, as_of, model_uri = saved, START + timedelta(days=31), "models:/kindred/1"
    night.write(as_of)
    state = night.folder / FOLDER
    log = night.params.path(str(night.params.source.events.path))
    events = pd.read_parquet(log)
    measures = next(state.glob("measures-*"))
    if damage == "model":
        model_uri = "models:/kindred/2"
    elif damage == "params":
        night.trained = small("sessions.gap_minutes=45")
    elif damage == "source":
        night.params = small("source.events.timezone=Europe/Kyiv")
    elif damage == "truncated":
        measures.write_bytes(measures.read_bytes()[:-100])
    elif damage in ("removed", "seasons"):
        (measures if damage == "removed" else next(state.glob("seasons-*"))).unlink()
    elif damage == "manifest":
        (state / MANIFEST).write_text((state / MANIFEST).read_text()[:50])
    elif damage in ("manifest lacks", "layout"):
        manifest = json.loads((state / MANIFEST).read_text())
        del manifest["reread_from" if damage == "manifest lacks" else "seasons"]
        (state / MANIFEST).write_text(json.dumps(manifest | ({"layout": 6} if damage == "layout" else {})))
    elif damage == "future":
        as_of -= timedelta(days=2)
    elif damage == "gap":
        events[events.occurred_at.dt.day_of_year != 28].to_parquet(log)
    elif damage == "nothing at all":
        events[events.occurred_at < START + timedelta(days=27)].to_parquet(log)
    elif damage == "no news":
        as_of += timedelta(days=3)
        events[events.occurred_at < START + timedelta(days=30)].to_parquet(log)
    else:
        pd.concat([events, events]).to_parquet(log)
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    with pytest.raises(UserError, match=message):
        night.updated(as_of, model_uri=model_uri)
    assert {path.name: path.read_bytes() for path in state.iterdir()} == before


def test_a_silent_night_is_reported_and_its_events_count_when_they_arrive(saved: Night) -> None:
    log = saved.params.path(str(saved.params.source.events.path))
    for days, message in ((1, "No events from 2025-01-31"), (2, "No events from 2025-02-01"), (3, None)):
        as_of = START + timedelta(days=30 + days)
        saved.write(as_of)
        if message:
            events = pd.read_parquet(log)
            events[events.occurred_at < START + timedelta(days=30)].to_parquet(log)
        result = saved.updated(as_of)
        assert (
            any(message in line for line in result.messages)
            if message
            else not any("No events" in line for line in result.messages)
        )
        assert_same(result, saved.rebuilt(as_of))


def test_small_files_are_merged_into_one(saved: Night) -> None:
    counts = []
    for days in range(1, 5):
        as_of = START + timedelta(days=30) + timedelta(hours=6 * days)
        saved.write(as_of)
        assert_same(saved.updated(as_of), saved.rebuilt(as_of))
        counts.append(len(json.loads((saved.folder / FOLDER / MANIFEST).read_text())["measures"]))
    assert max(counts) > 1 and counts != sorted(counts), counts


def test_other_files_in_the_folder_are_kept(saved: Night) -> None:
    as_of = START + timedelta(days=31)
    saved.write(as_of)
    folder = saved.folder / FOLDER
    (folder / "notes.txt").write_text("mine")
    (folder / "kept").mkdir()
    saved.updated(as_of)
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "kept").is_dir()


def test_the_description_of_a_source_contains_no_password(small: Callable[..., Params]) -> None:
    first, second = (
        small("source.events.path=null", f"source.events.query=select * from read('s3://b?secret_key={word}')")
        for word in ("one", "two")
    )
    assert source_fingerprint(first) == source_fingerprint(second) == source_fingerprint(first.redacted())


def test_a_crash_leaves_the_old_state(saved: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    as_of = START + timedelta(days=31)
    saved.write(as_of)
    result = None
    write_json = files.write_json
    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(files, "write_json", lambda path, value: (_ for _ in ()).throw(RuntimeError("power")))
        saved.updated(as_of)
    assert files.write_json is write_json
    manifest = json.loads((saved.folder / FOLDER / MANIFEST).read_text())
    assert manifest["as_of"].startswith("2025-01-31")
    result = saved.updated(as_of)
    assert_same(result, saved.rebuilt(as_of))
    manifest = json.loads((saved.folder / FOLDER / MANIFEST).read_text())
    named = {MANIFEST, *(entry["file"] for entry in manifest["measures"])}
    named |= {manifest[name]["file"] for name in ("products", "seasons")}
    assert {path.name for path in (saved.folder / FOLDER).iterdir()} == named | {p["file"] for p in manifest["events"]}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (saved.folder / FOLDER).glob("*.parquet"))


def test_scores_of_an_update_equal_those_of_a_rebuild(trained: tuple[Params, TrainingResult], tmp_path: Path) -> None:
    params, result = trained
    params = params.model_copy(update={"outputs": params.outputs.model_copy(update={"folder": str(tmp_path)})})
    for days in (0, 1):
        later = params.model_copy(update={"as_of": params.as_of + timedelta(days=days)})
        result = score(later, model_uri=result.model_uri, out=tmp_path / "a.parquet", progress=SILENT, update=True)
    expected = score(later, model_uri=result.model_uri, out=tmp_path / "b.parquet", progress=SILENT)
    updated, rebuilt = (pq.read_table(scores.path).to_pandas() for scores in (result, expected))
    assert {"segment_id", "interest_segment_id", "activity"} <= set(updated)
    pd.testing.assert_frame_equal(updated, rebuilt, rtol=1e-9, atol=1e-9)
    assert "Updated" in result.as_text()


def test_repeating_an_update_at_the_same_time_changes_nothing(
    trained: tuple[Params, TrainingResult], tmp_path: Path
) -> None:
    """Without late_days there is nothing to read again, as after a crash between writing scores and state."""
    params, result = trained
    params = params.model_copy(
        update={
            "outputs": params.outputs.model_copy(update={"folder": str(tmp_path)}),
            "score": params.score.model_copy(update={"late_days": 0.0}),
        }
    )
    first, again = (
        pq.read_table(
            score(params, model_uri=result.model_uri, out=tmp_path / "a.parquet", progress=SILENT, update=True).path
        )
        for _ in range(2)
    )
    assert again.equals(first)
