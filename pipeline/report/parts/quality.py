"""How the segments of a training were chosen and how reliable they are, as types of its summary."""

from __future__ import annotations

from pipeline.report.parts.segment import Part


class Candidate(Part):
    """`models.selection.Candidate`, with its separation."""

    algorithm: str
    asked: int | None
    density: float | None
    balance: int
    balance_name: str
    n_segments: int
    silhouette: float | None
    density_validity: float | None
    stability: float | None
    stable_share: float | None
    smallest_count: float
    smallest_share: float
    noise_share: float
    named_apart: int
    buys_auc: float | None
    spend_r2: float | None
    category_auc: float | None
    separation: float | None


class Quality(Part):
    """How the segments of a facet were built, and how reliable they are."""

    algorithm: str
    n_segments: int
    stability: float | None
    rules_fidelity: float | None
    choice_reason: str
    candidates: list[Candidate]
    silhouette: float | None
    davies_bouldin: float | None
    calinski_harabasz: float | None
    density_validity: float | None
    noise_share: float
    smallest_share: float
    noise_share_fitted: float | None = None


class Interval(Part):
    """A figure with its 95% interval."""

    mean: float
    low: float
    high: float


class Validity(Part):
    """`pipeline.segmentation.predictive_validity.Validity`."""

    cutoff: str
    horizon_days: int
    customer_count: int
    buyer_count: int
    group_count: int
    ceiling_count: int
    facets: list[str]
    rows: dict[str, dict[str, Interval]]
    kept: dict[str, float]


class TrainingQuality(Quality):
    """The quality of the first facet, the notes of the training, and how well the segments predict."""

    notes: list[str]
    validity: Validity | None
