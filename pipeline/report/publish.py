"""The report and segment files of a run, made from its summary alone, so `report` and `promote` can remake them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.report.pages.render import render
from pipeline.report.parts.segment import Segment
from pipeline.report.summary import Summary, read_summary
from pipeline.report.texts.rules import conditions_text
from pipeline.report.texts.wording import wording
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.writers import write_table

REPORT, SEGMENTS, SEGMENTS_JSON, MANIFEST = "report.html", "segments.parquet", "segments.json", "manifest.json"
SHORT_ID = 12
REPORT_ONLY_KEYS = {"stages"}
"""Keys of a segment that only the report uses."""
FLAT_COLUMNS = (
    *("facet", "segment_id", "name", "archetype", "is_standing", "customer_count", "customer_share", "spend_share"),
    *("stability", "stability_word", "is_stable"),
)
"""Columns of segments whose values are not nested."""


def results_folder(params: Params, alias: str) -> Path:
    """The folder of the champion's results, or the subfolder named after another alias for the latest challenger."""
    folder = params.path(params.outputs.folder)
    return folder if alias == "champion" else folder / alias


def flat_segments(summary: Summary) -> pd.DataFrame:
    """The segments of a summary, one per row, with texts in its language instead of nested values."""
    language, words = summary.language, wording(summary.language, summary.currency)
    segments = summary.segments
    rules = [segment.rule for segment in segments]
    frame = {name: [getattr(segment, name) for segment in segments] for name in FLAT_COLUMNS}
    frame["top_categories"] = ["; ".join(item.category for item in segment.top_categories) for segment in segments]
    frame["evidence"] = [_evidence_json(segment) for segment in segments]
    frame["rule"] = [rule and conditions_text(rule, words) for rule in rules]
    frame["rule_precision"] = [rule and rule.precision for rule in rules]
    frame["rule_coverage"] = [rule and rule.coverage for rule in rules]
    frame["playbook"] = [segment.playbook.get(language, "") for segment in segments]
    frame["avoid"] = [segment.avoid.get(language, "") for segment in segments]
    frame["run_id"] = [summary.run_id] * len(segments)
    if any("proposed_names" in segment.model_fields_set for segment in segments):  # only if naming.proposer is set
        frame["proposed_name"] = [(segment.proposed_names or {}).get(language, "") for segment in segments]
    return pd.DataFrame(frame)


def _evidence_json(segment: Segment) -> str:
    items = [item.model_dump(mode="json", exclude_unset=True) for item in segment.evidence]
    return json.dumps(items, sort_keys=True)


def write_results(
    folder: Path, summary: Summary, report: str, *, params_digest: str, versions: Mapping[str, str]
) -> None:
    """Write the report and the segments, and then the manifest."""
    rows = [
        {"run_id": summary.run_id} | segment.model_dump(mode="json", exclude_unset=True, exclude=REPORT_ONLY_KEYS)
        for segment in summary.segments
    ]
    files.write_text(folder / REPORT, report)
    write_table(folder / SEGMENTS, flat_segments(summary))
    files.write_json(folder / SEGMENTS_JSON, rows)
    reading = summary.reading
    files.write_manifest(
        folder / MANIFEST,
        run_id=summary.run_id,
        params_digest=params_digest,
        inputs={"source": reading.digest},
        outputs={name: folder / name for name in (REPORT, SEGMENTS, SEGMENTS_JSON)},
        versions=versions,
        row_counts={key: getattr(reading, key) for key in ("read_count", "accepted_count", "rejected_count")},
    )


def is_published(params: Params, run_id: str) -> bool:
    """Whether the outputs folder holds the report and the segments of a run."""
    try:
        manifest = json.loads((results_folder(params, "champion") / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("run_id") == run_id


def publish_run(params: Params, origin: mlflow_runs.Origin, summary: Summary) -> Path:
    """Write the report and the segments of a run to the outputs folder; returns the path of the report."""
    folder = results_folder(params, "champion")
    page = render(summary, summary.language)
    write_results(folder, summary, page, params_digest=origin.params_digest, versions=origin.versions)
    return folder / REPORT


def current_summary(store: mlflow_runs.RunStore, run_id: str, language: str | None = None) -> Summary:
    """The summary of a run with the current names of its segments, in ``language``.

    Raises
    ------
    UserError
        The run has no summary, or one of another version.
    """
    content = mlflow_runs.read_run(store, run_id).summary
    if not content.get("segments"):
        raise UserError(
            f"run {run_id}: expected the summary of a training among its artifacts, found none. Name a run of `kindred "
            "train` that finished. `make ui` lists them."
        )
    summary = read_summary(run_id, content)
    return with_current_names(summary, language or summary.language, model_registry.given_names(store))


def with_current_names(summary: Summary, language: str, given: Mapping[str, str]) -> Summary:
    """A summary with segment names in ``language``, or as set by hand (``given``: segment_id -> name)."""
    segments = []
    for segment in summary.segments:
        names = segment.all_names.with_given(given.get(segment.segment_id))
        segments.append(segment.model_copy(update={"name": names.shown(language), "names": names.in_languages()}))
    current = {segment.segment_id: segment.name for segment in segments}
    rows = [row.model_copy(update={"name": current.get(row.segment_id, row.name)}) for row in summary.lineage.rows]
    lineage = summary.lineage.model_copy(update={"rows": rows})
    return summary.model_copy(update={"language": language, "segments": segments, "lineage": lineage})
