"""params.yaml as checked, frozen objects: unknown keys, duplicate keys and wrong types are errors that name the line.

The comments of params.yaml are the documentation of each value; here stand only types and bounds.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from features.events import EventType
from features.feasts import spans
from features.journey import STAGES
from features.profile import JOURNEY
from features.value import RFMGroup
from models.naming import FIGURES

SECRETS = r"password|passwd|pwd|secret\w*|token|\w*access_?key\w*|api_?key|signature"
Language = Literal["en", "uk", "ru", "sq"]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class UserError(ValueError):
    """A mistake the user can mend: the command line prints its message, without a traceback, and exits with 2."""


class ParamsError(UserError):
    """params.yaml or a ``--set`` holds something that cannot be used."""


def without_passwords(text: str) -> str:
    """``text`` with what stands before the @ of an address, and after ``password=`` and its like, replaced.

    Examples
    --------
    >>> without_passwords("postgresql://ann:pass/w@rd@host/db?sslmode=require&password=x")
    'postgresql://***@host/db?sslmode=require&password=***'
    """
    text = re.sub(r"://[^/@\s:]*:\S*@|://[^/@\s]+@", "://***@", text)
    return re.sub(rf"(?i)({SECRETS})(\s*[=:]\s*)(''[^']*''|'[^']*'|\"[^\"]*\"|[^\s&;,)'\"]+)", r"\1\2***", text)


class Section(BaseModel):
    """A group of parameters: frozen, and strict about keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Table(Section):
    """Where a table lies, and what its columns are called there."""

    path: str | list[str] | None = None
    query: str | None = None
    columns: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_of_path_and_query(self) -> Table:
        if (self.path is None) == (self.query is None):
            raise ValueError("expected exactly one of `path` and `query`")
        return self


def _known_zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("expected a time zone such as UTC or Europe/Kyiv")
    return str(ZoneInfo(value))


Timezone = Annotated[str, AfterValidator(_known_zone)]


class TimedTable(Table):
    """A table with a moment in it."""

    time_format: str = "auto"
    timezone: Timezone = "UTC"


class EventsTable(TimedTable):
    """The log: one row per thing done."""

    event_types: dict[EventType, list[str]] = {}

    @model_validator(mode="after")
    def _each_once(self) -> EventsTable:
        seen: dict[str, EventType] = {}
        for ours, theirs in self.event_types.items():
            for name in theirs:
                if name in seen:
                    raise ValueError(f"event type {name!r} is mapped to both {seen[name]} and {ours}")
                seen[name] = ours
        return self


class SourceParams(Section):
    """What is read."""

    events: EventsTable
    products: Table | None = None
    categories: Table | None = None
    customers: TimedTable | None = None
    category_separator: Annotated[str, Field(min_length=1)] = " > "
    drop_duplicates: bool = False
    max_text_chars: Count = 10_000


class Threshold(Section):
    """Shares of rows past which a rule is told (warn) and past which the run stops (error)."""

    warn: Share
    error: Share


class ChecksParams(Section):
    """A threshold per row rule."""

    unreadable_row: Threshold
    missing_customer_id: Threshold
    missing_event_type: Threshold
    unreadable_time: Threshold
    time_out_of_range: Threshold
    missing_product_id: Threshold
    unreadable_number: Threshold
    negative_price: Threshold
    negative_quantity: Threshold
    text_too_long: Threshold
    broken_encoding: Threshold
    unknown_product: Threshold
    without_category: Threshold
    after_as_of: Threshold


class SessionsParams(Section):
    """Visits."""

    gap_minutes: Positive


class SearchesParams(Section):
    """P(category | query)."""

    window_minutes: Positive
    min_customers: Count
    prior_searches: NonNegative
    min_probability: Share
    outcome_weights: dict[EventType, NonNegative]
    half_life_minutes: Positive
    min_confidence: Share


class DecayParams(Section):
    """What an event counts, and how fast that fades."""

    half_life_days: Positive
    signal_weights: dict[EventType, NonNegative]


class InterestsParams(DecayParams):
    """The interest formula."""

    kappa: Positive
    max_categories: Annotated[int, Field(ge=2, le=500)]
    activity: DecayParams
    fit: Literal["auto", "off"]
    fit_min_purchases: Count
    fit_prior_strength: NonNegative

    @field_validator("fit", mode="before")
    @classmethod
    def _off_is_no_boolean(cls, value: object) -> object:
        """YAML reads off as false."""
        return "off" if value is False else value


