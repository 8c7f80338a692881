"""The catalogue of the simulated shop: leaf categories with products, prices, popularity and weekly offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from pipeline.simulate.draws import Array, Floats, Ints
from pipeline.simulate.personas import OFFER_DISCOUNTS, OFFER_SHARE, SALE_MONTHS

SEPARATOR = " > "
PRODUCTS_PER_LEAF = (16, 41)
BRANDS = 40


@dataclass(frozen=True)
class Catalogue:
    """Second-level categories, leaves and products, each numbered so that children of a parent are adjacent.

    Attributes
    ----------
    second_paths, leaf_paths : tuple of str
    second_roots, seasons, popularity, returns : by second level
    first_leaf, leaf_counts : by second level
    leaf_seconds : by leaf
    product_leaves, prices, brands : by product
    shelf : by product
        Index of the leaf plus the cumulative share of its sales, so that a uniform draw in a leaf finds a product.
    offers : (weeks, products)
        Discount in that week, as a share of the price; 0 for most.
    words : tuple of mapping
        Language -> words: for the second levels, then the leaves, then the vague words.
    """

    second_paths: tuple[str, ...]
    leaf_paths: tuple[str, ...]
    second_roots: Ints
    seasons: tuple[str, ...]
    popularity: Floats
    returns: Floats
    first_leaf: Ints
    leaf_counts: Ints
    leaf_seconds: Ints
    product_leaves: Ints
    prices: Floats
    brands: Ints
    shelf: Floats
    offers: Floats
    words: tuple[Mapping[str, list[str]], ...]

    def product_ids(self) -> list[str]:
        """Identifiers of all products."""
        return [f"p{number:05}" for number in range(len(self.prices))]

    def products_of(self, leaves: Array, positions: Floats) -> Ints:
        """The product at each position, 0 to 1, of a leaf's shelf."""
        return np.minimum(np.searchsorted(self.shelf, leaves + positions, side="right"), len(self.shelf) - 1)

    def as_table(self) -> pa.Table:
        """Products as a table (product_id, category_path, brand, price)."""
        return pa.table(
            {
                "product_id": self.product_ids(),
                "category_path": pa.array(self.leaf_paths).take(pa.array(self.product_leaves)),
                "brand": [f"Brand {number + 1:02}" for number in self.brands.tolist()],
                "price": self.prices,
            }
        )


@cache
def _source() -> dict[str, Any]:
    text = (Path(__file__).parent / "catalogue.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def make_catalogue(generator: np.random.Generator, *, starts_at: datetime, days: int) -> Catalogue:
    """Build the catalogue from catalogue.yaml, with random products for each leaf."""
    source = _source()
    seconds = [
        (number, f"{root}{SEPARATOR}{name}", settings)
        for number, (root, below) in enumerate(source["categories"].items())
        for name, settings in below.items()
    ]
    leaves = [
        (number, f"{path}{SEPARATOR}{name}", leaf)
        for number, (_, path, settings) in enumerate(seconds)
        for name, leaf in settings["leaves"].items()
    ]
    leaf_counts = np.array([len(settings["leaves"]) for *_, settings in seconds])
    products_per_leaf = generator.integers(*PRODUCTS_PER_LEAF, len(leaves))
    product_leaves = np.repeat(np.arange(len(leaves)), products_per_leaf)
    count = len(product_leaves)
    middle = np.array([leaf["price"] for *_, leaf in leaves], dtype=np.float64)[product_leaves]
    return Catalogue(
        second_paths=tuple(path for _, path, _ in seconds),
        leaf_paths=tuple(path for _, path, _ in leaves),
        second_roots=np.array([root for root, *_ in seconds]),
        seasons=tuple(settings["season"] for *_, settings in seconds),
        popularity=np.array([settings["popularity"] for *_, settings in seconds], dtype=np.float64),
        returns=np.array([settings["returns"] for *_, settings in seconds], dtype=np.float64),
        first_leaf=np.cumsum(leaf_counts) - leaf_counts,
        leaf_counts=leaf_counts,
        leaf_seconds=np.array([second for second, *_ in leaves]),
        product_leaves=product_leaves,
        prices=np.maximum(np.round(middle * generator.lognormal(0.0, 0.4, count)) - 0.01, 0.99),
        brands=np.floor(BRANDS * generator.random(count) ** 2).astype(np.int64),
        shelf=_shelf(generator, product_leaves, len(leaves)),
        offers=_offers(generator, count, starts_at, days),
        words=(
            *(settings["words"] for *_, settings in seconds),
            *(leaf["words"] for *_, leaf in leaves),
            source["vague"],
        ),
    )


def _shelf(generator: np.random.Generator, product_leaves: Ints, leaf_count: int) -> Floats:
    """Long-tailed popularity of products within each leaf."""
    popularity = generator.pareto(1.2, len(product_leaves)) + 0.08
    total = np.bincount(product_leaves, popularity, minlength=leaf_count)
    before = np.cumsum(total) - total
    return np.asarray(product_leaves + (np.cumsum(popularity) - before[product_leaves]) / total[product_leaves])


def _offers(generator: np.random.Generator, count: int, starts_at: datetime, days: int) -> Floats:
    weeks = days // 7 + 1
    months = [(starts_at + timedelta(days=7 * week)).month for week in range(weeks)]
    shares = np.array([SALE_MONTHS.get(month, OFFER_SHARE) for month in months])
    is_on_offer = generator.random((weeks, count)) < shares[:, None]
    return np.where(is_on_offer, generator.choice(OFFER_DISCOUNTS, (weeks, count)), 0.0)
