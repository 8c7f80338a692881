"""Types and bounds of params.yaml as frozen objects. Unknown keys and wrong types are errors.

The comments of params.yaml document each value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

from babel.numbers import is_currency
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from pipeline.config.errors import ParamsError
from pipeline.config.redaction import HIDDEN, redact_values
from pipeline.config.sections.audiences import AudienceParams, ContactsTable
from pipeline.config.sections.drift import DriftParams
from pipeline.config.sections.engine import EngineParams
from pipeline.config.sections.outliers import OutlierParams
from pipeline.config.sections.outputs import OutputsParams
from pipeline.config.sections.profiles import (
    BacktestParams,
    CalendarParams,
    InterestsParams,
    JourneyParams,
    SearchesParams,
    SessionsParams,
    ValueParams,
)
from pipeline.config.sections.segments import (
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
from pipeline.config.sections.source import ChecksParams, SourceParams, Table
from pipeline.config.types import Language, NonNegative, Section, Share, output_path

COLUMN_WORDS = {"cluster", "is", "next", "segment", "what"}
"""First words of columns of the scores. No facet may have such a name, as it starts the names of its columns."""


NOT_IN_MODEL_NAMES = "/\\:@%'\"`"
AS_OF_FORM = "expected a date and time with an offset, such as {}T00:00:00Z"
FIRST_YEAR, LAST_YEAR = 1900, 2200
"""Of as_of: the log's years before it and the horizons after it are within what times in nanoseconds can hold."""


class ScoreParams(Section):
    """Scoring: incremental updates and hysteresis."""

    late_days: NonNegative
    hysteresis: Share = 0.0


class TrackingParams(Section):
    """MLflow."""

    uri: str
    artifacts: str
    experiment: str
    model_name: Annotated[str, Field(max_length=200)]

    @field_validator("model_name")
    @classmethod
    def _usable_name(cls, value: str) -> str:
        if not value.strip() or not value.isprintable() or set(value) & set(NOT_IN_MODEL_NAMES):
            raise ValueError(
                f"expected a name without any of {' '.join(NOT_IN_MODEL_NAMES)}, as it is part of addresses"
            )
        return value

    @property
    def champion_uri(self) -> str:
        """URI of the model that scores by default."""
        return f"models:/{self.model_name}@champion"


FacetName = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]
AudienceName = Annotated[str, Field(pattern=r"^\w[\w-]*$")]
"""Also the name of its files."""