class BacktestParams(Section):
    """What the past is asked."""

    horizon_days: Annotated[int, Field(ge=1)]
    cutoffs: Annotated[int, Field(ge=1, le=24)]
    sample_customers: Count
    min_buyers: Count
    bootstrap_resamples: Count


Scores = tuple[Annotated[int, Field(ge=1, le=10)], Annotated[int, Field(ge=1, le=10)]]


class RFMGroupParams(Section):
    """Scores that a group of RFM takes, lowest and highest."""

    group: str
    recency: Scores = (1, 10)
    frequency: Scores = (1, 10)
    money: Scores = (1, 10)
    max_orders: Count | None = None
    min_silent_days: Positive | None = None


class RFMCuts(Section):
    """Bounds between scores, ascending; as many as there are quantiles, less one."""

    days_since_last_purchase: list[NonNegative]
    order_count: list[NonNegative]
    money: list[NonNegative]


class ValueParams(Section):
    """RFM and value tiers."""

    rfm_quantiles: Annotated[int, Field(ge=4, le=10)]  # the groups need two best and two last scores
    rfm_cuts: RFMCuts | None
    rfm_money: Literal["spend", "average_order_value"]
    rfm_form: str
    rfm_forms: dict[str, list[RFMGroupParams]]
    tier_by: Literal["spend", "order_count"]
    tier_days: Positive | None
    vip_quantile: Share
    regular_quantile: Share
    difficult_return_rate: Share
    difficult_min_returns: Count
    difficult_contact_rate: Positive
    difficult_min_contacts: Count

    @model_validator(mode="after")
    def _in_order(self) -> ValueParams:
        if self.regular_quantile > self.vip_quantile:
            raise ValueError("expected regular_quantile <= vip_quantile")
        return self

    @model_validator(mode="after")
    def _form_is_whole(self) -> ValueParams:
        if self.rfm_form not in self.rfm_forms:
            raise ValueError(f"rfm_form: expected one of rfm_forms: {', '.join(self.rfm_forms)}")
        for name, cuts in (self.rfm_cuts.model_dump() if self.rfm_cuts else {}).items():
            if cuts != sorted(cuts) or len(cuts) != self.rfm_quantiles - 1:
                raise ValueError(f"rfm_cuts.{name}: expected {self.rfm_quantiles - 1} ascending cuts")
        scores = range(1, self.rfm_quantiles + 1)
        for recency, frequency, money in itertools.product(scores, scores, scores):
            if not any(
                one.max_orders is None
                and one.min_silent_days is None
                and all(
                    low <= score <= high
                    for score, (low, high) in zip(
                        (recency, frequency, money), (one.recency, one.frequency, one.money), strict=True
                    )
                )
                for one in self.rfm_forms[self.rfm_form]
            ):
                raise ValueError(
                    f"rfm_forms.{self.rfm_form}: expected a group for every customer; none takes recency {recency}, "
                    f"frequency {frequency}, money {money}"
                )
        return self

    def rfm_groups(self) -> list[RFMGroup]:
        """The groups of the form chosen, in order."""
        return [
            RFMGroup(one.group, one.recency, one.frequency, one.money, one.max_orders, one.min_silent_days)
            for one in self.rfm_forms[self.rfm_form]
        ]

    def given_cuts(self, *, is_known: bool) -> dict[str, list[float]]:
        """Cuts that take the place of quantiles; none where nobody had bought."""
        return self.rfm_cuts.model_dump() if self.rfm_cuts and is_known else {}


class JourneyEventsParams(Section):
    """Since when something on the journey is told."""

    visit_days: Positive
    second_order_days: Positive
    cart_days: Positive
    contact_days: Positive


