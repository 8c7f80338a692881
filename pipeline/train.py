"""`kindred train`: read, profile, cluster, name, report, track. Top to bottom."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import matplotlib.figure
import numpy as np
import pandas as pd

from models.segmentation import FittedClusters, Segmentation, fit_segmentation
from pipeline import outputs, tracking
from pipeline.engines import connect
from pipeline.params import Params, UserError
from pipeline.profiles import Profiles, Progress, build_profiles, save_shop
from pipeline.report import plots
from pipeline.report.render import render
from pipeline.report.summarise import summarise
from pipeline.segments import Segments, describe_segments
from pipeline.sources import Source, read_source
from pipeline.sweep import Candidate, choose, fit_candidates, log_candidates


@dataclass(frozen=True)
class Trained:
    """What a training made, and where it lies."""

    run_id: str
    model_uri: str
    alias: str
    segments: pd.DataFrame
    report_path: Path
    notes: tuple[str, ...]

    def as_text(self) -> str:
        """The table of segments, and what to do next."""
        told = [f"Note: {note}" for note in self.notes]
        return "\n".join(
            [
                "",
                segments_text(self.segments),
                "",
                *told,
                f"Run      {self.run_id}",
                f"Model    {self.model_uri} (@{self.alias})",
                f"Report   {self.report_path}",
                "Next     make ui                     compare runs in MLflow",
                f"         kindred score --model {self.model_uri}",
            ]
        )


def segments_text(segments: pd.DataFrame) -> str:
    """Segments as people read them: name, customers, share of spend, top interests."""
    table = pd.DataFrame(
        {
            "Segment": segments.name,
            "Customers": segments.customer_count.map("{:,}".format),
            "Share": segments.customer_share.map("{:.1%}".format),
            "Spend": segments.spend_share.map("{:.1%}".format),
            "Top interests": ["; ".join(item["label"] for item in top) or "-" for top in segments.top_categories],
        }
    )
    left = {"Segment", "Top interests"}
    lines = [[*table.columns], *table.to_numpy().tolist()]
    widths = [max(len(line[column]) for line in lines) for column in range(table.shape[1])]
    aligned = [
        "  ".join(
            text.ljust(width) if name in left else text.rjust(width)
            for name, text, width in zip(table.columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([aligned[0], "-" * max(map(len, aligned)), *aligned[1:]])


def check(params: Params, *, progress: Progress) -> str:
    """Read and check the source; what was found, in words."""
    folder = params.path(params.outputs.folder)
    with outputs.lock(folder), connect(params.engine, folder=folder) as con:
        progress("reading and checking")
        source = read_source(con, params, rejected_path=folder / "rejected.parquet")
        return reading_text(source.summary.as_dict())


def reading_text(reading: dict[str, Any]) -> str:
    """What was read and what was set aside, a line each."""
    lines = [
        f"Read      {reading['read_count']:>12,} rows",
        f"Accepted  {reading['accepted_count']:>12,}",
        f"Set aside {reading['rejected_count']:>12,}",
        *(f"  {rule:<24}{count:>12,}" for rule, count in reading["rejected_by_rule"].items() if count),
        *(f"  {rule:<24}{count:>12,}  (kept)" for rule, count in reading["noted_by_rule"].items() if count),
        f"Duplicates{reading['duplicate_count']:>12,}  ({'dropped' if reading['duplicates_dropped'] else 'kept'})",
        f"Customers {reading['customer_count']:>12,}",
        f"Events    {reading['first_event_at']} to {reading['last_event_at']}",
        *(f"Warning: {warning}" for warning in reading["warnings"]),
    ]
    return "\n".join(lines)


def train(params: Params, *, sweep: bool, progress: Progress) -> Trained:
    """Find, name, judge and track the segments of a shop.

    Raises
    ------
    UserError
        The source, the parameters or the store cannot be used; nothing half written remains.
    """
    folder = params.path(params.outputs.folder)
    with outputs.lock(folder), connect(params.engine, folder=folder) as con:
        progress("reading and checking")
        source = read_source(con, params, rejected_path=folder / "rejected.parquet")
        profiles = build_profiles(con, source, params, progress=progress)
        mlflow = tracking.open_store(params)
        tracking.close_stale_runs(mlflow, params)
        name = f"{params.clustering.algorithm} {params.as_of:%Y-%m-%d}"
        with tracking.run(mlflow, name=f"sweep of {name}" if sweep else name, tags=tracking.run_tags(params)) as run_id:
            candidates: list[Candidate] = []
            if sweep:
                progress("sweep")
                candidates = fit_candidates(profiles, params)
                log_candidates(mlflow, candidates)
                params = choose(candidates, params)
            progress(f"clustering with {params.clustering.algorithm}")
            fitted = cluster(profiles, params)
            progress("naming and describing")
            segments = describe_segments(profiles, fitted, params)
            progress("tracking")
            return _keep(mlflow, con, params, source, profiles, fitted, segments, run_id, folder)


def cluster(profiles: Profiles, params: Params, **changes: Any) -> FittedClusters:
    """Cluster the profiles with the settings of ``params``.clustering; ``changes`` go before them."""
    settings = params.clustering
    if profiles.table.empty:
        raise UserError(f"expected customers before as_of {params.as_of:%Y-%m-%d %H:%M}, found none. Check as_of.")
    return fit_segmentation(
        profiles.table,
        profiles.shop.spec.columns(),
        **{
            "block_weights": settings.block_weights.model_dump(),
            "algorithm": settings.algorithm,
            "n_segments": settings.n_segments,
            "n_segments_choices": settings.n_segments_choices,
            "min_events": settings.min_events,
            "kmeans": settings.kmeans.model_dump(),
            "hdbscan": settings.hdbscan.model_dump(),
            "quality": params.quality.model_dump(),
            "seed": params.seed,
            **changes,
        },
    )