class Params(Section):
    """All of params.yaml, and two fields that are not in the file.

    Relative paths start at ``folder``. ``called_with`` has the command-line words that led to these values. These two,
    ``audiences`` and ``contacts`` are not part of the digest.
    """

    as_of: datetime
    history_days: Annotated[float, Field(gt=0, le=36_500)]
    language: Language
    currency: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    sample_customers: Annotated[int, Field(ge=1)] | None = None
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
    # Older models have no such sections in their params.
    score: ScoreParams = ScoreParams(late_days=3)
    minimum: MinimumParams = MinimumParams(customers=0, history_days=0, orders=0, usual_history_days=0)
    moves: tuple[Move, ...] = ()
    outliers: OutlierParams = OutlierParams()
    rules: RulesParams = RulesParams(max_conditions=3, sample_customers=20_000, sensitive=[])
    cards: CardsParams = CardsParams()
    # Not part of a model: they say what is done with its scores.
    audiences: Annotated[dict[AudienceName, AudienceParams], Field(exclude=True)] = Field(default_factory=dict)
    contacts: Annotated[ContactsTable | None, Field(exclude=True)] = None
    drift: DriftParams = DriftParams()
    folder: Annotated[Path, Field(exclude=True)] = Path()
    called_with: Annotated[tuple[str, ...], Field(exclude=True)] = ()

    @field_validator("currency")
    @classmethod
    def _known_currency(cls, value: str | None) -> str | None:
        if value is not None and not is_currency(value):
            meant = f". Did you mean {value.upper()}?" if is_currency(value.upper()) else ""
            raise ValueError(f"expected an ISO 4217 currency code, such as EUR, UAH, ALL or USD{meant}")
        return value

    @field_validator("facets")
    @classmethod
    def _distinct_facets(cls, value: dict[str, FacetParams | None]) -> dict[str, FacetParams | None]:
        facets = {name: facet for name, facet in value.items() if facet is not None}
        names = list(facets)
        if not names:
            raise ValueError("expected at least one facet")
        if len({name[0] for name in names[1:]} - {"s"}) < len(names) - 1:
            raise ValueError(
                "expected facet names that start with different letters, and only the first may start with s"
            )
        taken = sorted(COLUMN_WORDS & set(names[1:]))
        if taken:
            raise ValueError(f"expected facet names that start no column of the scores, got {taken[0]!r}")
        naming = [facet.names for facet in facets.values()]
        if len(set(naming)) < len(naming):
            raise ValueError("expected at most one facet named by archetypes and one by interests, as they share ids")
        return value

    @field_validator("as_of", mode="before")
    @classmethod
    def _moment(cls, value: object) -> object:
        """Pydantic would read the number 20111210 as seconds since 1970."""
        if isinstance(value, str):
            with suppress(ValueError):
                return datetime.fromisoformat(value)
        if not isinstance(value, date):
            raise ValueError(AS_OF_FORM.format("2025-11-01"))
        if not isinstance(value, datetime):
            raise ValueError(AS_OF_FORM.format(value))
        return value

    @field_validator("as_of")
    @classmethod
    def _utc(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError(AS_OF_FORM.format(value.date()))
        if not FIRST_YEAR < value.year < LAST_YEAR:
            raise ValueError(f"expected a moment between the years {FIRST_YEAR} and {LAST_YEAR}")
        return value.astimezone(UTC)

    @model_validator(mode="after")
    def _relative_paths_start_here(self) -> Params:
        self.engine._params_folder = self.folder
        return self

    @model_serializer(mode="wrap")
    def _without_unset_sample(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Parameters keep the digest that they had before there were samples."""
        return {key: value for key, value in handler(self).items() if key != "sample_customers" or value is not None}

    @property
    def file_name(self) -> str:
        """The params file as given on the command line."""
        return self.called_with[1] if self.called_with[:1] == ("--params",) else "params.yaml"

    @property
    def local_timezone(self) -> str:
        """Customers' time zone: ``cards.timezone``, or else that of the log."""
        return self.cards.timezone or self.source.events.timezone

    def path(self, value: str) -> Path:
        """``value`` as an absolute path; relative paths start at the folder of params.yaml."""
        return (self.folder / value).resolve()

    @property
    def scores_path(self) -> Path:
        """``outputs.scores``, to write to."""
        return output_path(self.folder / self.outputs.scores)

    def digest(self) -> str:
        """SHA-256 of all values except what may be a secret, independent of the order of keys."""
        text = json.dumps(self.redacted().model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def redacted(self) -> Params:
        """The same parameters without what may be a secret, to save with a run or model, or to show."""
        changed = {name: redact_values(getattr(self, name)) for name in ("source", "tracking", "engine", "contacts")}
        changed["source"] = changed["source"].model_copy(update={"exclude": self.source.exclude.redacted()})
        if self.naming.proposer is not None:
            program, *words = self.naming.proposer
            proposer = [redact_values(program), *(HIDDEN for _ in words)]
            changed["naming"] = self.naming.model_copy(update={"proposer": proposer})
        return self.model_copy(update={**changed, "called_with": ()})

    def without_folders(self) -> Params:
        """The same parameters without folders of this machine, to save with a model.

        Paths below the folder of params.yaml become relative to it; of others, the last part is left.
        """
        tables = {
            name: table.model_copy(update={"path": self._short_paths(table.path)})
            for name, table in self.source
            if isinstance(table, Table)
        }
        exclude = self.source.exclude
        if isinstance(exclude.customer_ids, str):
            exclude = exclude.model_copy(update={"customer_ids": self._short_paths(exclude.customer_ids)})
        engine = {"temp_directory": self._short_paths(self.engine.temp_directory)}
        outputs = {name: self._short_paths(place) for name, place in self.outputs}
        tracking = {name: self._short_paths(getattr(self.tracking, name)) for name in ("uri", "artifacts")}
        return self.model_copy(
            update={
                "source": self.source.model_copy(update={**tables, "exclude": exclude}),
                "engine": self.engine.model_copy(update=engine),
                "outputs": self.outputs.model_copy(update=outputs),
                "tracking": self.tracking.model_copy(update=tracking),
            }
        )

    def _short_paths(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._short_paths(item) for item in value]
        scheme = next((start for start in ("sqlite:///", "file://") if str(value).startswith(start)), "")
        path = Path(str(value).removeprefix(scheme))
        if value is None or not path.is_absolute():
            return value
        base = self.folder.resolve()
        return scheme + str(path.relative_to(base) if path.is_relative_to(base) else path.name)


def flat_settings(values: Mapping[str, Any]) -> dict[str, str]:
    """Values of params.yaml as ``section.key: text``, without archetypes and their texts."""
    naming = {
        key: item for key, item in values.get("naming", {}).items() if key not in ("archetypes", "standing", "traits")
    }
    return dict(_flatten({**{key: item for key, item in values.items() if key != "moves"}, "naming": naming}))


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
        They come from another version of Kindred and have other keys.
    """
    try:
        return Params.model_validate({**json.loads(text), "folder": folder}, context={"is_saved": True})
    except ValidationError:
        raise ParamsError(
            "expected a model of this version of Kindred, but its parameters have other keys. Train again, or score "
            "with the version that trained it."
        ) from None


WAYS_OF_WRITING = ("format", "encoding", "delimiter", "sheet", "time_format", "decimal", "thousands")
"""Keys of a table of the source that say how its values are written, not which values they are."""


def source_fingerprint(params: Params, *, as_written: bool = False) -> str:
    """SHA-256 of what the source holds, without paths, possible secrets and exclusions, which change from day to day.

    Parameters
    ----------
    as_written : bool
        Also of `WAYS_OF_WRITING`: with others, rows that were read before may have been read wrongly.
    """
    # Of queries, a state knows also what is not shown: with another, rows that were read before may not belong to it.
    source = (params if as_written else params.redacted()).source.model_dump(mode="json", exclude={"exclude"})
    for table in source.values():
        if isinstance(table, dict):
            for key in ("path", "uri", *(() if as_written else WAYS_OF_WRITING)):
                table.pop(key, None)
    return hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()