class JourneyParams(Section):
    """Lifecycle, journey events and temperature."""

    first_order_days: Positive
    active_days: Positive
    lapsed_days: Positive
    lost_days: Positive
    slipping_min_orders: Annotated[int, Field(ge=2)]
    slipping_intervals: Annotated[float, Field(ge=1)]
    slipping_min_days: NonNegative
    events: JourneyEventsParams
    temperature_half_life_days: Positive
    temperature_points: dict[EventType, NonNegative]
    warm_points: Positive
    hot_points: Positive
    searched_points: NonNegative
    hot_product_points: Positive

    @model_validator(mode="after")
    def _in_order(self) -> JourneyParams:
        if not self.active_days < self.lapsed_days < self.lost_days:
            raise ValueError("expected active_days < lapsed_days < lost_days")
        if self.warm_points > self.hot_points:
            raise ValueError("expected warm_points <= hot_points")
        return self


class BlockWeights(Section):
    """How much each block of profile columns may say."""

    interest: NonNegative
    value: NonNegative
    journey: NonNegative
    context: NonNegative
    benefits: NonNegative


Block = Literal["interest", "value", "journey", "context", "benefits"]
ClusterShare = Annotated[float, Field(gt=0, le=0.5)]


class KMeansParams(Section):
    """KMeans settings."""

    n_init: Count
    max_iter: Count
    fit_customers: Count


class HDBSCANParams(Section):
    """HDBSCAN settings."""

    fit_customers: Count
    min_cluster_share: ClusterShare
    min_samples: Count
    n_components: Count
    n_neighbors: Annotated[int, Field(ge=2)]
    selection: Literal["leaf", "eom"]
    noise: Literal["nearest", "keep", "standing"]
    vote_neighbors: Count


Algorithm = Literal["kmeans", "hdbscan"]
SegmentCount = Annotated[int, Field(ge=1, le=100)]


def _journey_column(name: str) -> str:
    if name not in JOURNEY:
        near = difflib.get_close_matches(name, sorted(JOURNEY), n=1)
        raise ValueError("no column of the journey" + (f"; nearest: {near[0]}" if near else ""))
    return name


class ClusteringParams(Section):
    """How segments are found."""

    algorithm: Literal["kmeans", "hdbscan", "standing"]
    n_segments: SegmentCount | Literal["auto"]
    min_events: Count
    block_weights: BlockWeights
    journey_columns: list[Annotated[str, AfterValidator(_journey_column)]]
    kmeans: KMeansParams
    hdbscan: HDBSCANParams
    border_margin: Share


class MinimumParams(Section):
    """What a log needs to be segmented."""

    customers: Annotated[int, Field(ge=0)]
    history_days: NonNegative
    orders: Annotated[int, Field(ge=0)]
    usual_history_days: NonNegative
    usual_silence_days: NonNegative = 7.0


class QualityParams(Section):
    """How segments are judged."""

    sample_customers: Count
    stability_resamples: Count
    hdbscan_resamples: Count
    stability_customers: Count
    hdbscan_resample_customers: Count
    min_stability: Share
    good_stability: Share
    high_stability: Share
    min_segment_share: Share
    # Models trained before there were these keys have none in their params.
    min_segment_customers: Count | None = None
    validity: bool = True
    ceiling_customers: Count = 6_000


class IdentityParams(Section):
    """When a segment is the one of an earlier training."""

    min_jaccard: Share
    min_part: Share


class PromoteParams(Section):
    """When a challenger may become the champion."""

    tolerance: Share
    # Models trained before there was this key have none in their params.
    validity_tolerance: Share = 0.02


class SweepParams(Section):
    """The settings that are chosen among."""

    algorithm: Annotated[list[Algorithm], Field(min_length=1)]
    n_segments: Annotated[list[SegmentCount], Field(min_length=1)]
    min_cluster_share: Annotated[list[ClusterShare], Field(min_length=1)]
    block_weights: list[dict[Block, NonNegative]]
    tolerance: Share
    sample_customers: Count
    resamples: Count
    n_jobs: Count


class Text(Section):
    """One text in every language."""

    en: Annotated[str, Field(min_length=1)]
    uk: Annotated[str, Field(min_length=1)]
    ru: Annotated[str, Field(min_length=1)]
    sq: Annotated[str, Field(min_length=1)]


class Bounds(Section):
    """Conditions on one figure of a segment; ratios are beside the shop's."""

    min: float | None = None
    max: float | None = None
    min_ratio: float | None = None
    max_ratio: float | None = None


def _known(figure: str) -> str:
    if figure not in FIGURES:
        near = difflib.get_close_matches(figure, sorted(FIGURES), n=1)
        raise ValueError("no figure of a segment that Kindred knows" + (f"; nearest: {near[0]}" if near else ""))
    return figure


