"""`kindred train`: read, profile, cluster each facet, name, report, track. Top to bottom."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from features.categories import OTHER
from features.events import ObservationWindow
from models.migration_tables import stage_moves
from models.segmentation import FittedClusters, Segmentation, input_columns
from pipeline.commands.check import unlisted_note
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of, with_facets
from pipeline.config.params import Params
from pipeline.ingest.source import Source, read_source
from pipeline.profiles.build import Profiles, Progress, build_profiles
from pipeline.profiles.interest_fit import Backtest, fitted_params, log_backtest
from pipeline.profiles.search_queries import counts_text, query_metrics
from pipeline.profiles.shop import save_shop
from pipeline.report import plots
from pipeline.report.markdown import as_markdown
from pipeline.report.pages.facet_table import facet_table
from pipeline.report.pages.render import render
from pipeline.report.publish import REPORT, flat_segments, results_folder, write_results
from pipeline.report.training_result import Trained
from pipeline.segmentation import sanity_checks
from pipeline.segmentation.choose import candidates_text, choose_and_fit, clustered, is_to_choose
from pipeline.segmentation.cluster import cluster
from pipeline.segmentation.data_requirements import require_enough
from pipeline.segmentation.describe import Segments, describe_segments, seasonal_leaning
from pipeline.segmentation.lineage import Champion, Identified, ask_champion, identify, with_names
from pipeline.segmentation.name_proposals import require_proposer, with_proposals
from pipeline.segmentation.predictive_validity import Past, foretell, pasts
from pipeline.segmentation.profile_cards import with_cards
from pipeline.segmentation.retention import with_staying
from pipeline.segmentation.training_summary import Found, FoundFacet, metrics, training_summary
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.database import TEMPORARY, connect
from pipeline.stores.mlflow_runs import LINEAGE


@dataclass(frozen=True)
class ReadLog:
    """What a training starts from: the log, its profiles now and at earlier cutoffs, and what was noticed."""

    source: Source
    profiles: Profiles
    past: list[Past]
    backtest: Backtest | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ClusteredFacet:
    """A facet with its settings chosen, its clusters and their identities.

    Attributes
    ----------
    tried : str
        The candidates, in words; empty where nothing was chosen.
    """

    facet: Facet
    fitted: FittedClusters
    known: Identified
    tried: str


def train(params: Params, *, sweep: bool, progress: Progress) -> Trained:
    """Find, name, judge and track the segments of a shop.

    Raises
    ------
    UserError
        The source, the parameters or the store cannot be used; nothing half written remains.
    """
    require_proposer(params)
    folder = params.path(params.outputs.folder)
    with files.lock(folder), connect(params.engine, folder=folder) as con:
        params, log = _read(con, params, folder, sweep=sweep, progress=progress)
        facets, left_out = _facets_with_columns(log.profiles, params)
        mlflow = mlflow_runs.open_store(params)
        mlflow_runs.close_stale_runs(mlflow, params)
        name = f"{'sweep of ' if sweep else ''}segments {params.as_of:%Y-%m-%d}"
        with mlflow_runs.run(mlflow, name=name, tags=mlflow_runs.run_tags(params)) as run_id:
            champion = ask_champion(mlflow, log.profiles, params)
            found_facets = [
                _clustered(mlflow, log, champion, params, facet, run_id, sweep=sweep, progress=progress)
                for facet in facets
            ]
            params = with_facets(params, [one.facet for one in found_facets])
            progress("naming and describing")
            found = _described(con, log, found_facets, params, notes=left_out, progress=progress)
            is_fitted = log.backtest is not None and log.backtest.fitted.is_fitted
            summary = training_summary(params, found, run_id, is_fitted=is_fitted)
            report = render(summary, params.language)
            progress("tracking")
            _log_run(mlflow, params.redacted(), log, found, summary, report, sweep=sweep)
            with mlflow_runs.one_at_a_time(params):  # or two first trainings would both be the champion
                # Before the model is registered: a full disk must not leave a champion of a run that failed.
                place = results_folder(
                    params, "challenger" if model_registry.has_champion(mlflow, params) else "champion"
                )
                write_results(place, summary, report, params_digest=params.digest(), versions=mlflow_runs.versions())
                uri, alias = _log_model(mlflow, params.redacted(), found)
    return Trained(
        run_id=run_id,
        model_uri=uri,
        alias=alias,
        segments=pd.concat([one.segments.frame() for one in found.facets], ignore_index=True),
        report_path=place / REPORT,
        notes=(*found.notes, *(one.fitted.choice_reason for one in found.facets if one.fitted.choice_reason)),
        lineage=found.lineage,
        params=params,
        predicted=found.validity.as_line() if found.validity else "",
        candidates="\n\n".join(one.tried for one in found_facets if one.tried) if sweep else "",
    )


def _read(con: Any, params: Params, folder: Path, *, sweep: bool, progress: Progress) -> tuple[Params, ReadLog]:
    """The log, its profiles and those of earlier cutoffs; and the parameters with the interest formula fitted."""
    progress("reading and checking")
    source = read_source(con, params, rejected_path=folder / "rejected.parquet")
    _require_recent_events(source, params)
    params, measured, note = fitted_params(con, source, params, progress=progress)
    last_only = not any(is_to_choose(facet, sweep=sweep) for facet in facets_of(params))
    past, unmeasured = pasts(con, source, params, last_only=last_only, progress=progress)
    profiles = build_profiles(con, source, params, progress=progress)
    notes = (*_doubts(con, source, profiles, params), note, unmeasured, counts_text(profiles.query_counts))
    return params, ReadLog(source, profiles, past, measured, tuple(text for text in notes if text))


def _facets_with_columns(profiles: Profiles, params: Params) -> tuple[list[Facet], list[str]]:
    """The facets that there is something to cluster by for, and a note on each that is left out."""
    kept, notes = [], []
    categories = [name for name in profiles.shop.spec.cut.categories if name != OTHER]
    for facet in facets_of(params):
        count, least = int(clustered(profiles.table, facet).sum()), params.minimum.customers
        reason = ""
        if facet.names_interests and len(categories) < 2:
            reason = "the log has fewer than two categories"
        elif not facet.is_first and count < max(least, 1):
            reason = f"{count:,} customers have enough events and evidence (minimum.customers: {least})"
        if reason and facet.is_first:
            raise UserError(f"facets.{facet.name}: expected something to segment by; {reason}. Put another first.")
        if reason:
            notes.append(f"No segments by {facet.name}: {reason}.")
        else:
            kept.append(facet)
    return kept, notes


def _clustered(
    mlflow: Any,
    log: ReadLog,
    champion: Champion | None,
    params: Params,
    facet: Facet,
    run_id: str,
    *,
    sweep: bool,
    progress: Progress,
) -> ClusteredFacet:
    """A facet with its settings chosen, clustered, and matched with the champion's segments."""
    starts, tried = champion.starts(facet) if champion else {}, ""
    if is_to_choose(facet, sweep=sweep):
        made = choose_and_fit(
            mlflow, log.profiles, log.past[:-1], params, facet, starts, sweep=sweep, progress=progress
        )
        facet, fitted, tried = made.facet, made.fitted, candidates_text(made.tried, params, made.facet)
    else:
        progress(f"clustering {facet.name} with {facet.settings.algorithm}")
        fitted = cluster(log.profiles, params, facet, starts=starts)
    known = identify(mlflow, champion, fitted, params, facet, run_id=run_id)
    return ClusteredFacet(facet, replace(fitted, ids=known.ids), known, tried)


