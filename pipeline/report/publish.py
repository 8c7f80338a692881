"""What a training leaves for people, from its summary alone: so `kindred report` and `promote` can make it again."""

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

REPORT, SEGMENTS, SEGMENTS_JSON, MANIFEST = "report.html", "segments.parquet", "segments.json", "manifest.json"
SHORT_ID = 12
ONLY_TOLD = ("stages",)
"""What a segment of the summary has for the report alone."""
FLAT = (
    *("facet", "segment_id", "name", "archetype", "is_standing", "customer_count", "customer_share", "spend_share"),
    *("stability", "stability_word", "is_stable"),
)
"""Columns of segments that are no nested values."""
HINT = "Train again, or make it with the version of Kindred that trained it."


def results_folder(params: Params, alias: str) -> Path:
    """`outputs` holds what the champion found; the latest challenger's lies in a folder of that name below it."""
    folder = params.path(params.outputs.folder)
    return folder if alias == "champion" else folder / alias


def flat_segments(summary: Mapping[str, Any]) -> pd.DataFrame:
    """The segments of a summary, one a row, with texts in the summary's language in place of nested values."""
    frame, language = pd.DataFrame(summary["segments"]), summary["language"]
    words = wording(language, summary.get("currency"))
    proposed = frame.get("proposed_names")  # only where naming.proposer was asked
    return pd.DataFrame(
        {
            **{name: frame[name] for name in FLAT},
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
    """Write report and segments; the manifest last."""
    rows = [
        {"run_id": summary["run_id"]} | {key: value for key, value in one.items() if key not in ONLY_TOLD}
        for one in summary["segments"]
    ]
    files.write_text(folder / REPORT, report)
    files.write_table(folder / SEGMENTS, flat_segments(summary))
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


def is_in_place(params: Params, run_id: str) -> bool:
    """Whether the report and the segments of the outputs folder are those of a run."""
    try:
        manifest = json.loads((results_folder(params, "champion") / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("run_id") == run_id


def put_in_place(mlflow: Any, params: Params, origin: mlflow_runs.Origin, told: Mapping[str, Any]) -> Path:
    """Make the report and the segments of a run those of the outputs folder; gives the report."""
    folder = results_folder(params, "champion")
    page = rendered(told)
    write_results(folder, told, page, params_digest=origin.params_digest, versions=origin.versions)
    return folder / REPORT


def remade(mlflow: Any, params: Params, run_id: str, language: str | None = None) -> dict[str, Any]:
    """The summary of a run with the names its segments are called now, in ``language``.

    Raises
    ------
    UserError
        The run holds no summary.
    """
    summary = mlflow_runs.read_run(mlflow, run_id)[2]
    if not summary.get("segments"):
        raise UserError(
            f"run {run_id}: expected the summary of a training among its artifacts, found none. Name a run of `kindred "
            "train` that finished; see them in `make ui`."
        )
    if any("facet" not in one for one in summary["segments"]):
        raise of_another_version(run_id, "its segments are of no facet")
    return told_in(summary, language or summary["language"], model_registry.given_names(mlflow, params))


def told_in(summary: Mapping[str, Any], language: str, given: Mapping[str, str]) -> dict[str, Any]:
    """A summary with segments named in ``language``, or as they were by hand (``given``: segment_id -> name)."""
    segments = []
    for one in summary["segments"]:
        by_hand = given.get(one["segment_id"])
        figures = one.get("names_by_figures", one["names"])
        names = dict.fromkeys(figures, by_hand) if by_hand else figures
        segments.append({**one, "name": names[language], "names": names})
    names_now = {one["segment_id"]: one["name"] for one in segments}
    lineage = [one | {"name": names_now.get(one["segment_id"], one["name"])} for one in summary["lineage"]["rows"]]
    return {
        **summary,
        "language": language,
        "segments": segments,
        "lineage": summary["lineage"] | {"rows": lineage},
    }


def rendered(summary: Mapping[str, Any]) -> str:
    """The page, in the language of the summary."""
    try:
        return render(dict(summary), summary["language"])
    except UndefinedError as error:
        raise of_another_version(summary["run_id"], str(error)) from None


def of_another_version(run_id: str, why: str) -> UserError:
    """What is said where another version of Kindred wrote the summary."""
    return UserError(f"run {run_id}: expected a summary of this version of Kindred; {why}. {HINT}")
