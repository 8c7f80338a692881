"""`kindred history`: the shop scored at several moments in one pass over its log, and who moved between them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from models.migration_tables import migrate, places_in
from pipeline.commands.migration import require_table_name, with_names, write
from pipeline.commands.rename import names_in
from pipeline.config.errors import UserError
from pipeline.config.facets import facets_of
from pipeline.config.params import Params
from pipeline.ingest.raw_tables import source_files
from pipeline.ingest.source import read_source
from pipeline.profiles.build import Profiles, Progress, build_profiles
from pipeline.profiles.cutoffs import first_event
from pipeline.profiles.shop import load_shop
from pipeline.report.texts.wording import Wording
from pipeline.scoring.hysteresis import hold, needed
from pipeline.segmentation import sanity_checks
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.database import connect, materialise

STEPS = {"week": (7, 0), "month": (0, 1), "quarter": (0, 3)}
"""Days and months from one moment to the next."""
YEAR = timedelta(days=365)


def history(
    params: Params, *, every: str, since: datetime | None, model_uri: str, out: Path, progress: Progress
) -> str:
    """Score everybody at ``params.as_of`` and each step before it; write who was where, and who moved.

    Every moment has the model's own columns, weights and segments, so that it is as `kindred score` at that moment;
    with ``score.hysteresis``, as `kindred score` at each moment in turn into one file.

    Parameters
    ----------
    every : str
        week, month or quarter.
    since : datetime, optional
        Earliest moment; if it is not given, a year before ``params.as_of``, but none at which the log is younger than
        ``minimum.usual_history_days``.

    Raises
    ------
    UserError
        The log has no two such moments, or the model or the source cannot be used; old files stay as they were.
    """
    require_table_name(out)
    files.require_not_read(out, source_files(params))
    folder = params.path(params.outputs.folder)
    with files.lock(folder), connect(params.engine, folder=folder) as con:
        mlflow = mlflow_runs.open_store(params)
        model = model_registry.load_model(mlflow, model_uri)
        shop, trained = load_shop(model.shop_folder, params.folder)
        progress("reading and checking")
        source = read_source(con, params, rejected_path=None)
        first = first_event(source, params)
        since = since or max(params.as_of - YEAR, first + timedelta(days=params.minimum.usual_history_days))
        dates = moments(params.as_of, every, since=since, first=first)
        # Each moment reads the events several times: parsed once and kept, that is cheap.
        staged = replace(source, events=materialise(con, source.events, "staged_events"))
        prefixes = [facet.column_prefix for facet in facets_of(trained)]
        scored: list[pd.DataFrame] = []
        last: pd.DataFrame | None = None
        for place, as_of in enumerate(dates, 1):
            progress(f"{as_of:%Y-%m-%d}, {place} of {len(dates)}")
            profiles = build_profiles(con, staged, trained.model_copy(update={"as_of": as_of}), shop=shop)
            predicted = model.predict(profiles.table)
            if last is not None and params.score.hysteresis:
                ids, margin = profiles.table.customer_id, params.score.hysteresis
                predicted, _ = hold(predicted, ids, last, prefixes, margin=margin)
            last = predicted.assign(customer_id=profiles.table.customer_id, as_of=pd.Timestamp(as_of))[needed(prefixes)]
            scored.append(_places(profiles, last))
        progress("moves")
        whole = with_names(pd.concat(scored, ignore_index=True), model_registry.given_names(mlflow, params))
        found = migrate(whole, min_group=params.naming.min_group)
        signs = sanity_checks.of_another_shop(params, trained, shop.spec.cut, profiles.table)
        progress("writing")
        return write(
            found,
            params,
            out=out,
            inputs={"source": source.summary.digest, "model": model.uri},
            run_id=model.run_id,
            names=names_in(mlflow, params, model.run_id),
            beware=sanity_checks.of_moment(params, source.summary) + sanity_checks.of_model(params, trained, signs),
            cautions=lambda words: _cautions(dates[0], first, trained, words),
            history=whole.sort_values(["customer_id", "as_of"], kind="stable", ignore_index=True),
        )


def moments(as_of: datetime, every: str, *, since: datetime, first: datetime) -> list[datetime]:
    """``as_of`` and each step before it, not before ``since``, and after the log's ``first`` event, in order.

    Raises
    ------
    UserError
        There is but one.
    """
    found = [as_of]
    while True:
        # From the end each time, so that months of 31 days keep their 31st.
        days, months = STEPS[every]
        step = pd.DateOffset(days=days * len(found), months=months * len(found))
        moment = (pd.Timestamp(as_of) - step).to_pydatetime()
        if moment < since or moment <= first:
            break
        found.append(moment)
    if len(found) < 2:
        raise UserError(
            f"expected two moments or more, a {every} apart, from {max(since, first):%Y-%m-%d} to "
            f"as_of ({as_of:%Y-%m-%d}); found one. The log begins on {first:%Y-%m-%d}. Name an earlier --from, a later "
            "as_of, or a shorter step with --every."
        )
    return found[::-1]


def a_date(text: str) -> datetime:
    """A day or moment as people type it, UTC where it names no zone.

    Raises
    ------
    UserError
        It is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"--from {text[:40]}: expected a date such as 2025-01-31.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _places(profiles: Profiles, placed: pd.DataFrame) -> pd.DataFrame:
    columns = places_in(placed.columns)
    by_rule = profiles.table[[name for name in columns if name not in placed]]
    return pd.concat([placed, by_rule], axis=1)[columns]


def _cautions(earliest: datetime, first: datetime, trained: Params, words: Wording) -> list[str]:
    """Whether dates lie before the training of the model, or the log is too young at them to fill the window."""
    day = words.moment(f"{earliest:%Y-%m-%d %H:%M}")
    past = words("moves.past", date=words.moment(f"{trained.as_of:%Y-%m-%d %H:%M}"))
    age, window, lost = (earliest - first).days, trained.history_days, trained.journey.lost_days
    young = words("moves.young", date=day, days=words("days", count=age), window=words("days", count=window))
    young_lost = words("moves.young_lost", days=words("days", count=lost))
    holds = {past: earliest < trained.as_of, young: age < window, young_lost: age < min(window, lost)}
    return [text for text, is_so in holds.items() if is_so]