Figure = Annotated[str, AfterValidator(_known)]


class Archetype(Section):
    """A kind of customer, as a rule over a segment's figures."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    priority: int
    name: Text
    when: Annotated[dict[Figure, Bounds], Field(min_length=1)]
    playbook: Text


class Trait(Section):
    """A figure that tells segments of one name apart, and the words for the one above and the one below its like."""

    figure: Figure
    above: Text
    below: Text


class Standing(Section):
    """What customers with too little evidence to cluster are called."""

    name: Text
    playbook: Text


class NamingParams(Section):
    """Names of segments."""

    min_lift: Positive
    lift_errors: Positive
    season_days: Positive
    min_interest_share: Share
    min_interest_customers: Share
    top_categories: Count
    min_group: Count
    min_contrast: Annotated[float, Field(ge=1)]
    min_gap: NonNegative
    archetypes: list[Archetype]
    traits: list[Trait]
    standing: dict[str, Standing]

    @model_validator(mode="after")
    def _complete(self) -> NamingParams:
        missing = sorted(set(STAGES) - set(self.standing))
        if missing:
            raise ValueError(f"expected a standing for every lifecycle stage; missing: {', '.join(missing)}")
        kinds: list[Archetype | Standing] = [*self.archetypes, *self.standing.values()]
        for language in Text.model_fields:
            names = [getattr(kind.name, language) for kind in kinds]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"expected another name for each archetype and standing; twice: {', '.join(twice)}")
        return self


class Move(Section):
    """Something that a customer might do next."""

    text: Text
    days: Positive
    visits: NonNegative
    views: NonNegative
    carts: NonNegative
    orders: NonNegative


class RulesParams(Section):
    """Segments as readable rules."""

    max_conditions: Annotated[int, Field(ge=1, le=6)]
    sample_customers: Annotated[int, Field(ge=2)]
    sensitive: list[str]


def _month_day(value: str) -> tuple[int, int]:
    try:
        at = datetime.strptime(f"2024-{value}", "%Y-%m-%d")
    except ValueError:
        raise ValueError(f"expected a month and a day, such as 12-24; found {value!r}") from None
    return at.month, at.day


class Occasion(Section):
    """Days of every year on which people shop for a reason."""

    name: Text
    first: str
    last: str

    @field_validator("first", "last")
    @classmethod
    def _is_day(cls, value: str) -> str:
        _month_day(value)
        return value

    @property
    def days(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """First and last (month, day)."""
        return _month_day(self.first), _month_day(self.last)


def _spans(texts: list[str]) -> list[str]:
    spans(texts, range(2024, 2026))
    return texts


Spans = Annotated[list[str], AfterValidator(_spans)]


class Country(Section):
    """Days on which people of a country shop for a reason."""

    holiday: Spans
    gift: Spans
    paydays: list[Annotated[int, Field(ge=1, le=31)]]


class CalendarParams(Section):
    """Which country's days."""

    country: str | None
    payday_days: Annotated[int, Field(ge=1, le=14)]
    countries: dict[str, Country]

    @model_validator(mode="after")
    def _country_is_there(self) -> CalendarParams:
        if self.country is not None and self.country not in self.countries:
            raise ValueError(f"country: expected null or one of calendar.countries: {', '.join(self.countries)}")
        return self

    def of_country(self) -> dict[str, Any]:
        """Arguments of `features.feasts.occasion_shares`; nothing is known without a country."""
        chosen = self.countries[self.country] if self.country else Country(holiday=[], gift=[], paydays=[])
        return {
            "days": {"holiday": chosen.holiday, "gift": chosen.gift},
            "paydays": chosen.paydays,
            "payday_days": self.payday_days,
        }


class CardsParams(Section):
    """The 5W card: what a segment has more of than the shop."""

    false_discovery_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    min_lift: Annotated[float, Field(gt=1)] = 1.2
    most_lines: Count = 3
    min_known_share: Share = 0.1
    attribute_bands: Annotated[int, Field(ge=2, le=10)] = 4
    place_columns: list[str] = []
    left_out: list[str] = []
    timezone: Timezone | None = None
    season_margin_days: Positive = 30
    certainty: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    occasions: dict[str, Occasion] = {}


