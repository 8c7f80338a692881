"""The table of observed events: some texts are numbers in it, and expressions still see texts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from features.events import ObservationWindow
from pipeline.config.load import load_params
from pipeline.ingest.source import read_source
from pipeline.profiles.prepare_events import MAX_CHANNEL_CODES, prepare_events
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB
from tests.conftest import PARAMS


def observed_channels(folder: Path, channels: list[str | None]) -> tuple[dict[str | None, int], str]:
    """Events by channel, and the type of the column in the database."""
    rows = range(len(channels))
    times = pd.Timestamp("2025-10-01", tz="UTC") + pd.to_timedelta([float(row) for row in rows], unit="min")
    events = pd.DataFrame({"customer_id": "c", "occurred_at": times, "event_type": "view", "product_id": "p"})
    events.assign(channel=channels).to_parquet(folder / "log.parquet", coerce_timestamps="us")
    sources = ["source.customers=null", "source.products=null", f"source.events.path={folder / 'log.parquet'}"]
    params = load_params(PARAMS, ["as_of=2025-11-01T00:00:00Z", *sources])
    window = ObservationWindow(params.as_of, params.history_days)
    with connect(params.engine, folder=folder / "work") as con:
        observed = prepare_events(DuckDB(con), read_source(con, params, rejected_path=None), params, window).observed
        assert con.to_pandas(observed.filter(observed.event_type == "view").count()) == len(channels)
        kind = con.con.execute("select typeof(channel) from observed_events limit 1").fetchone()[0]
        counts = con.to_pandas(observed.group_by("channel").aggregate(events=observed.count()))
    names = [None if pd.isna(name) else name for name in counts.channel]
    return dict(zip(names, counts.events.tolist(), strict=True)), kind


def test_channels_are_in_lower_case_and_numbered(tmp_path: Path) -> None:
    counts, kind = observed_channels(tmp_path, ["Web", "web", "it's ours", None, "APP"])
    assert counts == {"web": 2, "it's ours": 1, None: 1, "app": 1}
    assert kind.startswith("ENUM")


def test_free_texts_as_channels_stay_texts(tmp_path: Path) -> None:
    channels = [f"Campaign {number}" for number in range(MAX_CHANNEL_CODES + 1)]
    counts, kind = observed_channels(tmp_path, [*channels, None])
    assert counts == {**{channel.lower(): 1 for channel in channels}, None: 1}
    assert kind == "VARCHAR"


def test_a_log_without_channels(tmp_path: Path) -> None:
    assert observed_channels(tmp_path, [None, None]) == ({None: 2}, "VARCHAR")
