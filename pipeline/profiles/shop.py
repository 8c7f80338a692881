"""What is learned about the shop at training, and kept with the model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from features.profile import ProfileSpec
from models.queries import QueryModel
from pipeline.config.errors import UserError
from pipeline.config.params import Params, params_from_json

FORMULA, FORMULA_FILE = 3, "formula.json"
"""Which formula of `features.interests` the clusters of a model rest on; models of before name none."""


@dataclass(frozen=True)
class Shop:
    """What is learned about the shop at training, and kept with the model.

    Attributes
    ----------
    spec : ProfileSpec
        Columns of the profile.
    queries : QueryModel
        P(category | query), of queries that enough customers typed and of those like them.
    known_categories : DataFrame
        category: every one seen at training, at the level of the cut.
    """

    spec: ProfileSpec
    queries: QueryModel
    known_categories: pd.DataFrame


def save_shop(shop: Shop, params: Params, folder: Path) -> None:
    """Write what scoring needs beside the clusters: spec, parameters, P(category | query), known categories."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(shop.spec.to_json(), encoding="utf-8")
    text = json.dumps(params.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    (folder / "params.json").write_text(text, encoding="utf-8")
    (folder / FORMULA_FILE).write_text(json.dumps(FORMULA), encoding="utf-8")
    shop.queries.save(folder)
    shop.known_categories.to_parquet(folder / "known_categories.parquet", index=False)


def load_shop(folder: Path, params_folder: Path) -> tuple[Shop, Params]:
    """The shop as a model knows it, and the parameters the model was trained with.

    Raises
    ------
    UserError
        Another version of Kindred trained the model.
    """
    # First of all, since these say whether another version wrote the rest.
    trained = params_from_json((folder / "params.json").read_text(encoding="utf-8"), params_folder)
    formula = folder / FORMULA_FILE
    if not formula.exists() or json.loads(formula.read_text(encoding="utf-8")) != FORMULA:
        raise UserError(
            "expected a model of this version of Kindred; its interests are reckoned by another formula. Train again, "
            "or score with the version that trained it."
        )
    shop = Shop(
        ProfileSpec.from_json((folder / "spec.json").read_text(encoding="utf-8")),
        QueryModel.load(folder),
        pd.read_parquet(folder / "known_categories.parquet"),
    )
    return shop, trained
