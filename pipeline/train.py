"""`kindred train`: read, profile, cluster, name, report, track. Top to bottom."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.events import ObservationWindow
from models.segmentation import FittedClusters, input_columns
from pipeline import beware, outputs, registry, tracking
from pipeline.backtest import fitted_params, log_backtest
from pipeline.cards import Cards, with_cards
from pipeline.check import unlisted_note
from pipeline.clusters import cluster
from pipeline.commands import command, to_see_runs
from pipeline.engines import TEMPORARY, connect
from pipeline.errors import UserError
from pipeline.identity import LINEAGE, Champion, Identified, ask_champion, identify, with_names
from pipeline.minimum import history_days, require_enough
from pipeline.params import Params
from pipeline.profiles import Profiles, Progress, build_profiles
from pipeline.proposals import proposals_text, require_proposer, with_proposals
from pipeline.queries import counts_text, query_metrics
from pipeline.report import plots
from pipeline.report.markdown import as_markdown
from pipeline.report.render import render
from pipeline.report.summarise import summarise
from pipeline.report.tables import aligned, lineage_table, lineage_text
from pipeline.report.wording import shown_name
from pipeline.results import REPORT, SHORT_ID, flat_segments, lifts_by_category, results_folder, write_results
from pipeline.segments import Segments, describe_segments, seasonal_leaning
from pipeline.shop import save_shop
from pipeline.sources import Source, read_source
from pipeline.staying import with_staying
from pipeline.sweep import candidates_text, choose_and_fit, is_to_choose
from pipeline.validity import Past, Validity, foretell, pasts
from pipeline.whereabouts import stage_moves


@dataclass(frozen=True)
class Trained:
    """What a training made, and where it lies."""

    run_id: str
    model_uri: str
    alias: str
    segments: pd.DataFrame
    report_path: Path
    notes: tuple[str, ...]
    lineage: list[dict[str, Any]]
    params: Params
    foretold: str = ""
    candidates: str = ""

    def as_text(self) -> str:
        """The table of segments, and what to do next."""
        lineage = lineage_text(self.lineage)
        told = [*([lineage, ""] if lineage else []), *(f"Note: {note}" for note in self.notes)]
        return "\n".join(
            [
                "",
                segments_text(self.segments),
                "",
                *([self.candidates, ""] if self.candidates else []),
                *told,
                *([self.foretold] if self.foretold else []),
                f"Run      {self.run_id}",
                f"Model    {self.model_uri} (@{self.alias})",
                f"Report   {self.report_path}",
                *self._whose_report(),
                *proposals_text(self.params, self.segments, is_champion=self.alias == "champion"),
                f"Next     {to_see_runs(self.params):<27}  # compare runs in MLflow",
                f"         {command(self.params, 'score', '--model', self.model_uri)}",
                f"         {command(self.params, 'report', self.run_id[:SHORT_ID], '--xlsx')}",
            ]
        )

    def _whose_report(self) -> list[str]:
        """What lies in the outputs folder, where it is not of this run."""
        if self.alias == "champion":
            return []
        return [
            f"         of this run; {self.report_path.parents[1] / REPORT} stays the champion's until: "
            f"{command(self.params, 'promote', self.run_id[:SHORT_ID])}"
        ]


def segments_text(segments: pd.DataFrame) -> str:
    """Segments as people read them: name, customers, share of spend, top interests."""
    has_spend = (segments.spend_share.fillna(0.0) > 0).any()  # a log without prices says nothing of it
    rows: list[dict[Any, Any]] = segments.to_dict("records")
    table = pd.DataFrame(
        {
            "Segment": [shown_name(one) for one in rows],
            "Customers": segments.customer_count.map("{:,}".format),
            "Share": segments.customer_share.map("{:.1%}".format),
            "Spend": [
                f"{share:.1%}" if has_spend and share is not None and not np.isnan(share) else "-"
                for share in segments.spend_share
            ],
            "Stability": segments.stability_word.fillna("-"),
            "Top interests": ["; ".join(item["label"] for item in top) or "-" for top in segments.top_categories],
        }
    )
    lines = aligned([[*table.columns], *table.to_numpy().tolist()], right={1, 2, 3}, most=200)
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


@dataclass(frozen=True)
class Found:
    """What a training read and found, before anything is kept of it."""

    source: Source
    profiles: Profiles
    fitted: FittedClusters
    segments: Segments
    cards: Cards
    validity: Validity | None
    moved: dict[str, object] | None


def train(params: Params, *, sweep: bool, progress: Progress) -> Trained:
    """Find, name, judge and track the segments of a shop.

    Raises
    ------
    UserError
        The source, the parameters or the store cannot be used; nothing half written remains.
    """
    require_proposer(params)
    folder = params.path(params.outputs.folder)
    with outputs.lock(folder), connect(params.engine, folder=folder) as con:
        progress("reading and checking")
        source = read_source(con, params, rejected_path=folder / "rejected.parquet")
        _require_recent_events(source, params)
        params, measured, note = fitted_params(con, source, params, progress=progress)
        last_only = not is_to_choose(params, sweep=sweep)
        past, unmeasured = pasts(con, source, params, last_only=last_only, progress=progress)
        profiles = build_profiles(con, source, params, progress=progress)
        notes = (*_doubts(con, source, profiles, params), note, unmeasured, counts_text(profiles.query_counts))
        mlflow = tracking.open_store(params)
        tracking.close_stale_runs(mlflow, params)
        name = f"{params.clustering.algorithm} {params.as_of:%Y-%m-%d}"
        with tracking.run(mlflow, name=f"sweep of {name}" if sweep else name, tags=tracking.run_tags(params)) as run_id:
            champion = ask_champion(mlflow, profiles, params)
            params, fitted, tried = _clustered(mlflow, profiles, past, champion, params, sweep=sweep, progress=progress)
            progress("naming and describing")
            known = identify(mlflow, champion, fitted, params, run_id=run_id)
            fitted = replace(fitted, ids=known.ids)
            segments, cards, doubt = _described(con, source, past, profiles, fitted, known, params, progress=progress)
            progress("what segments foretell")
            validity, told_of_past = foretell(past, params)
            said = (*fitted.notes, *notes, known.note, _shared_tastes(segments), *cards.notes, doubt, *told_of_past)
            notes = tuple(text for text in said if text)
            fitted = replace(fitted, notes=notes)
            found = Found(source, profiles, fitted, segments, cards, validity, _moved(past, profiles, params))
            lineage = with_names(known.lineage, segments.table)
            is_fitted = measured is not None and measured.fitted.is_fitted
            results = _results(params, found, lineage, run_id, is_fitted=is_fitted)
            report = render(results, params.language)
            progress("tracking")
            name = f"{fitted.n_segments} segments, {fitted.algorithm}, {params.as_of:%Y-%m-%d}"
            tracking.describe_run(mlflow, name=f"sweep: {name}" if sweep else name, text=as_markdown(results))
            if measured:
                log_backtest(mlflow, measured)
            _log_run(mlflow, params.redacted(), found, results, report)
            mlflow.log_text(json.dumps(lineage, ensure_ascii=False, indent=1), LINEAGE)
            with tracking.one_at_a_time(params):  # or two first trainings would both be the champion
                # Before the model is registered: a full disk must not leave a champion of a run that failed.
                place = results_folder(params, "challenger" if registry.has_champion(mlflow, params) else "champion")
                write_results(place, results, report, params_digest=params.digest(), versions=tracking.versions())
                uri, alias = _log_model(mlflow, params.redacted(), found)
    notes = (*notes, fitted.choice_reason) if fitted.choice_reason else notes
    foretold, table = validity.as_line() if validity else "", found.segments.frame()
    tried = tried if sweep else ""
    return Trained(run_id, uri, alias, table, place / REPORT, notes, lineage, params, foretold, tried)


def _clustered(
    mlflow: Any,
    profiles: Profiles,
    past: list[Past],
    champion: Champion | None,
    params: Params,
    *,
    sweep: bool,
    progress: Progress,
) -> tuple[Params, FittedClusters, str]:
    """The parameters with the settings chosen, their clusters, and what else was tried."""
    starts = champion.starts() if champion else {}
    if is_to_choose(params, sweep=sweep):
        made = choose_and_fit(mlflow, profiles, past[:-1], params, starts, sweep=sweep, progress=progress)
        return made.params, made.fitted, candidates_text(made.tried, params)
    progress(f"clustering with {params.clustering.algorithm}")
    return params, cluster(profiles, params, starts=starts), ""


def _described(
    con: Any,
    source: Source,
    past: list[Past],
    profiles: Profiles,
    fitted: FittedClusters,
    known: Identified,
    params: Params,
    *,
    progress: Progress,
) -> tuple[Segments, Cards, str]:
    """Segments with names, cards, what is proposed and who stayed; and what is wrong with the proposals."""
    leaning = seasonal_leaning(profiles, fitted, params)
    segments = describe_segments(
        profiles, fitted, params, leaning=leaning, known_names=known.names, given_names=known.given
    )
    progress("who, what, why, when and where")
    segments, cards = with_cards(source, profiles, segments, params)
    segments, doubt = with_proposals(segments, params, progress=progress)
    progress("who stayed")
    return with_staying(con, source, past, profiles, segments, params), cards, doubt


def _doubts(con: Any, source: Source, profiles: Profiles, params: Params) -> list[str]:
    """What makes the log less than one would wish for.

    Raises
    ------
    UserError
        It is not enough.
    """
    transactions = con.table("transactions", database=TEMPORARY)
    doubts = (
        beware.of_moment(params, source.summary)
        + beware.of_spend(transactions)
        + beware.of_items(transactions, source.products)
        + beware.of_contacts(profiles.table)
        + beware.of_categories(profiles)
    )
    short = require_enough(source, profiles, params)
    absent = beware.of_absences(profiles.table)
    return [*(f"Beware: {told}" for told in doubts), *short, *absent, unlisted_note(source.summary.as_dict())]


def _shared_tastes(segments: Segments) -> str:
    """Where categories are known, and no segment turns to one: that this is so, and where tastes are told."""
    if len(segments.labels) < 2 or any(one["top_categories"] for one in segments.table):
        return ""
    return (
        "No segment turns to a category clearly more than the others: they differ in what people do. Who likes what is "
        "in top_categories of the scores, and in the audiences of the report"
    )


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


def _results(
    params: Params, found: Found, lineage: list[dict[str, Any]], run_id: str, *, is_fitted: bool
) -> dict[str, Any]:
    """Everything that is told about a training, as one plain dict: the report and `kindred compare` read it."""
    fitted, segments = found.fitted, found.segments
    told = summarise(
        as_of=params.as_of,
        language=params.language,
        currency=params.currency,
        run_id=run_id,
        reading=found.source.summary.as_dict(),
        segments=segments.table,
        shop=segments.shop,
        lifts=segments.lifts,
        labels=segments.labels,
        lineage=lineage_table(lineage),
        profile=found.profiles.table,
        segment_ids=segments.segment_ids,
        clustered_count=int(fitted.is_clustered.sum()),
        quality={
            "algorithm": fitted.algorithm,
            "n_segments": fitted.n_segments,
            "stability": fitted.mean_stability,
            "rules_fidelity": None if np.isnan(segments.rules_fidelity) else segments.rules_fidelity,
            "choice_reason": fitted.choice_reason,
            "notes": list(fitted.notes),
            "candidates": [vars(one) for one in fitted.candidates],
            **fitted.quality,
            "validity": found.validity.as_dict() if found.validity else None,
        },
        method={
            "history_days": params.history_days,
            "log_days": history_days(found.source, params),
            "usual_history_days": params.minimum.usual_history_days,
            "timezone": params.local_timezone,
            "tier_by": params.value.decided_by(has_prices=bool(found.profiles.shop.spec.value_cuts.money)),
            "min_events": params.clustering.min_events,
            "min_group": params.naming.min_group,
            "min_known_share": params.cards.min_known_share,
            "noise_policy": fitted.clusters.model.get("noise"),
            "interests": params.interests.model_dump(
                mode="json", include={"half_life_days", "kappa", "signal_weights"}
            ),
            "is_fitted": is_fitted,
            "query_counts": found.profiles.query_counts,
        },
        audiences=found.cards.audiences,
        attributes=found.cards.attributes,
        migration=found.moved,
    )
    return told | {"interests": lifts_by_category(segments)}


def _log_run(mlflow: Any, params: Params, found: Found, results: dict[str, Any], report: str) -> None:
    """Log parameters, figures and texts; ``params`` hold no password."""
    tracking.log_parameters(mlflow, params.flat())
    mlflow.log_metrics(_metrics(found.fitted, found.segments) | query_metrics(found.profiles.query_counts))
    mlflow.log_metrics(found.validity.metrics() if found.validity else {})
    mlflow.log_dict(params.model_dump(mode="json"), "params.json")
    mlflow.log_dict(results, "summary.json")
    mlflow.log_text(report, "report.html")
    mlflow.log_table(flat_segments(results).to_dict(orient="list"), "segments.json")
    columns = found.source.events.limit(0).to_pandas()
    tracking.log_source(mlflow, digest=results["reading"]["digest"], columns=columns)
    tracking.log_figures(mlflow, plots.figures(found.segments, found.fitted, seed=params.seed))


def _log_model(mlflow: Any, params: Params, found: Found) -> tuple[str, str]:
    """Log and register the model; gives its URI and alias. ``params`` go with it, and hold no password."""
    profiles, segmentation = found.profiles, found.segments.segmentation
    with tempfile.TemporaryDirectory(prefix="kindred-") as place:
        model = Path(place)
        segmentation.save(model / registry.MODEL_FOLDER)
        save_shop(profiles.shop, params, model / registry.SHOP_FOLDER)
        example = profiles.table[input_columns(profiles.shop.spec.columns())].head(0)
        predicted = segmentation.predict(profiles.table.head(5)).head(0)
        return registry.log_model(mlflow, params, folder=model, example=example, predicted=predicted)


def _metrics(fitted: FittedClusters, segments: Segments) -> dict[str, float]:
    figures = {name: value for name, value in fitted.quality.items() if value is not None}
    sizes = [one["customer_share"] for one in segments.table if not one["is_standing"]]
    named = [one for one in segments.table if one["archetype"]]
    return {
        **figures,
        "n_segments": float(fitted.n_segments),
        "stability_mean": fitted.mean_stability,
        "stability_min": min(fitted.stability.values(), default=0.0),
        "low_evidence_share": float(1.0 - fitted.is_clustered.mean()),
        "largest_segment_share": max(sizes, default=0.0),
        "segments_with_archetype": float(len(named)),
        **({} if np.isnan(segments.rules_fidelity) else {"rules_fidelity": segments.rules_fidelity}),
        "segments_unstable": float(sum(not one["is_stable"] for one in segments.table)),
    }
