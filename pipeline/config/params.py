"""params.yaml as checked, frozen objects: unknown keys, duplicate keys and wrong types are errors that name the line.

The comments of params.yaml are the documentation of each value; here stand only types and bounds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from babel.numbers import is_currency
from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from pipeline.config.errors import ParamsError, without_passwords
from pipeline.config.profile_params import (
    BacktestParams,
    CalendarParams,
    ChecksParams,
    InterestsParams,
    JourneyParams,
    SearchesParams,
    SessionsParams,
    SourceParams,
    ValueParams,
)
from pipeline.config.segment_params import (
    CardsParams,
    ClusteringParams,
    FacetParams,
    IdentityParams,
    MinimumParams,
    Move,
    NamingParams,
    PromoteParams,
    QualityParams,
    RulesParams,
    SweepParams,
)
from pipeline.config.types import Language, NonNegative, Section, Share

COLUMN_WORDS = {"cluster", "is", "next", "segment", "what"}
"""Columns of scores begin with these; a facet's own columns begin with its name."""


class EngineParams(Section):
    """The database."""

    memory_limit: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s*[KMGT]i?B$")]
    threads: Annotated[int, Field(ge=0)]
    temp_directory: str | None
    max_temp_directory_size: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s*[KMGT]i?B$")]
    _starts_at: Path = PrivateAttr(default=Path())

    @property
    def temp_folder(self) -> Path | None:
        """``temp_directory`` from the folder of params.yaml on."""
        return None if self.temp_directory is None else self._starts_at / self.temp_directory


class ScoreParams(Section):
    """Scoring from yesterday's state."""

    late_days: NonNegative
    hysteresis: Share = 0.0


class OutputsParams(Section):
    """Where results go."""

    folder: str
    scores: Annotated[str, Field(pattern=r"\.(parquet|csv)$")]


class TrackingParams(Section):
    """MLflow."""

    uri: str
    artifacts: str
    experiment: str
    model_name: str

    @property
    def champion_uri(self) -> str:
        """The model that scores unless another is named."""
        return f"models:/{self.model_name}@champion"


FacetName = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]


class Params(Section):
    """All of params.yaml; and what is no part of the digest.

    ``folder`` is where relative paths start, ``called_with`` are the words of the command line that gave these values.
    """

    as_of: datetime
    history_days: Annotated[float, Field(gt=0, le=36_500)]
    language: Language
    currency: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    source: SourceParams
    checks: ChecksParams
    sessions: SessionsParams
    searches: SearchesParams
    interests: InterestsParams
    backtest: BacktestParams
    value: ValueParams
    journey: JourneyParams
    calendar: CalendarParams
    facets: Annotated[dict[FacetName, FacetParams | None], Field(min_length=1)]
    clustering: ClusteringParams
    quality: QualityParams
    promote: PromoteParams = PromoteParams(tolerance=0.05)
    identity: IdentityParams = IdentityParams(min_jaccard=0.4, min_part=0.5)
    sweep: SweepParams
    naming: NamingParams
    engine: EngineParams
    outputs: OutputsParams
    tracking: TrackingParams
    # Models trained before there were these sections have none in their params.
    score: ScoreParams = ScoreParams(late_days=3)
    minimum: MinimumParams = MinimumParams(customers=0, history_days=0, orders=0, usual_history_days=0)
    moves: tuple[Move, ...] = ()
    rules: RulesParams = RulesParams(max_conditions=3, sample_customers=20_000, sensitive=[])
    cards: CardsParams = CardsParams()
    folder: Annotated[Path, Field(exclude=True)] = Path()
    called_with: Annotated[tuple[str, ...], Field(exclude=True)] = ()

    @field_validator("currency")
    @classmethod
    def _known_currency(cls, value: str | None) -> str | None:
        if value is not None and not is_currency(value):
            raise ValueError("expected the code of a currency in ISO 4217, such as EUR, UAH, ALL or USD")
        return value

    @field_validator("facets")
    @classmethod
    def _facets_apart(cls, value: dict[str, FacetParams | None]) -> dict[str, FacetParams | None]:
        facets = {name: facet for name, facet in value.items() if facet is not None}
        kept = list(facets)
        if not kept:
            raise ValueError("expected at least one facet")
        if len({name[0] for name in kept[1:]} - {"s"}) < len(kept) - 1:
            raise ValueError("expected facets whose names begin with different letters, and none but the first with s")
        taken = sorted(COLUMN_WORDS & set(kept[1:]))
        if taken:
            raise ValueError(f"expected facets with names that are no part of a column of scores, got {taken[0]!r}")
        ways = [facet.names for facet in facets.values()]
        if len(set(ways)) < len(ways):
            raise ValueError("expected one facet named by archetypes and one by interests at most, as they share ids")
        return value

    @field_validator("as_of")
    @classmethod
    def _utc(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("expected a moment with its offset, such as 2025-11-01T00:00:00Z")
        return value.astimezone(UTC)

    @model_validator(mode="after")
    def _relative_paths_start_here(self) -> Params:
        self.engine._starts_at = self.folder
        return self

    @property
    def local_timezone(self) -> str:
        """Of the hours and days that customers live by: ``cards.timezone``, else that of the log."""
        return self.cards.timezone or self.source.events.timezone

    def path(self, value: str) -> Path:
        """``value`` as an absolute path, relative ones starting at the folder of params.yaml."""
        return (self.folder / value).resolve()

    def digest(self) -> str:
        """SHA-256 over all values but passwords, the same whatever the order of keys."""
        text = json.dumps(self.redacted().model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def redacted(self) -> Params:
        """The same without passwords: what may be kept with a run, a model, or shown."""

        def clean(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: clean(item) for key, item in value.items()}
            if isinstance(value, list):
                return [clean(item) for item in value]
            return without_passwords(value) if isinstance(value, str) else value

        changed = {
            name: type(getattr(self, name)).model_validate(clean(getattr(self, name).model_dump()))
            for name in ("source", "tracking")
        }
        return self.model_copy(update={**changed, "called_with": ()})

    def flat(self) -> dict[str, str]:
        """All values as ``section.key: text``, for the tracker; archetypes and texts are left to the artifact."""
        dumped = self.model_dump(mode="json")
        del dumped["moves"]
        dumped["naming"] = {k: v for k, v in dumped["naming"].items() if k not in ("archetypes", "standing", "traits")}
        return dict(_flatten(dumped))


def _flatten(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _flatten(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)


def params_from_json(text: str, folder: Path) -> Params:
    """The parameters that a saved model was trained with.

    Raises
    ------
    ParamsError
        Another version of Kindred wrote them, with keys that this one does not know.
    """
    try:
        return Params.model_validate({**json.loads(text), "folder": folder}, context={"is_saved": True})
    except ValidationError:
        raise ParamsError(
            "expected a model of this version of Kindred; its parameters have other keys. Train again, or score with "
            "the version that trained it."
        ) from None


def description(params: Params) -> str:
    """SHA-256 of how the source is read; where it lies may change, since logs are rotated, and so may passwords."""
    described = params.redacted().source.model_dump(mode="json")
    for table in described.values():
        if isinstance(table, dict):
            table.pop("path", None)
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
