"""Categories that got another name: aliases, and the warning that points a new name out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipeline.config.load import load_params
from pipeline.ingest.source import Source, read_source
from pipeline.stores.database import connect

PARAMS = Path(__file__).parents[3] / "params.yaml"
DAYS = [f"2025-05-{day:02}" for day in range(1, 24, 3)]
ALIAS = "source.category_aliases"


def read(folder: Path, events: pd.DataFrame, *overrides: str) -> tuple[Source, list[str | None]]:
    """The source of a log, and the categories of its events and products, sorted."""
    events.to_parquet(folder / "log.parquet")
    settings = ("source.products=null", "source.customers=null", f"source.events.path={folder / 'log.parquet'}")
    params = load_params(PARAMS, [*settings, *overrides])
    with connect(params.engine, folder=folder / "work") as con:
        source = read_source(con, params, rejected_path=None)
        table = source.events if source.products is None else source.products
        paths = table.select("category_path").distinct().to_pyarrow().to_pydict()["category_path"]
    return source, sorted(paths, key=str)


def log(categories: dict[str, list[str | None]]) -> pd.DataFrame:
    """One view of each product on each of `DAYS`; product -> its category then, None where it is not seen."""
    rows = [
        {"product_id": product, "occurred_at": day, "category_path": path}
        for product, paths in categories.items()
        for day, path in zip(DAYS, paths, strict=True)
        if path is not None
    ]
    return pd.DataFrame(rows).assign(customer_id="c", event_type="view")


def renamed(before: str, after: str, views: int, products: int, start: int = 0) -> dict[str, list[str | None]]:
    paths: list[str | None] = [before] * views + [after] * (len(DAYS) - views)
    return {f"p{number}": paths for number in range(start, start + products)}


def test_aliases_rename_a_category_of_events_and_all_below_it(tmp_path: Path) -> None:
    paths = ["Pets", "pets > Cats > Food", "Petshop", "Toys > Pets", "Toys"]
    events = log({path: [path] * len(DAYS) for path in paths})
    _, found = read(tmp_path, events, f"{ALIAS}={{'Pets': 'Animals', 'Pets > Cats': 'Animals > Felines'}}")
    assert found == ["Animals", "Animals > Felines > Food", "Petshop", "Toys", "Toys > Pets"]


def test_aliases_have_the_separator_of_the_source(tmp_path: Path) -> None:
    events = log({"p": ["Pets.Cats.Food"] * len(DAYS)})
    _, found = read(tmp_path, events, "source.category_separator=.", f"{ALIAS}={{'Pets.Cats': 'Felines'}}")
    assert found == ["Felines > Food"]


def test_an_alias_is_not_applied_to_the_result_of_another(tmp_path: Path) -> None:
    events = log({"p": ["A"] * len(DAYS), "q": ["B"] * len(DAYS)})
    _, found = read(tmp_path, events, f"{ALIAS}={{A: B, B: A}}")
    assert found == ["A", "B"]


@pytest.mark.parametrize("levels", [("Pets", "Cats", None), ("Pets", "Cats", "Food")])
def test_aliases_rename_the_categories_of_products(tmp_path: Path, levels: tuple[str | None, ...]) -> None:
    names = {f"level_{number}": [name] for number, name in enumerate(levels, start=1)}
    pd.DataFrame({"product_id": ["p"], **names}).to_parquet(tmp_path / "products.parquet")
    table = f"source.products={{path: {tmp_path / 'products.parquet'}}}"
    events = log({"p": [None] * 7 + ["x"]}).drop(columns="category_path")
    _, found = read(tmp_path, events, table, f"{ALIAS}={{'Pets > Cats': 'Felines'}}")
    assert found == [" > ".join(["Felines", *filter(None, levels[2:])])]


def test_a_new_name_is_pointed_out_with_the_date_and_the_key(tmp_path: Path) -> None:
    source, _ = read(tmp_path, log(renamed("Cats", "Felines", views=4, products=5)))
    [warning] = _pointed_out(source)
    assert "'Cats' ends and 'Felines' begins on 2025-05-13, with 5 products" in warning
    assert warning.endswith('add source.category_aliases: {"Cats": "Felines"}')
    source, found = read(
        tmp_path, log(renamed("Cats", "Felines", views=4, products=5)), f'{ALIAS}={{"Cats": "Felines"}}'
    )
    assert found == ["Felines"]
    assert not _pointed_out(source)


def test_a_new_name_of_a_higher_level_is_pointed_out_once(tmp_path: Path) -> None:
    products = renamed("Pets > Cats > Food", "Animals > Cats > Food", 4, 3)
    products |= renamed("Pets > Dogs", "Animals > Dogs", 4, 4, start=3)
    source, _ = read(tmp_path, log(products))
    [warning] = _pointed_out(source)
    assert warning.endswith('{"Pets": "Animals"}')
    assert "with 7 products" in warning


def test_a_higher_level_that_goes_on_keeps_its_name(tmp_path: Path) -> None:
    products = renamed("Pets > Cats > Food", "Animals > Cats > Food", 4, 3)
    products |= renamed("Pets > Dogs", "Pets > Dogs", 4, 4, start=3)
    source, _ = read(tmp_path, log(products))
    [warning] = _pointed_out(source)
    assert warning.endswith('{"Pets > Cats": "Animals > Cats"}')


SEASONAL: dict[str, list[str | None]] = {
    **{f"s{number}": ["Christmas"] * 3 + [None] * 5 for number in range(5)},
    **{f"e{number}": [None] * 3 + ["Easter"] * 5 for number in range(5)},
    **{f"b{number}": ["Christmas"] * 3 + ["Easter"] * 5 for number in range(3)},
}


@pytest.mark.parametrize(
    "categories",
    [
        SEASONAL,
        # A season that comes and goes: the products return to where they were.
        {f"p{n}": ["Gifts"] * 3 + ["Christmas"] * 2 + ["Gifts"] * 3 for n in range(5)},
        # One product is moved; its old category goes on, or had nothing else.
        renamed("Cats", "Cats", 4, 5) | {"moved": ["Cats"] * 4 + ["Dogs"] * 4},
        renamed("Cats", "Dogs", 4, 1),
        # All are moved into a category that was there before.
        renamed("Cats", "Dogs", 4, 5) | renamed("Dogs", "Dogs", 4, 5, start=5),
        # A category ends, and its products are spread over others.
        renamed("Cats", "Dogs", 4, 3) | renamed("Cats", "Birds", 4, 3, start=3),
    ],
    ids=["two seasons", "a season", "a product", "the only product", "merged", "split"],
)
def test_what_is_no_new_name_is_not_pointed_out(tmp_path: Path, categories: dict[str, list[str | None]]) -> None:
    source, _ = read(tmp_path, log(categories))
    assert not _pointed_out(source)


def _pointed_out(source: Source) -> list[str]:
    return [text for text in source.summary.warnings if "category_aliases" in text]
