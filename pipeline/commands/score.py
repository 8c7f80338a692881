"""`kindred score`: raw events -> a segment for every customer, with the model's own columns, weights and names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from features.events import ObservationWindow
from models.scorer import facet_column
from pipeline.config.errors import UserError
from pipeline.config.facets import Facet, facets_of
from pipeline.config.params import Params
from pipeline.ingest.raw_tables import source_files
from pipeline.ingest.source import read_source
from pipeline.profiles.build import Measures, Progress, measure, measures_of
from pipeline.profiles.search_queries import counts_text
from pipeline.profiles.seasonality import season_mix_of
from pipeline.profiles.shop import Shop, load_shop
from pipeline.report.next_steps import command
from pipeline.report.terminal import counted
from pipeline.scoring.hysteresis import hold, last_scores
from pipeline.scoring.incremental import Updated
from pipeline.scoring.incremental import update as update_measures
from pipeline.scoring.score_table import SIGNS, score_table, scored
from pipeline.segmentation import sanity_checks
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.database import connect


@dataclass(frozen=True)
class Scored:
    """What a scoring made."""

    path: Path
    model_uri: str
    summary: dict[str, Any]
    following: str

    def as_text(self) -> str:
        """Rows per segment of each facet compared with training, and what else to know."""
        lines: list[str] = []
        for facet, rows in self.summary["facets"].items():
            lines += [f"{facet.capitalize():<44}{'Customers':>12}{'Share':>9}{'At training':>13}"]
            lines += [
                f"{row['name'][:42]:<44}{row['customer_count']:>12,}{row['customer_share']:>9.1%}"
                + (f"{row['trained_share']:>13.1%}" if row["trained_share"] is not None else f"{'-':>13}")
                for row in rows["segments"].values()
            ]
            lines.append("")
        new, drift = self.summary["new_categories"], self.summary["mix_drift"]
        lines += [
            f"Low evidence    {self.summary['low_evidence_count']:,} of {self.summary['customer_count']:,} customers",
            "Drift           "
            + ("unknown" if drift is None else f"{drift:.1%} of customers would have to move for the mix of training"),
        ]
        if noise := self.summary["noise_count"]:
            lie = "lies" if noise == 1 else "lie"
            lines.append(f"Between         {counted(noise, 'customer')} {lie} between the segments (noise)")
        lines.append(_border_text(self.summary))
        lines += self.summary.get("update", [])
        if new:
            told = ", ".join(f"{name[:40]} ({counted(count, 'event')})" for name, count in list(new.items())[:5])
            lines.append(f"New categories  {len(new):,}, counted as other: {told}")
        if told := counts_text(self.summary["queries"]):
            lines.append(told.replace("Searches: of", "Searches        of", 1))
        lines += [f"Beware          {told}" for told in self.summary["beware"]]
        lines += [
            f"Model           {self.model_uri}",
            f"Scores          {self.path}",
            f"Next            {self.following}    # why somebody is where they are; CUSTOMER: an id of the scores",
        ]
        return "\n".join(lines)


def score(
    params: Params, *, model_uri: str, out: Path, progress: Progress, update: bool = False, force: bool = False
) -> Scored:
    """Score every customer known at ``params.as_of``; with ``update``, from the state of an earlier time.

    The profile's columns, weights and names are those of the model; where the events lie, and as_of, are those of
    ``params``.

    Raises
    ------
    UserError
        The model or the source cannot be used, or, without ``force``, the model looks like another shop's; the old
        scores stay as they were.
    """
    if out.suffix not in (".parquet", ".csv"):
        raise files.OutputError(f"--out {out.name}: expected a name that ends in .parquet or .csv.")
    files.require_not_read(out, source_files(params))
    folder = params.path(params.outputs.folder)
    with files.lock(folder), connect(params.engine, folder=folder) as con:
        mlflow = mlflow_runs.open_store(params)
        model = model_registry.load_model(mlflow, model_uri)
        shop, trained = load_shop(model.shop_folder, params.folder)
        rejected_path = out.with_name(f"{out.stem}-rejected.parquet")
        as_trained = trained.model_copy(update={"as_of": params.as_of})
        measured = _measured(
            con, params, as_trained, shop, model, rejected_path=rejected_path, update=update, progress=progress
        )
        measures, reading, mix = measured.measures, measured.reading, measured.season_mix
        progress("scoring")
        told, predicted = scored(con, measures, mix, as_trained, model, threads=params.engine.threads)
        facets, margin = facets_of(trained), params.score.hysteresis
        prefixes = [facet.column_prefix for facet in facets]
        last = last_scores(out, prefixes, model_uri=model.uri, as_of=params.as_of) if margin else None
        held_count = 0
        if last is not None:
            predicted, held = hold(predicted, told["customer_id"].to_pandas(), last, prefixes, margin=margin)
            held_count = int(held.sum())
        predicted = model_registry.renamed(predicted, model_registry.given_names(mlflow, params))
        summary = _summary(measures, predicted, facets, model, mlflow)
        table = score_table(told, predicted, as_trained, model)
        telling = told.select(SIGNS).to_pandas()
        signs = sanity_checks.of_another_shop(params, trained, shop.spec.cut, telling, summary["mix_drift"])
        if len(signs) > 1 and not force:
            raise UserError(
                f"{model.uri}: expected a model of this shop, found signs of another one: {', and '.join(signs)}. "
                f"{out.name} stays as it was. Name this shop's model with --model or tracking.model_name, or train "
                "one; if it is the same shop, add --force."
            )
        summary["beware"] = sanity_checks.of_moment(params, reading) + sanity_checks.of_model(params, trained, signs)
        if last is not None:
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
        summary["update"] = measured.told(len(predicted))
        named = () if model_uri == params.tracking.champion_uri else ("--model", model_uri)
        return Scored(out, model.uri, summary, command(params, "explain", "CUSTOMER", *named))


def _measured(
    con: Any,
    params: Params,
    as_trained: Params,
    shop: Shop,
    model: model_registry.LoadedModel,
    *,
    rejected_path: Path,
    update: bool,
    progress: Progress,
) -> Updated:
    """Measures of all customers: from the state of an earlier time with ``update``, else in full."""
    if update:
        return update_measures(
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
    return Updated(
        measures=measures_of(measured),
        changed_count=None,
        reading=source.summary,
        notes=[],
        season_mix=season_mix_of(source, shop.spec, as_trained, window),
        save=lambda: None,
    )


def _border_text(summary: dict[str, Any]) -> str:
    told = f"On the border   {counted(summary['border_count'], 'customer')}"
    if summary["movable_count"]:
        told += f"; what would move {summary['movable_count']:,} of them is in what_would_move"
    held = summary.get("held")
    if held and (count := held["customer_count"]):
        told += (
            f"; {count:,} stay{'s' * (count == 1)} where the last scores had them, as the margin of the other segment "
            f"is below {held['margin']:g} (score.hysteresis)"
        )
    return told


def _summary(
    measures: Measures, predicted: pd.DataFrame, facets: list[Facet], model: model_registry.LoadedModel, mlflow: Any
) -> dict[str, Any]:
    """Counts only. A model outlives its run: without it, the mix of training is unknown."""
    try:
        _, _, trained = mlflow_runs.read_run(mlflow, model.run_id)
    except mlflow_runs.TrackingError:
        trained = {}
    shares = {one["segment_id"]: one["customer_share"] for one in trained.get("segments", [])}
    found = {facet.name: _facet_counts(predicted, facet, shares) for facet in facets}
    return {
        "customer_count": len(predicted),
        "low_evidence_count": int((predicted.evidence == "low").sum()),
        "facets": found,
        "mix_drift": found[facets[0].name]["mix_drift"],
        "noise_count": int((predicted.evidence == "noise").sum()),
        "border_count": int(predicted.is_border.sum()),
        "movable_count": int(predicted.what_would_move.notna().sum()) if "what_would_move" in predicted else 0,
        "queries": measures.query_counts,
        "new_categories": dict(
            zip(measures.new_categories.category, measures.new_categories.event_count.astype(int), strict=True)
        ),
    }


def _facet_counts(predicted: pd.DataFrame, facet: Facet, trained: dict[str, float]) -> dict[str, Any]:
    """Customers of each segment of a facet, the largest first, and the share that would have to move.

    Parameters
    ----------
    trained : dict
        segment_id -> share of customers at training, of all facets.
    """
    segment_id, segment = (facet_column(name, facet.column_prefix) for name in ("segment_id", "segment"))
    counts = predicted.groupby(segment_id).size().sort_values(ascending=False, kind="stable")
    names = predicted.drop_duplicates(segment_id).set_index(segment_id)[segment].to_dict()
    rows = {
        str(one): {
            "name": names[one],
            "customer_count": int(count),
            "customer_share": count / len(predicted),
            "trained_share": trained.get(str(one)),
        }
        for one, count in counts.items()
    }
    # Shares of a facet add up to 1 at training, too; a segment that nobody is in now had its share then.
    moved = sum(abs(row["customer_share"] - (row["trained_share"] or 0.0)) for row in rows.values())
    here = sum(row["trained_share"] or 0.0 for row in rows.values())
    drift = (moved + max(1.0 - here, 0.0)) / 2
    return {"segments": rows, "mix_drift": float(drift) if trained else None}