def _described(
    con: Any,
    log: ReadLog,
    facets: Sequence[ClusteredFacet],
    params: Params,
    *,
    notes: Sequence[str],
    progress: Progress,
) -> Found:
    """The facets with names, cards, what is proposed, who stayed and what they predict; and what to know of them."""
    described = [_described_facet(log.profiles, one, params) for one in facets]
    progress("who, what, why, when and where")
    described, cards = with_cards(log.source, log.profiles, described, params)
    described, doubt = with_proposals(described, params, progress=progress)
    progress("who stayed")
    described = with_staying(con, log.source, log.past, log.profiles, described, params)
    progress("what segments predict")
    validity, unmeasured = foretell(log.past, params)
    found_notes = (
        *(text for one in facets for text in one.fitted.notes),
        *notes,
        *log.notes,
        *(one.known.note for one in facets),
        *cards.notes,
        doubt,
        *unmeasured,
    )
    return Found(
        source=log.source,
        profiles=log.profiles,
        facets=[
            FoundFacet(one.fitted, segments, with_names(one.known.lineage, segments.table))
            for one, segments in zip(facets, described, strict=True)
        ],
        cards=cards,
        validity=validity,
        moved=_moved(log.past, log.profiles, params),
        notes=tuple(text for text in found_notes if text),
    )


