"""`kindred train`: reads the log, builds profiles, clusters each facet, names segments, and reports and logs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from features.categories import OTHER
from models.disclosure import rounded_count
from models.migration_tables import stage_moves
from models.segmentation import FittedClusters
from pipeline.audiences.monday import monday_actions, training_scores
from pipeline.commands.check import unlisted_note
from pipeline.commands.train_log import log_trained_model, log_training
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of, with_facets, with_minimum
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.ingest.duplicates import retry_warnings
from pipeline.ingest.source import Source
from pipeline.ingest.summaries import read_shop
from pipeline.profiles.build import Profiles, build_profiles
from pipeline.profiles.cutoffs import training_sample
from pipeline.profiles.interest_fit import Backtest, fitted_params
from pipeline.profiles.search_queries import counts_text
from pipeline.profiles.unusual import set_apart
from pipeline.report.pages.render import render
from pipeline.report.publish import REPORT, results_folder, write_results
from pipeline.report.summary import Summary
from pipeline.report.training_result import TrainingResult
from pipeline.segmentation import data_requirements, sanity_checks
from pipeline.segmentation.candidates.search_space import needs_choice
from pipeline.segmentation.choose import candidates_text, choose_and_fit
from pipeline.segmentation.cluster import cluster, clustered
from pipeline.segmentation.describe import Segments, describe_segments, seasonal_lifts
from pipeline.segmentation.expected_values import fit_expected_values
from pipeline.segmentation.lineage import Champion, SegmentIdentity, champion_assignments, identify, with_names
from pipeline.segmentation.name_proposals import add_proposals, require_proposer
from pipeline.segmentation.predictive_validity import (
    CutoffData,
    build_cutoffs,
    measure_latest_validity,
)
from pipeline.segmentation.profile_cards import add_cards
from pipeline.segmentation.retention import add_retention
from pipeline.segmentation.training_summary import FacetFindings, TrainingFindings, training_summary
from pipeline.stores import mlflow_runs, model_registry
from pipeline.stores.engines.engine import Engine
from pipeline.stores.run_log import OpenRun, close_stale_runs, run_tags, start_run
from pipeline.stores.workspace import workspace


@dataclass(frozen=True)
class ReadLog:
    """The input of a training: the log, its profiles now and at earlier cutoffs, and notes on the data."""

    source: Source
    profiles: Profiles
    past: list[CutoffData]
    backtest: Backtest | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ClusteredFacet:
    """A facet with its settings chosen, its clusters and their identities.

    Attributes
    ----------
    candidates : str
        The candidates that were tried, as text; empty if there was no choice.
    """

    facet: Facet
    fitted: FittedClusters
    identity: SegmentIdentity
    candidates: str


@dataclass(frozen=True)
class PublishedModel:
    """The registered model of a training, and its report in the outputs folder."""

    uri: str
    alias: str
    has_champion: bool
    report_path: Path


def train(params: Params, *, sweep: bool, progress: Progress) -> TrainingResult:
    """Find, name and evaluate the segments of a shop, and log the run.

    Raises
    ------
    UserError
        The source, the parameters or the store cannot be used. No partial output is left behind.
    """
    require_proposer(params)
    given = params.redacted()
    # Matrix products are small here, and further threads of BLAS wait busily for the next one.
    with threadpool_limits(limits=1, user_api="blas"), workspace(params, uses_cluster=True) as session:
        params, log = _read(session.engine, params, session.folder, sweep=sweep, progress=progress)
        facets, facet_notes = _usable_facets(log, params)
        store = mlflow_runs.open_store(session.params, create=True)
        close_stale_runs(store)
        with start_run(store, name=f"Training of {params.as_of:%Y-%m-%d}", tags=run_tags(params)) as run:
            champion = champion_assignments(store, log.profiles, params)
            clustered_facets = [
                _cluster_facet(run, log, champion, params, facet, sweep=sweep, progress=progress) for facet in facets
            ]
            params = with_facets(params, [item.facet for item in clustered_facets])
            progress("naming and describing")
            findings = _describe(session.engine, log, clustered_facets, params, notes=facet_notes, progress=progress)
            is_fitted = log.backtest is not None and log.backtest.fitted.is_fitted
            actions = monday_actions(
                session.con,
                training_scores(findings),
                separator=params.source.category_separator,
                min_group=params.naming.min_group,
            )
            summary = training_summary(params, findings, run.run_id, is_fitted=is_fitted, actions=actions)
            report = render(summary, params.language)
            progress("tracking")
            log_training(run, given, params.redacted(), findings, log.backtest, summary, report, sweep=sweep)
            model = _publish(run, params, findings, summary, report)
    return _result(run.run_id, model, params, findings, clustered_facets, sweep=sweep)


def _publish(run: OpenRun, params: Params, findings: TrainingFindings, summary: Summary, report: str) -> PublishedModel:
    """Write the report and the segments to the outputs folder, and register the model."""
    with mlflow_runs.one_at_a_time(params):  # otherwise two first trainings could both become champion
        # Written before the model is registered, so a full disk cannot leave a failed run as champion.
        alias = model_registry.alias_of_next(run.store, is_short=data_requirements.is_short(findings.source, params))
        folder = results_folder(params, alias)
        write_results(folder, summary, report, params_digest=params.digest(), versions=mlflow_runs.versions())
        uri = log_trained_model(run, params.redacted(), findings, alias=alias)
        for facet in findings.facets:
            for segment_id, name in facet.segments.inherited_names.items():
                model_registry.set_given_name(run.store, segment_id, name)
    return PublishedModel(uri, alias, model_registry.has_champion(run.store), folder / REPORT)


def _result(
    run_id: str,
    model: PublishedModel,
    params: Params,
    findings: TrainingFindings,
    clustered_facets: Sequence[ClusteredFacet],
    *,
    sweep: bool,
) -> TrainingResult:
    choice_reasons = (facet.fitted.choice_reason for facet in findings.facets if facet.fitted.choice_reason)
    return TrainingResult(
        run_id=run_id,
        model_uri=model.uri,
        alias=model.alias,
        has_champion=model.has_champion,
        segments=pd.concat([facet.segments.frame() for facet in findings.facets], ignore_index=True),
        report_path=model.report_path,
        notes=(*findings.notes, *choice_reasons),
        lineage=findings.lineage,
        params=params,
        predicted=findings.validity.as_lines() if findings.validity else "",
        candidates="\n\n".join(facet.candidates for facet in clustered_facets if facet.candidates) if sweep else "",
    )


def _read(engine: Engine, params: Params, folder: Path, *, sweep: bool, progress: Progress) -> tuple[Params, ReadLog]:
    """Read the log and build profiles now and at earlier cutoffs; also returns params with the fitted interests."""
    progress("reading and checking")
    source = read_shop(engine, params, rejected_path=folder / "rejected.parquet")
    if reason := data_requirements.no_recent_events(source, params):
        raise UserError(reason)
    params = with_minimum(params, has_orders_alone=source.summary.has_orders_alone)
    source, params, unusual = set_apart(engine, source, params, folder)
    source = training_sample(engine, source, params)
    params, backtest, note = fitted_params(engine, source, params, progress=progress)
    last_only = not any(needs_choice(facet, sweep=sweep) for facet in facets_of(params))
    past, cutoffs_note = build_cutoffs(engine, source, params, last_only=last_only, progress=progress)
    profiles = build_profiles(engine, source, params, progress=progress)
    notes = (
        *unusual,
        data_requirements.sample_note(source, params),
        *_data_warnings(engine, source, profiles, params),
        note,
        cutoffs_note,
        counts_text(profiles.query_counts),
    )
    return params, ReadLog(source, profiles, past, backtest, tuple(text for text in notes if text))


def _usable_facets(log: ReadLog, params: Params) -> tuple[list[Facet], list[str]]:
    """The facets with enough data to cluster, and a note on each that is left out or leaves out customers."""
    usable, notes = [], []
    profile, minimum = log.profiles.table, params.minimum.customers
    categories = [name for name in log.profiles.shop.spec.cut.categories if name != OTHER]
    for facet in facets_of(params):
        count = int(clustered(profile, facet).sum())
        reason = ""
        if facet.is_named_by_interests and len(categories) < 2:
            reason = "the log has fewer than two categories"
        elif not facet.is_first and count < max(minimum, 1):
            known = rounded_count(count, params.naming.min_group)
            reason = f"{known:,} customers have enough events and evidence (minimum.customers: {minimum})"
        if reason and facet.is_first:
            raise UserError(
                f"facets.{facet.name}: expected data to segment by, but {reason}. List another facet first."
            )
        if not reason:
            usable.append(facet)
            notes.append(data_requirements.not_clustered_note(facet, count, len(profile), params.naming.min_group))
        elif log.source.summary.has_products or not facet.is_named_by_interests:
            notes.append(f"No segments by {facet.name}: {reason}.")
    return usable, notes


def _cluster_facet(
    run: OpenRun,
    log: ReadLog,
    champion: Champion | None,
    params: Params,
    facet: Facet,
    *,
    sweep: bool,
    progress: Progress,
) -> ClusteredFacet:
    """Choose the settings of a facet, cluster it, and match its segments with the champion's."""
    starts, candidates = champion.starts(facet) if champion else {}, ""
    if needs_choice(facet, sweep=sweep):
        choice = choose_and_fit(run, log.profiles, log.past[:-1], params, facet, starts, sweep=sweep, progress=progress)
        facet, fitted, candidates = choice.facet, choice.fitted, candidates_text(choice.trials, params, choice.facet)
    else:
        progress(f"clustering {facet.name} with {facet.settings.algorithm}")
        fitted = cluster(log.profiles, params, facet, starts=starts)
    identity = identify(run.store, champion, fitted, params, facet, run_id=run.run_id)
    return ClusteredFacet(facet, replace(fitted, ids=identity.ids), identity, candidates)


