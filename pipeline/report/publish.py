"""The report and segment files of a run, made from its summary alone, so `report` and `promote` can remake them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import UndefinedError

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.report.pages.render import render
from pipeline.report.texts.wording import wording
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.writers import write_table

REPORT, SEGMENTS, SEGMENTS_JSON, MANIFEST = "report.html", "segments.parquet", "segments.json", "manifest.json"
SHORT_ID = 12
REPORT_ONLY_KEYS = ("stages",)
"""Keys of a segment that only the report uses."""
FLAT_COLUMNS = (
    *("facet", "segment_id", "name", "archetype", "is_standing", "customer_count", "customer_share", "spend_share"),
    *("stability", "stability_word", "is_stable"),
)
"""Columns of segments whose values are not nested."""
HINT = "Train again, or use the version of Kindred that trained it."


def results_folder(params: Params, alias: str) -> Path:
    """The folder of the champion's results, or the subfolder named after another alias for the latest challenger."""
    folder = params.path(params.outputs.folder)
    return folder if alias == "champion" else folder / alias


def flat_segments(summary: Mapping[str, Any]) -> pd.DataFrame:
    """The segments of a summary, one per row, with texts in its language instead of nested values."""
    frame, language = pd.DataFrame(summary["segments"]), summary["language"]
    words = wording(language, summary.get("currency"))
    proposed = frame.get("proposed_names")  # present only if naming.proposer is set
    return pd.DataFrame(
        {
            **{name: frame[name] for name in FLAT_COLUMNS},
            "top_categories": ["; ".join(item["category"] for item in top) for top in frame.top_categories],
            "evidence": [json.dumps(evidence, sort_keys=True) for evidence in frame.evidence],
            "rule": [rule and words.conditions(rule) for rule in frame.rule],
            **{f"rule_{key}": [rule and rule[key] for rule in frame.rule] for key in ("precision", "coverage")},
            **{name: ["" if not texts else texts[language] for texts in frame[name]] for name in ("playbook", "avoid")},
            "run_id": summary["run_id"],
            **({} if proposed is None else {"proposed_name": [names[language] if names else "" for names in proposed]}),
        }
    )


def write_results(
    folder: Path, summary: Mapping[str, Any], report: str, *, params_digest: str, versions: Mapping[str, str]
) -> None:
    """Write the report and the segments, and then the manifest."""
    rows = [
        {"run_id": summary["run_id"]} | {key: value for key, value in segment.items() if key not in REPORT_ONLY_KEYS}
        for segment in summary["segments"]
    ]
    files.write_text(folder / REPORT, report)
    write_table(folder / SEGMENTS, flat_segments(summary))
    files.write_json(folder / SEGMENTS_JSON, rows)
    reading = summary["reading"]
    files.write_manifest(
        folder / MANIFEST,
        run_id=summary["run_id"],
        params_digest=params_digest,
        inputs={"source": reading["digest"]},
        outputs={name: folder / name for name in (REPORT, SEGMENTS, SEGMENTS_JSON)},
        versions=versions,
        row_counts={key: reading[key] for key in ("read_count", "accepted_count", "rejected_count")},
    )


def is_published(params: Params, run_id: str) -> bool:
    """Whether the outputs folder holds the report and the segments of a run."""
    try:
        manifest = json.loads((results_folder(params, "champion") / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("run_id") == run_id


def publish_run(params: Params, origin: mlflow_runs.Origin, summary: Mapping[str, Any]) -> Path:
    """Write the report and the segments of a run to the outputs folder; returns the path of the report."""
    folder = results_folder(params, "champion")
    page = render_summary(summary)
    write_results(folder, summary, page, params_digest=origin.params_digest, versions=origin.versions)
    return folder / REPORT


def current_summary(store: mlflow_runs.RunStore, run_id: str, language: str | None = None) -> dict[str, Any]:
    """The summary of a run with the current names of its segments, in ``language``.

    Raises
    ------
    UserError
        The run has no summary, or one of another version.
    """
    summary = mlflow_runs.read_run(store, run_id).summary
    if not summary.get("segments"):
        raise UserError(
            f"run {run_id}: expected the summary of a training among its artifacts, found none. Name a run of `kindred "
            "train` that finished. `make ui` lists them."
        )
    if any("facet" not in segment for segment in summary["segments"]):
        raise version_error(run_id, "its segments have no facet")
    return with_current_names(summary, language or summary["language"], model_registry.given_names(store))


def with_current_names(summary: Mapping[str, Any], language: str, given: Mapping[str, str]) -> dict[str, Any]:
    """A summary with segment names in ``language``, or as set by hand (``given``: segment_id -> name)."""
    segments = []
    for segment in summary["segments"]:
        by_hand = given.get(segment["segment_id"])
        by_figures = segment.get("names_by_figures", segment["names"])
        names = dict.fromkeys(by_figures, by_hand) if by_hand else by_figures
        segments.append({**segment, "name": names[language], "names": names})
    current = {segment["segment_id"]: segment["name"] for segment in segments}
    lineage = [row | {"name": current.get(row["segment_id"], row["name"])} for row in summary["lineage"]["rows"]]
    return {
        **summary,
        "language": language,
        "segments": segments,
        "lineage": summary["lineage"] | {"rows": lineage},
    }


def render_summary(summary: Mapping[str, Any]) -> str:
    """The report as HTML, in the language of the summary."""
    try:
        return render(dict(summary), summary["language"])
    except UndefinedError as error:
        raise version_error(summary["run_id"], str(error)) from None


def version_error(run_id: str, why: str) -> UserError:
    """The error for a summary that another version of Kindred wrote."""
    return UserError(f"run {run_id}: expected a summary of this version of Kindred; {why}. {HINT}")