def _described_facet(profiles: Profiles, one: ClusteredFacet, params: Params) -> Segments:
    return describe_segments(
        profiles,
        one.fitted,
        params,
        one.facet,
        leaning=seasonal_leaning(profiles, one.fitted, params, one.facet),
        known_names=one.known.names,
        given_names=one.known.given,
    )


def _doubts(con: Any, source: Source, profiles: Profiles, params: Params) -> list[str]:
    """What makes the log less than one would wish for.

    Raises
    ------
    UserError
        It is not enough.
    """
    transactions = con.table("transactions", database=TEMPORARY)
    doubts = (
        sanity_checks.of_moment(params, source.summary)
        + sanity_checks.of_spend(transactions)
        + sanity_checks.of_items(transactions, source.products)
        + sanity_checks.of_contacts(profiles.table)
        + sanity_checks.of_categories(profiles)
    )
    short = require_enough(source, profiles, params)
    absent = sanity_checks.of_absences(profiles.table)
    return [*(f"Beware: {text}" for text in doubts), *short, *absent, unlisted_note(source.summary.as_dict())]


def _moved(past: list[Past], profiles: Profiles, params: Params) -> dict[str, object] | None:
    """Who moved in the lifecycle since the last cutoff, of the customers looked at then."""
    if not past:
        return None
    then, least = past[-1], params.naming.min_group
    return stage_moves(then.profiles.table, profiles.table, since=f"{then.cutoff:%Y-%m-%d %H:%M}", min_group=least)


def _require_recent_events(source: Source, params: Params) -> None:
    last = datetime.fromisoformat(source.summary.last_event_at)
    if last < ObservationWindow(params.as_of, params.history_days).start:
        raise UserError(
            f"as_of: expected events in the {params.history_days:g} days (history_days) before "
            f"{params.as_of:%Y-%m-%d %H:%M}, found none. The last event was at {last:%Y-%m-%d %H:%M}; name a moment "
            "soon after it."
        )


def _log_run(
    mlflow: Any, params: Params, log: ReadLog, found: Found, summary: dict[str, Any], report: str, *, sweep: bool
) -> None:
    """Log parameters, figures and texts; ``params`` hold no password."""
    counts = " and ".join(f"{one.fitted.n_segments} by {one.segments.facet.name}" for one in found.facets)
    name = f"{counts}, {params.as_of:%Y-%m-%d}"
    mlflow_runs.describe_run(mlflow, name=f"sweep: {name}" if sweep else name, text=as_markdown(summary))
    if log.backtest:
        log_backtest(mlflow, log.backtest)
    mlflow_runs.log_parameters(mlflow, params.flat())
    mlflow.log_metrics(metrics(found.facets) | query_metrics(found.profiles.query_counts))
    mlflow.log_metrics(found.validity.metrics() if found.validity else {})
    mlflow.log_dict(params.model_dump(mode="json"), "params.json")
    mlflow.log_dict(summary, "summary.json")
    mlflow.log_text(report, "report.html")
    mlflow.log_table(flat_segments(summary).to_dict(orient="list"), "segments.json")
    mlflow.log_text(json.dumps(found.lineage, ensure_ascii=False, indent=1), LINEAGE)
    columns = found.source.events.limit(0).to_pandas()
    mlflow_runs.log_source(mlflow, digest=summary["reading"]["digest"], columns=columns)
    for one in found.facets:
        drawn = plots.figures(one.segments, one.fitted, seed=params.seed)
        mlflow_runs.log_figures(mlflow, {f"{one.segments.facet.name}/{key}": figure for key, figure in drawn.items()})
    if table := facet_table(summary):
        mlflow_runs.log_figures(mlflow, {"crossing": plots.crossing_figure(table)})


def _log_model(mlflow: Any, params: Params, found: Found) -> tuple[str, str]:
    """Log and register the model; gives its URI and alias. ``params`` go with it, and hold no password."""
    profiles = found.profiles
    segmentation = Segmentation({one.segments.facet.name: one.segments.model for one in found.facets})
    with tempfile.TemporaryDirectory(prefix="kindred-") as place:
        model = Path(place)
        segmentation.save(model / model_registry.MODEL_FOLDER)
        save_shop(profiles.shop, params, model / model_registry.SHOP_FOLDER)
        example = profiles.table[input_columns(profiles.shop.spec.columns())].head(0)
        predicted = segmentation.predict(profiles.table.head(5)).head(0)
        return model_registry.log_model(mlflow, params, folder=model, example=example, predicted=predicted)
