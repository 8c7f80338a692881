"""`kindred score`: assigns every customer to a segment, with the columns, weights and names of the trained model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.audiences.changes import CHANGE_KEY, ChangeCounts, changes_of, keep_score_changes
from pipeline.config.errors import UserError
from pipeline.config.params import Params
from pipeline.config.progress import Progress
from pipeline.drift.value_drift import moved_shares
from pipeline.ingest.files.raw_tables import source_files
from pipeline.profiles.search_queries import counts_text
from pipeline.report.next_steps import command
from pipeline.report.terminal import align_columns, counted, paragraphs
from pipeline.report.texts.wording import wording
from pipeline.scoring.hysteresis import previous_scores
from pipeline.scoring.incremental import measure_incrementally
from pipeline.scoring.measurement import MeasurementResult, measure_in_full
from pipeline.scoring.score_summary import ScoringSummary, SegmentCount, summarise_scores
from pipeline.scoring.score_table import BatchScorer, ScoredCustomers, score_customers
from pipeline.scoring.trained_model import TrainedModel, open_model, segments_at_training
from pipeline.segmentation import sanity_checks
from pipeline.stores import files, mlflow_runs, model_registry
from pipeline.stores.databases.tables import Tables, target_tables
from pipeline.stores.databases.target_table import TargetTable
from pipeline.stores.engines.engine import Engine
from pipeline.stores.local.file_names import rejected_file
from pipeline.stores.workspace import Workspace, workspace
from pipeline.stores.writers import require_known_suffix, row_count, write_batches

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend


@dataclass(frozen=True)
class ScoringResult:
    """The result of one scoring run.

    Attributes
    ----------
    update_lines : list of str
        What an update read and measured, and other notes on the log.
    changes : ChangeCounts or None
        How many customers moved since the scores that these replace, rounded; None if that is not known.
    tables : str or None
        The tables of `outputs.tables` that were written, if any.
    """

    path: Path
    model_uri: str
    summary: ScoringSummary
    warnings: list[str]
    update_lines: list[str]
    next_command: str
    changes: ChangeCounts | None = None
    tables: str | None = None

    def as_text(self) -> str:
        """Customers per segment compared with training, for each facet, followed by warnings and file names."""
        summary = self.summary
        lines: list[str] = []
        for facet, counts in summary.facets.items():
            lines += [*_facet_table(facet, counts.segments.values()), ""]
        drift = summary.mix_drift
        lines += [
            f"Low evidence    {summary.low_evidence_count:,} of {summary.customer_count:,} customers",
            "Drift           "
            + (
                "unknown"
                if drift is None
                else f"{drift:.1%} of customers would have to change segment to match the training shares"
            ),
        ]
        if noise := summary.noise_count:
            verb = "is" if noise == 1 else "are"
            lines.append(f"Between         {counted(noise, 'customer')} {verb} between segments (noise)")
        lines.append(border_text(summary))
        if self.changes is not None:
            listed = "; `kindred changes` lists them" if self.changes.customer_count else ""
            lines.append(f"Changed         {self.changes.as_text()}{listed}")
        lines += self.update_lines
        if new := summary.new_categories:
            examples = ", ".join(f"{name[:40]} ({counted(count, 'event')})" for name, count in list(new.items())[:5])
            lines.append(f"New categories  {len(new):,}, counted as other: {examples}")
        if searches := counts_text(summary.queries):
            lines.append(searches.replace("Searches: of", "Searches        of", 1))
        lines += [
            f"Model           {self.model_uri}",
            f"Scores          {self.path}",
            *([f"Tables          {self.tables}"] if self.tables else []),
            f"Next            {self.next_command}    # why a customer is in a segment; CUSTOMER is a customer_id",
            *paragraphs("Warnings", self.warnings),
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
    if out.suffix:
        require_known_suffix(out, key="--out")
    else:
        files.require_replaceable_folder(out)
    if update and params.engine.kind != "duckdb":
        raise UserError(
            "--update: expected engine.kind: duckdb, as the saved state is on this machine. Leave out --update, which "
            "scores from the whole log, or set engine.kind to duckdb."
        )
    files.require_not_read(out, source_files(params))
    # Scores at another place are a look at something else: their changes are no news of the shop.
    is_usual = out == params.scores_path
    target = target_tables(params) if is_usual else None
    if target is not None:
        target.require_usable()
    with workspace(params, out=out, uses_cluster=True) as session:
        trained = open_model(session, model_uri)
        measured = _measure(session, trained, out, update=update, progress=progress)
        progress("scoring")
        scored, summary = _score(session, trained, measured, out)
        signs = sanity_checks.foreign_model_signs(
            params, trained.params, trained.shop.spec.cut, summary.unknown_share, summary.mix_drift
        )
        if len(signs) > 1 and not force:
            raise _another_shop(trained, signs, out)
        warnings = (
            sanity_checks.check_as_of_age(params, measured.reading)
            + sanity_checks.check_model(params, trained.params, signs)
            + _check_group_cuts(session, trained, measured)
        )
        progress("writing")
        changes = keep_score_changes(session.con, scored.scores, out, params) if is_usual else None
        tables = _write_tables(session.con, target, scored, params) if target is not None else None
        _write(session.engine, out, scored, summary, params, trained, measured)
        measured.commit()
    model_option = () if model_uri == params.tracking.champion_uri else ("--model", model_uri)
    return ScoringResult(
        path=out,
        model_uri=trained.model.uri,
        summary=summary.published(params.naming.min_group),
        warnings=[*warnings, *(changes.warnings if changes else ())],
        update_lines=measured.summary_lines(summary.customer_count, params.naming.min_group),
        next_command=command(params, "explain", "CUSTOMER", *model_option),
        changes=changes and changes.published(params.naming.min_group),
        tables=tables,
    )


def _facet_table(facet: str, segments: Iterable[SegmentCount]) -> list[str]:
    """Customers per segment now, and their share at training."""
    words = wording("en")
    head = [facet.capitalize(), *(words(f"sizes.{name}") for name in ("customers", "share")), "At training"]
    rows = [
        [
            *(row.name, words.size(row.customer_count, is_small=row.is_small)),
            *(words.number(share, "share") for share in (row.customer_share, row.trained_share)),
        ]
        for row in segments
    ]
    return align_columns([head, *rows], right={1, 2, 3})


def _measure(
    session: Workspace, trained: TrainedModel, out: Path, *, update: bool, progress: Progress
) -> MeasurementResult:
    """Measures of all customers: from the saved state and new events with ``update``, otherwise from the whole log."""
    params, as_trained = session.params, trained.params_at(session.params.as_of)
    rejected_path = rejected_file(out)
    if out != params.scores_path:
        files.note_elsewhere(session.folder, out, rejected_path)
    if not update:
        return measure_in_full(
            session.engine, params, as_trained, shop=trained.shop, rejected_path=rejected_path, progress=progress
        )
    return measure_incrementally(
        session.con,
        params,
        as_trained,
        shop=trained.shop,
        model_uri=trained.model.uri,
        rejected_path=rejected_path,
        progress=progress,
    )


def _score(
    session: Workspace, trained: TrainedModel, measured: MeasurementResult, out: Path
) -> tuple[ScoredCustomers, ScoringSummary]:
    """Score all customers; those near a border keep the segment that the scores of the same model at ``out`` have."""
    params, margin, previous = session.params, session.params.score.hysteresis, None
    if margin:
        uri, as_of = trained.model.uri, params.as_of
        previous = previous_scores(session.engine, out, trained.prefixes, model_uri=uri, as_of=as_of)
    scorer = BatchScorer(
        spec=trained.shop.spec,
        mix=measured.season_mix,
        params=trained.params_at(params.as_of),
        model=trained.model,
        given_names=model_registry.given_names(session.store),
        hold_margin=0.0 if previous is None else margin,
    )
    scored = score_customers(session.engine, measured.measures, scorer, previous)
    shares = {key: part.customer_share for key, part in segments_at_training(session, trained).items()}
    summary = summarise_scores(session.con, scored.table, measured.measures, trained.facets, shares, scorer.hold_margin)
    return scored, summary


def _check_group_cuts(session: Workspace, trained: TrainedModel, measured: MeasurementResult) -> list[str]:
    as_trained = trained.params_at(session.params.as_of)
    return sanity_checks.check_group_cuts(moved_shares(session.engine, measured.measures, as_trained), as_trained)


def _another_shop(trained: TrainedModel, signs: Sequence[str], out: Path) -> UserError:
    return UserError(
        f"{trained.model.uri}: expected a model of this shop, but it seems to belong to another one: "
        f"{', and '.join(signs)}. {out.name} was left unchanged. Name this shop's model with --model or "
        "tracking.model_name, or train one. If it is the same shop, add --force."
    )


def _write(
    engine: Engine,
    out: Path,
    scored: ScoredCustomers,
    summary: ScoringSummary,
    params: Params,
    trained: TrainedModel,
    measured: MeasurementResult,
) -> None:
    mode = params.outputs.mode_with_ids
    if out.suffix:
        write_batches(out, scored.in_order(engine.con), scored.schema, mode=mode)
    else:
        with files.replacing_folder(out, mode=mode) as folder:
            scored.write_parts(engine, folder)
            if (found := row_count(folder)) != summary.customer_count:
                raise files.OutputError(
                    f"{out}: expected {summary.customer_count:,} rows in the written folder, found {found:,}. Run the "
                    "command again; if Spark has workers on other machines, name a folder that all of them share."
                )
    files.write_manifest(
        out.with_name(f"{out.stem}-manifest.json"),
        run_id=trained.model.run_id,
        params_digest=params.digest(),
        inputs={"source": measured.reading.digest, "model": trained.model.uri},
        outputs={"scores": out},
        versions=mlflow_runs.versions(),
        row_counts={"scores": summary.customer_count, "rejected": measured.reading.rejected_count},
    )


def _write_tables(con: Backend, target: Tables, scored: ScoredCustomers, params: Params) -> str:
    """Write scores and changes as tables, before the file: if that fails, scoring again writes both."""
    scores = pa.Table.from_batches(scored.in_order(con), scored.schema)
    tables = [TargetTable("scores", scores)]
    changes = changes_of(params.path(params.outputs.folder), params.as_of)
    if changes is not None:
        tables.append(TargetTable("changes", changes, CHANGE_KEY, params.as_of))
    return ", ".join(written.published(params.naming.min_group).as_text() for written in target.write(tables))


def border_text(summary: ScoringSummary) -> str:
    """How many customers are near a border, and how many of them kept their previous segment."""
    text = f"Near a border   {counted(summary.border_count, 'customer')}"
    if summary.movable_count:
        text += f"; what_would_move says what would move {summary.movable_count:,} of them"
    if summary.held and summary.held.customer_count:
        text += (
            f"; {summary.held.customer_count:,} kept their previous segment because the new one leads by less than "
            f"{summary.held.margin:g} (score.hysteresis)"
        )
    return text
