"""What a training leaves for people, from its summary alone: so `kindred report` and `promote` can make it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import UndefinedError

from pipeline import outputs, registry, tracking
from pipeline.errors import UserError
from pipeline.identity import LINEAGE
from pipeline.params import Params
from pipeline.report.render import render
from pipeline.report.wording import wording
from pipeline.report.workbook import write_workbook

if TYPE_CHECKING:
    from pipeline.training_summary import FoundFacet

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
            **{
                name: frame[name]
                for name in ("facet", "segment_id", "name", "archetype", "is_standing", "customer_count")
            },
            **{
                name: frame[name]
                for name in ("customer_share", "spend_share", "stability", "stability_word", "is_stable")
            },
            "top_categories": ["; ".join(item["category"] for item in top) for top in frame.top_categories],
            "evidence": [json.dumps(evidence, sort_keys=True) for evidence in frame.evidence],
            "rule": [rule and words.conditions(rule) for rule in frame.rule],
            **{f"rule_{key}": [rule and rule[key] for rule in frame.rule] for key in ("precision", "coverage")},
            **{name: ["" if not texts else texts[language] for texts in frame[name]] for name in ("playbook", "avoid")},
            "run_id": summary["run_id"],
            **({} if proposed is None else {"proposed_name": [names[language] if names else "" for names in proposed]}),
        }
    )


def lifts_by_category(facets: Sequence[FoundFacet]) -> list[dict[str, Any]]:
    """What the workbook shows of interests: category, label, lifts (segment_id -> lift, where it is certain)."""
    columns: dict[str, dict[str, Any]] = {}
    for facet in facets:
        segments = facet.segments
        shown = [one["segment_id"] for one in segments.table if not one["is_small"] and not one["is_standing"]]
        for category, lifts in segments.lifts.loc[shown].items():
            name = str(category)
            own = columns.setdefault(name, {"category": name, "label": segments.labels[name], "lifts": {}})
            own["lifts"] |= {segment_id: float(lift) for segment_id, lift in lifts.dropna().items()}
    return list(columns.values())


def write_results(
    folder: Path, summary: Mapping[str, Any], report: str, *, params_digest: str, versions: Mapping[str, str]
) -> None:
    """Write report and segments; the manifest last."""
    rows = [
        {"run_id": summary["run_id"]} | {key: value for key, value in one.items() if key not in ONLY_TOLD}
        for one in summary["segments"]
    ]
    outputs.write_text(folder / REPORT, report)
    outputs.write_table(folder / SEGMENTS, flat_segments(summary))
    outputs.write_json(folder / SEGMENTS_JSON, rows)
    reading = summary["reading"]
    outputs.write_manifest(
        folder / MANIFEST,
        run_id=summary["run_id"],
        params_digest=params_digest,
        inputs={"source": reading["digest"]},
        outputs={name: folder / name for name in (REPORT, SEGMENTS, SEGMENTS_JSON)},
        versions=versions,
        row_counts={key: reading[key] for key in ("read_count", "accepted_count", "rejected_count")},
    )


def report(params: Params, run: str | None, *, language: str | None, out: Path | None, xlsx: bool) -> str:
    """Make the report of a run again, or a workbook of its tables; gives in words what lies where.

    Parameters
    ----------
    run : str or None
        Id of a run or its beginning; None: the champion's.
    language : str or None
        en, uk, ru or sq; None: the one it was trained with.
    out : Path or None
        None: report-RUN.html or segments-RUN.xlsx in the outputs folder.

    Raises
    ------
    UserError
        There is no such run, it holds no summary, or one of another version; or ``out`` is named for another format.
    """
    if out is not None and out.suffix.lower() not in ((".xlsx",) if xlsx else (".html", ".htm")):
        raise UserError(f"--out {out}: expected a name ending in .xlsx with --xlsx, and in .html without it.")
    mlflow = tracking.open_store(params)
    champion = registry.champion_run(mlflow, params)
    if run is None and champion is None:
        raise UserError("kindred report: expected a RUN, or a champion; there is none yet. Run `kindred train` first.")
    origin = tracking.origin(mlflow, run or str(champion))
    told = remade(mlflow, params, origin.run_id, language)
    folder = params.path(params.outputs.folder)
    tail = f"{origin.run_id[:SHORT_ID]}{f'-{language}' if language else ''}.{'xlsx' if xlsx else 'html'}"
    path = out or folder / f"{'segments' if xlsx else 'report'}-{tail}"
    with outputs.lock(folder):
        if xlsx:
            _write_workbook(path, told, tracking.read_lineage(mlflow, origin.run_id, LINEAGE))
        else:
            outputs.write_text(path, _rendered(told))
    whose = " (the champion)" if origin.run_id == champion else ""
    return f"{'Workbook' if xlsx else 'Report  '} {path}\nof run   {origin.run_id}{whose}, as of {told['as_of']}"


def is_in_place(params: Params, run_id: str) -> bool:
    """Whether the report and the segments of the outputs folder are those of a run."""
    try:
        manifest = json.loads((results_folder(params, "champion") / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("run_id") == run_id


def put_in_place(mlflow: Any, params: Params, origin: tracking.Origin, told: Mapping[str, Any]) -> Path:
    """Make the report and the segments of a run those of the outputs folder; gives the report."""
    folder = results_folder(params, "champion")
    page = _rendered(told)
    write_results(folder, told, page, params_digest=origin.params_digest, versions=origin.versions)
    return folder / REPORT


def remade(mlflow: Any, params: Params, run_id: str, language: str | None = None) -> dict[str, Any]:
    """The summary of a run with the names its segments are called now, in ``language``.

    Raises
    ------
    UserError
        The run holds no summary.
    """
    summary = tracking.read_run(mlflow, run_id)[2]
    if not summary.get("segments"):
        raise UserError(
            f"run {run_id}: expected the summary of a training among its artifacts, found none. Name a run of `kindred "
            "train` that finished; see them in `make ui`."
        )
    return told_in(summary, language or summary["language"], registry.given_names(mlflow, params))


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


def _rendered(summary: Mapping[str, Any]) -> str:
    try:
        return render(dict(summary), summary["language"])
    except UndefinedError as error:
        raise _of_another_version(summary["run_id"], str(error)) from None


def _write_workbook(path: Path, summary: Mapping[str, Any], lineage: list[dict[str, Any]]) -> None:
    try:
        write_workbook(path, summary, lineage)
    except KeyError as error:
        raise _of_another_version(summary["run_id"], f"it has no {error}") from None


def _of_another_version(run_id: str, why: str) -> UserError:
    return UserError(f"run {run_id}: expected a summary of this version of Kindred; {why}. {HINT}")