def _describe(
    engine: Engine,
    log: ReadLog,
    facets: Sequence[ClusteredFacet],
    params: Params,
    *,
    notes: Sequence[str],
    progress: Progress,
) -> TrainingFindings:
    """Describe the facets: names, cards, proposed names, retention and predictive validity, with all notes."""
    described = [_describe_facet(log.profiles, facet, params) for facet in facets]
    progress("building segment cards")
    described, cards = add_cards(log.source, log.profiles, described, params)
    described, proposals_note = add_proposals(described, params, progress=progress)
    progress("measuring retention")
    described = add_retention(engine, log.source, log.past, log.profiles, described, params)
    progress("measuring predictive validity")
    validity, validity_notes = measure_latest_validity(log.past, params, progress)
    progress("fitting the expected value")
    expected_value = fit_expected_values(log.past, params)
    all_notes = (
        *(text for facet in facets for text in facet.fitted.notes),
        *notes,
        *log.notes,
        *(facet.identity.note for facet in facets),
        *(note for segments in described for note in segments.notes),
        *cards.notes,
        proposals_note,
        *validity_notes,
        expected_value.note,
    )
    return TrainingFindings(
        source=log.source,
        profiles=log.profiles,
        facets=[
            FacetFindings(facet.fitted, segments, with_names(facet.identity.lineage, segments.rows, params.language))
            for facet, segments in zip(facets, described, strict=True)
        ],
        cards=cards,
        validity=validity,
        moved=_stage_moves(log.past, log.profiles, params),
        notes=tuple(text for text in all_notes if text),
        expected_value=expected_value,
    )


