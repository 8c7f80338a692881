"""Which registered models hold rows of customers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.stores.local.work_folders import temporary_folder
from pipeline.stores.mlflow_runs import RunStore
from pipeline.stores.model_files import MODEL_FOLDER, read_numbers
from pipeline.stores.store_errors import TrackingError


@dataclass(frozen=True)
class ModelRows:
    """A version of the registered model that holds rows of customers.

    Attributes
    ----------
    facets : dict of str to int
        Facet -> rows that HDBSCAN's model votes with: profiles as points, without ids.
    """

    version: str
    aliases: tuple[str, ...]
    facets: dict[str, int]


def models_with_rows(store: RunStore) -> list[ModelRows]:
    """Versions of the registered model that hold rows of customers, the oldest first."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    client, name = store.client, store.model_name
    registered = client.search_registered_models(f"name = '{name}'")
    aliases = dict(registered[0].aliases) if registered else {}
    found = []
    for version in sorted(client.search_model_versions(f"name = '{name}'"), key=lambda each: int(each.version)):
        with temporary_folder() as place:
            try:
                uri = f"models:/{name}/{version.version}/artifacts/{MODEL_FOLDER}"
                facets = read_numbers(Path(download_artifacts(uri, dst_path=str(place))), uri)["facets"]
            except (MlflowException, OSError, TrackingError):  # its files were deleted or damaged
                continue
        rows = {facet["name"]: len(facet["clusters"]["exemplars"]) for facet in facets if _has_rows(facet)}
        own = tuple(sorted(alias for alias, number in aliases.items() if str(number) == str(version.version)))
        if rows:
            found.append(ModelRows(str(version.version), own, rows))
    return found


def _has_rows(facet: dict[str, Any]) -> bool:
    return "exemplars" in facet["clusters"]
