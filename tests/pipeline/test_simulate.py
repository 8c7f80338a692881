from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.outputs import file_digest
from pipeline.params import UserError
from pipeline.simulate import simulate


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): file_digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    made = [tmp_path / name / "shop" for name in "abc"]
    for folder, seed in zip(made, (1, 1, 2), strict=True):
        simulate(folder, customers=200, days=120, seed=seed)
    first, second, other = map(digests, made)
    assert first == second
    assert first["events/part-00000.parquet"] != other["events/part-00000.parquet"]


@pytest.fixture(scope="module")
def by_kind(shop: Path) -> dict[str, dict[str, Any]]:
    found = duckdb.sql(
        f"""select kind, count(distinct t.customer_id) as customers, count(event_type) as events,
                   count(*) filter (event_type = 'purchase') as purchases, count(*) filter (event_type = 'cart') as carts,
                   count(*) filter (event_type = 'return') as returns,
                   count(*) filter (event_type = 'purchase' and discount > 0) as discounted,
                   max(occurred_at) filter (occurred_at < timestamptz '2030-01-01') as last_at
            from '{shop}/truth_customers.parquet' t left join '{shop}/events/*.parquet' e using (customer_id)
            group by kind"""
    ).to_arrow_table()
    return {row["kind"]: row for row in found.to_pylist()}


def test_planted_kinds_do_what_they_are(by_kind: dict[str, dict[str, Any]]) -> None:
    assert len(by_kind) == 12
    assert by_kind["browser"]["purchases"] == 0
    assert by_kind["silent"]["events"] == 0
    abandoner, hunter, returner = (by_kind[name] for name in ("cart_abandoner", "bargain_hunter", "heavy_returner"))
    assert abandoner["carts"] > 5 * abandoner["purchases"]
    assert hunter["discounted"] / hunter["purchases"] > 0.75
    assert returner["returns"] / returner["purchases"] > 0.3
    assert (
        by_kind["vip"]["purchases"] / by_kind["vip"]["customers"]
        > 3 * by_kind["regular"]["purchases"] / by_kind["regular"]["customers"]
    )
    assert str(by_kind["lost"]["last_at"]) < "2025-03-10"


def test_most_visitors_do_little(shop: Path) -> None:
    few, all_of_them = duckdb.sql(
        f"""select count(*) filter (n <= 2), count(*) from
            (select count(*) as n from '{shop}/events/*.parquet' where customer_id is not null group by customer_id)"""
    ).fetchone() or (0, 1)
    assert few / all_of_them > 0.4


def test_searches_are_in_four_languages_and_some_mistyped(shop: Path) -> None:
    found = duckdb.sql(
        f"""select language, avg(is_typo::int) as typos, count(*) as n from '{shop}/events/*.parquet'
            join '{shop}/truth_queries.parquet' using (query) where event_type = 'search' group by language"""
    ).df()
    assert set(found.language) == {"en", "uk", "ru", "sq"}
    assert found.typos.between(0.05, 0.2).all()


def test_dirt_is_counted(shop: Path) -> None:
    told = json.loads((shop / "shop.json").read_text())["dirty"]
    missing, late, negative, unknown = (
        duckdb.sql(
            f"""select count(*) filter (customer_id is null), count(*) filter (occurred_at > timestamptz '2100-01-01'),
                   count(*) filter (unit_price < 0), count(*) filter (product_id = 'p99999')
            from '{shop}/events/*.parquet'"""
        ).fetchone()
        or ()
    )
    assert missing >= told["missing_customer_id"] > 0
    assert late >= told["time_out_of_range"] > 0
    assert negative >= told["negative_price"] > 0
    assert unknown >= told["unknown_product"] > 0


def test_csv_has_broken_encodings(tmp_path: Path) -> None:
    simulate(tmp_path / "shop", customers=300, days=120, seed=1, file_format="csv")
    with pytest.raises(UnicodeDecodeError):
        (tmp_path / "shop" / "events" / "part-00000.csv").read_text(encoding="utf-8")


def test_new_customers_arrive_after_training(shop: Path) -> None:
    count = duckdb.sql(f"select count(*) from '{shop}/truth_customers.parquet' where is_new_after_training").fetchone()
    assert (count or (0,))[0] > 30


def test_another_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="holds other files"):
        simulate(tmp_path / "mine", customers=10, days=100, seed=1)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
