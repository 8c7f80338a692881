"""A model as scoring uses it: its segments, the shop it knows, and the parameters it was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of
from pipeline.config.params import Params
from pipeline.profiles.shop import Shop, load_shop
from pipeline.stores import mlflow_runs, model_registry
from pipeline.stores.model_files import LoadedModel
from pipeline.stores.store_errors import TrackingError
from pipeline.stores.workspace import Workspace


@dataclass(frozen=True)
class TrainedModel:
    """A model, opened.

    Attributes
    ----------
    model : LoadedModel
    shop : Shop
        What training learned about the shop.
    params : Params
        Those of the training.
    """

    model: LoadedModel
    shop: Shop
    params: Params

    @property
    def facets(self) -> list[Facet]:
        """The model's facets."""
        return facets_of(self.params)

    @property
    def prefixes(self) -> list[str]:
        """Prefix of the segment columns, for each facet."""
        return [facet.column_prefix for facet in self.facets]

    def params_at(self, as_of: datetime) -> Params:
        """The parameters of the training, as of another moment."""
        return self.params.model_copy(update={"as_of": as_of})


def open_model(session: Workspace, uri: str) -> TrainedModel:
    """The model at ``uri``, from the MLflow store.

    Raises
    ------
    UserError
        There is none, or another version of Kindred trained it.
    """
    model = model_registry.load_model(session.store, uri)
    try:
        shop, trained = load_shop(model.shop_folder, session.params.folder)
    except UserError:
        raise
    except Exception as error:  # what a damaged file raises depends on the damage
        raise UserError(
            f"{model.uri}: expected what the model learned about the shop, but its files are damaged "
            f"({type(error).__name__}). Restore them from a backup, or train again."
        ) from None
    return TrainedModel(model, shop, trained)


@dataclass(frozen=True)
class SegmentAtTraining:
    """A segment as the training run reported it; ``rule`` is the segment as a readable rule, if it has one."""

    customer_share: float
    rule: str | None


def segments_at_training(session: Workspace, trained: TrainedModel) -> dict[str, SegmentAtTraining]:
    """segment_id -> the segment at training, for all facets; empty if the run that trained the model was deleted."""
    try:
        summary = mlflow_runs.read_run(session.store, trained.model.run_id).summary
    except TrackingError:
        return {}
    return {
        segment["segment_id"]: SegmentAtTraining(segment["customer_share"], (segment.get("rule") or {}).get("text"))
        for segment in summary.get("segments", [])
    }
