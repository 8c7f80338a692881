"""Each preset on an invented export in the shape of a real one: what `kindred init` writes is read as in pandas."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from pipeline.commands.check import check
from pipeline.commands.init import init
from pipeline.config.errors import UserError
from pipeline.config.load import load_params
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.stores.database import connect
from tests.pipeline.presets.invented import EVENT_COLUMNS, EXPORTS


def read_events(params_file: Path) -> pd.DataFrame:
    params = load_params(params_file)
    with connect(params.engine, folder=params_file.parent / "work") as con:
        return read_source(con, params, rejected_path=None).events.to_pandas()


def in_order(events: pd.DataFrame) -> pd.DataFrame:
    events = events[EVENT_COLUMNS].copy()
    events["occurred_at"] = pd.to_datetime(events["occurred_at"]).astype("datetime64[us]")
    for name in ("customer_id", "event_type", "product_id", "order_id"):
        events[name] = events[name].astype(object).where(events[name].notna(), None)
    return events.sort_values([*EVENT_COLUMNS[:4], "quantity", "unit_price"]).reset_index(drop=True)


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_recognised_and_read_as_in_pandas(name: str, tmp_path: Path) -> None:
    preset, write = EXPORTS[name]
    (tmp_path / "export").mkdir()
    expected = write(tmp_path / "export")
    out = tmp_path / "shop.yaml"
    places = [tmp_path / "export"]
    recognised = init(places, preset=None, out=out, overwrite=False, progress=SILENT)
    described = out.read_bytes()
    text = init(places, preset=preset, out=out, overwrite=True, progress=SILENT)
    assert text == recognised and out.read_bytes() == described
    found = in_order(read_events(out))
    pd.testing.assert_frame_equal(found, in_order(expected), check_dtype=False, rtol=1e-12)
    midnight = expected["occurred_at"].max().normalize() + pd.Timedelta(days=1)
    assert load_params(out).as_of == midnight.tz_localize("UTC")
    totals = {f"{count:,} {kind}" for kind, count in expected["event_type"].value_counts().items()}
    checked = check(load_params(out), progress=SILENT)
    for printed in (text, checked):
        events_line = next(line for line in printed.splitlines() if line.startswith("Events  "))
        assert set(events_line.removeprefix("Events").strip().split(", ")) == totals
        assert f" {expected['customer_id'].nunique()}" in next(
            line for line in printed.splitlines() if line.startswith("Customers")
        )
    assert "example.org" not in text


def test_customers_with_only_voided_orders_of_shopify_are_unknown(tmp_path: Path) -> None:
    expected = EXPORTS["shopify"][1](tmp_path)
    table = pd.read_csv(tmp_path / "orders_export.csv", dtype=str)
    order = table["Name"].map(table.groupby("Name")["Email"].first()).str.lower()
    left_out = order == order.iloc[0]
    table.loc[left_out & table["Financial Status"].notna(), "Financial Status"] = "voided"
    table.to_csv(tmp_path / "orders_export.csv", index=False)
    out = tmp_path / "shop.yaml"
    text = init([tmp_path], preset=None, out=out, overwrite=False, progress=SILENT)
    customers = set(read_events(out)["customer_id"])
    assert customers == {*expected["customer_id"]} - {order.iloc[0]}
    assert re.search(rf"Cancelled +{left_out.sum()}  \(left out\)", text)


def test_a_grid_without_addresses_says_how_to_export_again(tmp_path: Path) -> None:
    EXPORTS["magento, grid"][1](tmp_path)
    table = pd.read_csv(tmp_path / "orders.csv", dtype=str).drop(columns="Customer Email")
    table.to_csv(tmp_path / "orders.csv", index=False)
    with pytest.raises(
        UserError, match=r"expected a column Customer Email. Show the column Customer Email in the grid"
    ):
        init([tmp_path], preset=None, out=tmp_path / "shop.yaml", overwrite=False, progress=SILENT)
