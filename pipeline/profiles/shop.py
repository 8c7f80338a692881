"""The shop: what training learned about it and stores with the model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from features.profile import ProfileSpec
from models.queries import QueryModel
from pipeline.config.errors import UserError
from pipeline.config.params import Params, params_from_json

FORMULA_VERSION, FORMULA_FILE = 3, "formula.json"
"""Version of the `features.interests` formula behind a model's clusters; the oldest models do not record it."""


@dataclass(frozen=True)
class Shop:
    """What training learned about the shop; stored with the model.

    Attributes
    ----------
    spec : ProfileSpec
        The columns of the profile.
    queries : QueryModel
        P(category | query) for frequent queries and for similar ones.
    known_categories : DataFrame
        category: all categories seen at training, at the level of the cut.
    """

    spec: ProfileSpec
    queries: QueryModel
    known_categories: pd.DataFrame


def save_shop(shop: Shop, params: Params, folder: Path) -> None:
    """Write what scoring needs besides the clusters: spec, parameters, P(category | query) and known categories."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(shop.spec.to_json(), encoding="utf-8")
    text = json.dumps(params.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    (folder / "params.json").write_text(text, encoding="utf-8")
    (folder / FORMULA_FILE).write_text(json.dumps(FORMULA_VERSION), encoding="utf-8")
    shop.queries.save(folder)
    shop.known_categories.to_parquet(folder / "known_categories.parquet", index=False)


def load_shop(folder: Path, params_folder: Path) -> tuple[Shop, Params]:
    """The shop and the parameters that a model was trained with.

    Raises
    ------
    UserError
        Another version of Kindred trained the model.
    """
    # Read first: it fails with a clear message if another version wrote the model.
    trained = params_from_json((folder / "params.json").read_text(encoding="utf-8"), params_folder)
    formula = folder / FORMULA_FILE
    if not formula.exists() or json.loads(formula.read_text(encoding="utf-8")) != FORMULA_VERSION:
        raise UserError(
            "expected a model trained with this version of Kindred, but its interests use another formula. "
            "Train again, or score with the version that trained it."
        )
    shop = Shop(
        ProfileSpec.from_json((folder / "spec.json").read_text(encoding="utf-8")),
        QueryModel.load(folder),
        pd.read_parquet(folder / "known_categories.parquet"),
    )
    return shop, trained