class EngineParams(Section):
    """The database."""

    memory_limit: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s*([KMGT]i?B|%)$")]
    threads: Annotated[int, Field(ge=0)]
    temp_directory: str | None
    max_temp_directory_size: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s*[KMGT]i?B$")]


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


class Params(Section):
    """All of params.yaml. ``folder`` is where relative paths start; it is no part of the digest."""

    as_of: datetime
    history_days: Annotated[float, Field(gt=0, le=36_500)]
    language: Language
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

    @field_validator("as_of")
    @classmethod
    def _utc(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("expected a moment with its offset, such as 2025-11-01T00:00:00Z")
        return value.astimezone(UTC)

    def path(self, value: str) -> Path:
        """``value`` as an absolute path, relative ones starting at the folder of params.yaml."""
        return (self.folder / value).resolve()

    def digest(self) -> str:
        """SHA-256 over all values, the same whatever the order of keys."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
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
        return self.model_copy(update=changed)

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


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read params.yaml and apply ``section.key=value`` overrides.

    A params file may say ``base: other.yaml`` and then holds only what differs from that file.

    Raises
    ------
    ParamsError
        The file is missing or no YAML; a key is unknown or there twice; a value has the wrong type or is out of
        its bounds. The message names the ``--set``, or the file and the line, and what was expected.
    """
    values, lines = _read_values(path)
    places = {key: f"{path}, line {line}" for key, line in lines.items()}
    places |= {_apply(values, override): f"--set {override}" for override in overrides}
    return _validated(values, path, places)


Key = tuple[str, ...]


def _read_values(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[Key, int]]:
    """Keys and values of the file, over those of its base; and the line of each key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        where = f"`base` of {above[-1].name} names it" if above else "name yours with --params FILE"
        raise ParamsError(f"{path}: expected a params file, found none; {where}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: expected a readable params file in UTF-8. {error}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = dict(_key_lines(node, path)) if isinstance(node, yaml.MappingNode) else None
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: expected YAML. {error}") from None
    except ValueError as error:
        line = _line_of_impossible_date(node) if node else 1
        raise ParamsError(f"{path}, line {line}: expected a date that exists, such as 2025-11-01. {error}.") from None
    if lines is None:
        raise ParamsError(f"{path}: expected keys and values, as in the params.yaml that comes with Kindred.")
    base = values.pop("base", None)
    if base is None:
        return values, lines
    chain = (*above, path.resolve())
    if (path.parent / str(base)).resolve() in chain:
        raise ParamsError(f"{path}, line {lines[('base',)]}: expected another file as `base`; {base} leads back here.")
    below, _ = _read_values(path.parent / str(base), chain)
    return _merged(below, values), lines


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``above`` over ``below``, section by section; a table that is described anew replaces the old description."""
    merged = dict(below)
    for key, value in above.items():
        is_section = isinstance(value, dict) and isinstance(below.get(key), dict) and not {"path", "query"} & set(value)
        merged[key] = _merged(below[key], value) if is_section else value
    return merged


def params_from_json(text: str, folder: Path) -> Params:
    """The parameters that a saved model was trained with.

    Raises
    ------
    ParamsError
        Another version of Kindred wrote them, with keys that this one does not know.
    """
    try:
        return Params.model_validate({**json.loads(text), "folder": folder})
    except ValidationError:
        raise ParamsError(
            "expected a model of this version of Kindred; its parameters have other keys. Train again, or score with "
            "the version that trained it."
        ) from None


def _validated(values: dict[str, Any], path: Path, places: dict[Key, str]) -> Params:
    try:
        return Params.model_validate({**values, "folder": path.resolve().parent})
    except ValidationError as error:
        told = [_explain(problem, path, places) for problem in error.errors(include_url=False)]
        raise ParamsError("\n".join(dict.fromkeys(told))) from None


def _key_lines(node: yaml.Node, path: Path, at: Key = ()) -> Iterator[tuple[Key, int]]:
    """Each key's place in the tree and its line; a key that stands twice is an error."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                name = ".".join((*at, key.value))
                raise ParamsError(
                    f"{path}, line {line}: expected each key once. "
                    f"`{name}` stands in line {seen[key.value]} already; delete one of the two."
                )
            seen[key.value] = line
            yield (*at, key.value), line
            yield from _key_lines(value, path, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _key_lines(value, path, (*at, str(index)))


def _line_of_impossible_date(node: yaml.Node) -> int:
    """Where a scalar looks like a date and is none; YAML itself does not say."""
    if isinstance(node, yaml.MappingNode):
        return max(_line_of_impossible_date(value) for _, value in node.value) if node.value else 0
    if isinstance(node, yaml.SequenceNode):
        return max(map(_line_of_impossible_date, node.value), default=0)
    try:
        yaml.safe_load(str(node.value))
    except ValueError:
        return int(node.start_mark.line) + 1
    except yaml.YAMLError:
        return 0
    return 0


def _apply(values: dict[str, Any], override: str) -> Key:
    """Set one key of ``values``; gives its place in the tree."""
    key, equals, text = override.partition("=")
    if not equals or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key):
        raise ParamsError(f"--set {override}: expected section.key=value, such as clustering.n_segments=8.")
    *sections, last = key.split(".")
    place: Any = values
    for depth, section in enumerate(sections):
        place = _child(place, section, known=_known_keys(tuple(sections[:depth])))
        if place is None:
            missing = tuple(sections[: depth + 1])
            raise ParamsError(f"--set {override}: there is no section `{'.'.join(missing)}`.{_did_you_mean(missing)}")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        value = text
    if isinstance(place, list):
        if not (last.isdigit() and int(last) < len(place)):
            raise ParamsError(f"--set {override}: expected a place in a list of {len(place)}, counted from 0.")
        place[int(last)] = value
    else:
        place[last] = value
    return (*sections, last)


def _child(place: Any, section: str, *, known: list[str]) -> Any:
    """The section below ``place``; one that is null or left out, such as source.categories, is opened."""
    if isinstance(place, list) and section.isdigit() and int(section) < len(place):
        return place[int(section)]
    if isinstance(place, dict) and (section in place or section in known):
        if place.get(section) is None:
            place[section] = {}
        return place[section] if isinstance(place[section], dict | list) else None
    return None


def _explain(problem: Any, path: Path, places: dict[Key, str]) -> str:
    at = tuple(str(part) for part in problem["loc"] if part != "[key]")
    while at and at not in places and at[:-1] in places and problem["type"] not in ("missing", "extra_forbidden"):
        at = at[:-1]
    place = _place(at, places) or str(path)
    name = ".".join(at) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{place}: `{name}` is no key that Kindred knows.{_did_you_mean(at)}"
    if problem["type"] == "missing":
        return f"{place}: `{name}` is missing. Copy it from the params.yaml that comes with Kindred."
    message = problem["msg"].removeprefix("Value error, ")
    got = problem.get("input")
    shown = "" if isinstance(got, dict | list) else f" Got {got!r}."
    return f"{place}: `{name}`: {message}.{shown}".replace("..", ".")


def _place(at: Key, places: dict[Key, str]) -> str | None:
    """Where the value at ``at`` was given: by a ``--set`` of it, of what holds it or of what it holds, or in a line."""
    overrides = [key for key, place in places.items() if place.startswith("--set ")]
    near = [key for key in overrides if key == at[: len(key)] or at == key[: len(at)]]
    return places[near[-1]] if near else places.get(at)


def _did_you_mean(at: Key) -> str:
    """The nearest key beside an unknown one, else the nearest anywhere."""
    near = difflib.get_close_matches(at[-1], _known_keys(at[:-1]), n=1)
    if not near:
        anywhere = {key[-1]: ".".join(key) for key in reversed([*_all_keys()])}
        near = [anywhere[one] for one in difflib.get_close_matches(at[-1], anywhere, n=1, cutoff=0.8)]
    return f" Did you mean `{near[0]}`?" if near else ""


def _all_keys(at: Key = ()) -> Iterator[Key]:
    for key in _known_keys(at):
        yield (*at, key)
        yield from _all_keys((*at, key))


def _known_keys(at: Key) -> list[str]:
    model: Any = Params
    for part in at:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            return []
        model = next(
            (a for a in getattr(field.annotation, "__args__", ()) if hasattr(a, "model_fields")),
            field.annotation,
        )
    return [key for key in getattr(model, "model_fields", {}) if key != "folder"]