def _describe_facet(profiles: Profiles, facet: ClusteredFacet, params: Params) -> Segments:
    return describe_segments(
        profiles,
        facet.fitted,
        params,
        facet.facet,
        seasonal_lift=seasonal_lifts(profiles, facet.fitted, params, facet.facet),
        champion_names=facet.identity.champion_names,
        given_names=facet.identity.given_names,
        lost_names=facet.identity.lost_names,
    )


def _data_warnings(engine: Engine, source: Source, profiles: Profiles, params: Params) -> list[str]:
    """Warnings and notes about the quality of the log.

    Raises
    ------
    UserError
        The log does not have enough data.
    """
    transactions = engine.table("transactions")
    buyers, min_group = profiles.table[profiles.table.order_count > 0], params.naming.min_group
    warnings = (
        sanity_checks.check_as_of_age(params, source.summary)
        + sanity_checks.check_purchases(transactions, source.products)
        + sanity_checks.check_contact_events(profiles.table, min_group)
        + sanity_checks.check_category_coverage(params, profiles)
        + sanity_checks.check_rfm_ties(buyers, profiles.shop.spec.value_cuts, params)
        + retry_warnings(transactions, params)
    )
    short = data_requirements.require_enough(source, profiles, params)
    missing = sanity_checks.check_missing_data(params, source, profiles)
    notes = (
        data_requirements.rounding_note(profiles.table.net_spend, min_group),
        unlisted_note(source.summary, min_group),
    )
    return [*(f"Warning: {text}" for text in warnings), *short, *missing, *notes]


def _stage_moves(past: list[CutoffData], profiles: Profiles, params: Params) -> dict[str, object] | None:
    """Lifecycle moves since the last cutoff, for the customers known then; None without a cutoff."""
    if not past:
        return None
    then, min_group = past[-1], params.naming.min_group
    return stage_moves(then.profiles.table, profiles.table, since=f"{then.cutoff:%Y-%m-%d %H:%M}", min_group=min_group)
