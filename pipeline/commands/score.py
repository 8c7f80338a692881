"""`kindred score`: assigns every customer to a segment, with the columns, weights and names of the trained model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from features.events import ObservationWindow
from models.scorer import facet_column
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.ingest.raw_tables import source_files
from pipeline.ingest.source import read_source
from pipeline.profiles.build import CustomerMeasures, measure, to_customer_measures
from pipeline.profiles.search_queries import counts_text
from pipeline.profiles.seasonality import full_season_mix
from pipeline.profiles.shop import Shop, load_shop
from pipeline.report.next_steps import command
from pipeline.report.terminal import align_columns, counted, paragraphs
from pipeline.report.texts.wording import wording
from pipeline.scoring.hysteresis import keep_previous_near_borders, previous_scores
from pipeline.scoring.incremental import MeasurementResult, measure_incrementally
from pipeline.scoring.score_table import DRIFT_COLUMNS, score_profiles, score_table
from pipeline.segmentation import sanity_checks
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.database import connect


@dataclass(frozen=True)
class ScoringResult:
    """The result of one scoring run."""

    path: Path
    model_uri: str
    summary: dict[str, Any]
    next_command: str

    def as_text(self) -> str:
        """Customers per segment compared with training, for each facet, followed by warnings and file names."""
        lines: list[str] = []
        for facet, rows in self.summary["facets"].items():
            lines += [*_facet_table(facet, rows["segments"].values()), ""]
        new, drift = self.summary["new_categories"], self.summary["mix_drift"]
        lines += [
            f"Low evidence    {self.summary['low_evidence_count']:,} of {self.summary['customer_count']:,} customers",
            "Drift           "
            + (
                "unknown"
                if drift is None
                else f"{drift:.1%} of customers would have to change segment to match the training shares"
            ),
        ]
        if noise := self.summary["noise_count"]:
            verb = "is" if noise == 1 else "are"
            lines.append(f"Between         {counted(noise, 'customer')} {verb} between segments (noise)")
        lines.append(_border_text(self.summary))
        lines += self.summary.get("update", [])
        if new:
            examples = ", ".join(f"{name[:40]} ({counted(count, 'event')})" for name, count in list(new.items())[:5])
            lines.append(f"New categories  {len(new):,}, counted as other: {examples}")
        if searches := counts_text(self.summary["queries"]):
            lines.append(searches.replace("Searches: of", "Searches        of", 1))
        lines += [
            f"Model           {self.model_uri}",
            f"Scores          {self.path}",
            f"Next            {self.next_command}    # why a customer is in a segment; CUSTOMER is a customer_id",
            *paragraphs("Warnings", self.summary["warnings"]),
        ]
        return "\n".join(lines)


def score(
    params: Params, *, model_uri: str, out: Path, progress: Progress, update: bool = False, force: bool = False
) -> ScoringResult:
    """Score every customer known at ``params.as_of``.

    The columns, weights and names come from the model; the source and ``as_of`` come from ``params``. With ``update``,
    the measures come from the saved state and the events since.

    Raises
    ------
    UserError
        The model or the source cannot be used, or the model seems to belong to another shop and ``force`` is not
        set. The old scores are left unchanged.
    """
    if out.suffix not in (".parquet", ".csv"):
        raise files.OutputError(f"--out {out.name}: expected a file name ending in .parquet or .csv.")
    files.require_not_read(out, source_files(params))
    folder = params.path(params.outputs.folder)
    with files.lock(folder), connect(params.engine, folder=folder) as con:
        mlflow = mlflow_runs.open_store(params)
        model = model_registry.load_model(mlflow, model_uri)
        shop, trained = load_shop(model.shop_folder, params.folder)
        rejected_path = out.with_name(f"{out.stem}-rejected.parquet")
        as_trained = trained.model_copy(update={"as_of": params.as_of})
        measured = _measure(
            con, params, as_trained, shop, model, rejected_path=rejected_path, update=update, progress=progress
        )
        measures, reading, mix = measured.measures, measured.reading, measured.season_mix
        progress("scoring")
        profiles, predicted = score_profiles(con, measures, mix, as_trained, model, threads=params.engine.threads)
        facets, margin = facets_of(trained), params.score.hysteresis
        prefixes = [facet.column_prefix for facet in facets]
        previous = previous_scores(out, prefixes, model_uri=model.uri, as_of=params.as_of) if margin else None
        held_count = 0
        if previous is not None:
            predicted, held = keep_previous_near_borders(
                predicted, profiles["customer_id"].to_pandas(), previous, prefixes, margin=margin
            )
            held_count = int(held.sum())
        predicted = model_registry.with_given_names(predicted, model_registry.given_names(mlflow, params))
        summary = _summary(measures, predicted, facets, model, mlflow)
        table = score_table(profiles, predicted, as_trained, model)
        drift_columns = profiles.select(DRIFT_COLUMNS).to_pandas()
        signs = sanity_checks.foreign_model_signs(params, trained, shop.spec.cut, drift_columns, summary["mix_drift"])
        if len(signs) > 1 and not force:
            raise UserError(
                f"{model.uri}: expected a model of this shop, but it seems to belong to another one: "
                f"{', and '.join(signs)}. {out.name} was left unchanged. Name this shop's model with --model or "
                "tracking.model_name, or train one. If it is the same shop, add --force."
            )
        summary["warnings"] = sanity_checks.check_as_of_age(params, reading) + sanity_checks.check_model(
            params, trained, signs
        )
        if previous is not None:
            summary["held"] = {"customer_count": held_count, "margin": params.score.hysteresis}
        progress("writing")
        files.write_table(out, table)
        files.write_manifest(
            out.with_name(f"{out.stem}-manifest.json"),
            run_id=model.run_id,
            params_digest=params.digest(),
            inputs={"source": reading.digest, "model": model.uri},
            outputs={"scores": out},
            versions=mlflow_runs.versions(),
            row_counts={"scores": table.num_rows, "rejected": reading.rejected_count},
        )
        measured.save()
        summary["update"] = measured.summary_lines(len(predicted))
        model_option = () if model_uri == params.tracking.champion_uri else ("--model", model_uri)
        return ScoringResult(out, model.uri, summary, command(params, "explain", "CUSTOMER", *model_option))


def _facet_table(facet: str, segments: Iterable[Mapping[str, Any]]) -> list[str]:
    """Customers per segment now, and their share at training."""
    words = wording("en")
    head = [facet.capitalize(), *(words(f"sizes.{name}") for name in ("customers", "share")), "At training"]
    rows = [
        [
            *(row["name"], words.whole(row["customer_count"])),
            *(words.number(row[share], "share") for share in ("customer_share", "trained_share")),
        ]
        for row in segments
    ]
    return align_columns([head, *rows], right={1, 2, 3})


def _measure(
    con: Any,
    params: Params,
    as_trained: Params,
    shop: Shop,
    model: model_registry.LoadedModel,
    *,
    rejected_path: Path,
    update: bool,
    progress: Progress,
) -> MeasurementResult:
    """Measures of all customers: from the saved state and new events with ``update``, otherwise from the whole log."""
    if update:
        return measure_incrementally(
            con,
            params,
            as_trained,
            shop=shop,
            model_uri=model.uri,
            rejected_path=rejected_path,
            progress=progress,
        )
    progress("reading and checking")
    source = read_source(con, params, rejected_path=rejected_path)
    measured = measure(con, source, as_trained, shop=shop, progress=progress, with_seasons=True)
    window = ObservationWindow(params.as_of, shop.spec.history_days)
    return MeasurementResult(
        measures=to_customer_measures(measured),
        changed_count=None,
        reading=source.summary,
        notes=[],
        season_mix=full_season_mix(source, shop.spec, as_trained, window),
        save=lambda: None,
    )


def _border_text(summary: dict[str, Any]) -> str:
    text = f"Near a border   {counted(summary['border_count'], 'customer')}"
    if summary["movable_count"]:
        text += f"; what_would_move says what would move {summary['movable_count']:,} of them"
    held = summary.get("held")
    if held and (count := held["customer_count"]):
        text += (
            f"; {count:,} kept their previous segment because the new one leads by less than {held['margin']:g} "
            "(score.hysteresis)"
        )
    return text


def _summary(
    measures: CustomerMeasures,
    predicted: pd.DataFrame,
    facets: list[Facet],
    model: model_registry.LoadedModel,
    mlflow: Any,
) -> dict[str, Any]:
    """Counts for the terminal. The training shares are unknown if the run that trained the model was deleted."""
    try:
        _, _, trained = mlflow_runs.read_run(mlflow, model.run_id)
    except mlflow_runs.TrackingError:
        trained = {}
    shares = {segment["segment_id"]: segment["customer_share"] for segment in trained.get("segments", [])}
    counts = {facet.name: _facet_counts(predicted, facet, shares) for facet in facets}
    return {
        "customer_count": len(predicted),
        "low_evidence_count": int((predicted.evidence == "low").sum()),
        "facets": counts,
        "mix_drift": counts[facets[0].name]["mix_drift"],
        "noise_count": int((predicted.evidence == "noise").sum()),
        "border_count": int(predicted.is_border.sum()),
        "movable_count": int(predicted.what_would_move.notna().sum()) if "what_would_move" in predicted else 0,
        "queries": measures.query_counts,
        "new_categories": dict(
            zip(measures.new_categories.category, measures.new_categories.event_count.astype(int), strict=True)
        ),
    }


def _facet_counts(predicted: pd.DataFrame, facet: Facet, trained: dict[str, float]) -> dict[str, Any]:
    """Customers per segment of a facet, largest first, and the share who would have to move to match training.

    Parameters
    ----------
    trained : dict
        segment_id -> share of customers at training, for all facets.
    """
    segment_id, segment = (facet_column(name, facet.column_prefix) for name in ("segment_id", "segment"))
    counts = predicted.groupby(segment_id).size().sort_values(ascending=False, kind="stable")
    names = predicted.drop_duplicates(segment_id).set_index(segment_id)[segment].to_dict()
    rows = {
        str(key): {
            "name": names[key],
            "customer_count": int(count),
            "customer_share": count / len(predicted),
            "trained_share": trained.get(str(key)),
        }
        for key, count in counts.items()
    }
    # Training shares of a facet add up to 1. What is missing here belongs to segments that are empty now.
    moved = sum(abs(row["customer_share"] - (row["trained_share"] or 0.0)) for row in rows.values())
    present = sum(row["trained_share"] or 0.0 for row in rows.values())
    drift = (moved + max(1.0 - present, 0.0)) / 2
    return {"segments": rows, "mix_drift": float(drift) if trained else None}
