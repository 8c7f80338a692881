"""`kindred history`: scores a shop at several dates in one pass over its log, and shows who moved between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from features.categories import OTHER
from features.interests import SHARE_PREFIX
from models.migration_tables import segmentation_columns, summarise_migration
from pipeline.commands.migration import with_names, write
from pipeline.commands.rename import names_in
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.ingest.files.raw_tables import source_files
from pipeline.ingest.source import Source, read_source
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.profiles.cutoffs import first_event
from pipeline.report.texts.wording import Wording
from pipeline.scoring.hysteresis import keep_previous_near_borders, rows_of
from pipeline.scoring.trained_model import TrainedModel, open_model
from pipeline.segmentation import sanity_checks
from pipeline.stores import files, model_registry
from pipeline.stores.engines.engine import Engine
from pipeline.stores.workspace import workspace
from pipeline.stores.writers import require_known_suffix

STEPS = {"week": (7, 0), "month": (0, 1), "quarter": (0, 3)}
"""Days and months between two dates."""
YEAR = timedelta(days=365)


def history(
    params: Params, *, every: str, since: datetime | None, model_uri: str, out: Path, progress: Progress
) -> str:
    """Score all customers at ``params.as_of`` and at each earlier date; write the history and who moved.

    Each date is scored with the model's own columns, weights and segments, as `kindred score` would on that date,
    except that ids are joined by all links of `source.identities` up to ``params.as_of``, also at earlier dates. With
    ``score.hysteresis``, the result is that of running `kindred score` on each date in order, into one file.

    Parameters
    ----------
    every : str
        week, month or quarter.
    since : datetime, optional
        Earliest date. By default a year before ``params.as_of``, but no date with less history than
        ``minimum.usual_history_days``.

    Raises
    ------
    UserError
        The log covers fewer than two such dates, or the model or the source cannot be used. Old files are unchanged.
    """
    require_known_suffix(out, key="--out")
    files.require_not_read(out, source_files(params))
    with workspace(params) as session:
        engine, trained = session.engine, open_model(session, model_uri)
        progress("reading and checking")
        source = read_source(engine.con, params, rejected_path=None)
        first = first_event(source, params)
        since = since or max(params.as_of - YEAR, first + timedelta(days=params.minimum.usual_history_days))
        dates = scoring_dates(params.as_of, every, since=since, first=first)
        # Each date reads the events several times, so they are parsed once and kept.
        staged = replace(source, events=engine.materialise(source.events, "staged_events"))
        scores, unknown = _score_dates(engine, staged, trained, params, dates, progress)
        progress("moves")
        whole = with_names(scores, model_registry.given_names(session.store))
        signs = sanity_checks.foreign_model_signs(params, trained.params, trained.shop.spec.cut, unknown)
        progress("writing")
        return write(
            summarise_migration(whole, min_group=params.naming.min_group),
            params,
            out=out,
            inputs={"source": source.summary.digest, "model": trained.model.uri},
            run_id=trained.model.run_id,
            names=names_in(session.store, params, trained.model.run_id),
            warnings=sanity_checks.check_as_of_age(params, source.summary)
            + sanity_checks.check_model(params, trained.params, signs),
            page_notes=lambda words: _page_notes(dates[0], first, trained.params, words),
            history=whole.sort_values(["customer_id", "as_of"], kind="stable", ignore_index=True),
        )


def _score_dates(
    engine: Engine, source: Source, trained: TrainedModel, params: Params, dates: Sequence[datetime], progress: Progress
) -> tuple[pd.DataFrame, float]:
    """The segmentations of every customer at each date, date by date; and `unknown_share` at the last date."""
    scores: list[pd.DataFrame] = []
    previous: pd.DataFrame | None = None
    for as_of in progress.each("scoring dates", dates, len(dates)):
        profiles = build_profiles(engine, source, trained.params_at(as_of), shop=trained.shop, as_scored=True)
        predicted = trained.model.predict(profiles.table)
        ids, margin = profiles.table.customer_id, params.score.hysteresis
        if previous is not None and margin:
            before = rows_of(ids, previous)
            predicted, _ = keep_previous_near_borders(predicted, before, trained.prefixes, margin=margin)
        previous = predicted.assign(customer_id=ids, as_of=pd.Timestamp(as_of))
        scores.append(_with_rule_groups(profiles, previous))
    evidence = profiles.table.evidence.fillna(0.0)
    unknown = sanity_checks.unknown_share((profiles.table[SHARE_PREFIX + OTHER] * evidence).sum(), evidence.sum())
    return pd.concat(scores, ignore_index=True), unknown


def scoring_dates(as_of: datetime, every: str, *, since: datetime, first: datetime) -> list[datetime]:
    """``as_of`` and each step before it, from ``since`` on and after the log's ``first`` event, in order.

    Raises
    ------
    UserError
        There is only one.
    """
    dates = [as_of]
    while True:
        # Each step counts from as_of, so dates on the 31st keep it in months of 31 days.
        days, months = STEPS[every]
        step = pd.DateOffset(days=days * len(dates), months=months * len(dates))
        date = (pd.Timestamp(as_of) - step).to_pydatetime()
        if date < since or date <= first:
            break
        dates.append(date)
    if len(dates) < 2:
        raise UserError(
            f"expected at least two dates, a {every} apart, from {max(since, first):%Y-%m-%d} to as_of "
            f"({as_of:%Y-%m-%d}), found one. The log starts on {first:%Y-%m-%d}. Choose an earlier --from, a later "
            "as_of, or a shorter step with --every."
        )
    return dates[::-1]


def parse_date(text: str, *, option: str = "--from") -> datetime:
    """A date or time in ISO format, in UTC unless it names a time zone.

    Raises
    ------
    UserError
        The text is not a date.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{option} {text[:40]}: expected a date such as 2025-01-31.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _with_rule_groups(profiles: Profiles, segments: pd.DataFrame) -> pd.DataFrame:
    columns = segmentation_columns(segments.columns)
    rule_groups = profiles.table[[name for name in columns if name not in segments]]
    return pd.concat([segments, rule_groups], axis=1)[columns]


def _page_notes(earliest: datetime, first: datetime, trained: Params, words: Wording) -> list[str]:
    """Notes for dates before the model's training, or with too little history to fill the window."""
    day = words.moment(f"{earliest:%Y-%m-%d %H:%M}")
    past = words("moves.past", date=words.moment(f"{trained.as_of:%Y-%m-%d %H:%M}"))
    age, window, lost = (earliest - first).days, trained.history_days, trained.journey.lost_days
    young = words("moves.young", date=day, days=words("days", count=age), window=words("days", count=window))
    young_lost = words("moves.young_lost", days=words("days", count=lost))
    notes = {past: earliest < trained.as_of, young: age < window, young_lost: age < min(window, lost)}
    return [text for text, applies in notes.items() if applies]
