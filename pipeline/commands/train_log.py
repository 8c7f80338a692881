"""What `kindred train` writes to MLflow: the run, and the model that it registers."""

from __future__ import annotations

from models.saved_segmentation import Segmentation, input_columns
from models.scorer import IS_UNUSUAL
from pipeline.config.params import Params
from pipeline.config.run_settings import fitted_settings, given_settings
from pipeline.drift.reference import reference_of
from pipeline.profiles.interest_fit import Backtest, log_backtest
from pipeline.profiles.search_queries import query_metrics
from pipeline.profiles.shop import save_shop
from pipeline.report import plots
from pipeline.report.pages.facet_table import facet_table
from pipeline.report.pages.markdown import as_markdown
from pipeline.report.publish import flat_segments
from pipeline.report.summary import Summary
from pipeline.segmentation.training_summary import TrainingFindings, metrics
from pipeline.stores import model_files, model_registry
from pipeline.stores.local.work_folders import temporary_folder
from pipeline.stores.mlflow_runs import LINEAGE
from pipeline.stores.run_log import OpenRun


def log_training(
    run: OpenRun,
    given: Params,
    params: Params,
    findings: TrainingFindings,
    backtest: Backtest | None,
    summary: Summary,
    report: str,
    *,
    sweep: bool,
) -> None:
    """Log name, description, parameters, metrics, figures, texts and the description of the data.

    Parameters
    ----------
    given, params : Params
        As given, and with the fitted interests and the chosen settings; without passwords.
    """
    run.rename(training_name(params, findings, sweep=sweep))
    run.describe(as_markdown(summary))
    n_segments = {facet.segments.facet.name: facet.fitted.n_segments for facet in findings.facets}
    is_fitted = backtest is not None and backtest.fitted.is_fitted
    run.log_params({**given_settings(given), **fitted_settings(params, n_segments, is_fitted=is_fitted)})
    run.log_metrics(
        {**metrics(findings.facets, params.naming.min_group), **query_metrics(findings.profiles.query_counts)}
    )
    if findings.validity:
        run.log_metrics(findings.validity.metrics())
    run.log_metrics(findings.expected_value.metrics())
    if backtest:
        log_backtest(run, backtest)
    run.log_json(params.model_dump(mode="json"), "params.json")
    run.log_json(summary.as_json(), "summary.json")
    run.log_json(findings.lineage, LINEAGE)
    run.log_text(report, "report.html")
    run.log_table(flat_segments(summary), "segments.json")
    reading = summary.reading
    row_count = reading.accepted_count - (reading.duplicate_count if reading.duplicates_dropped else 0)
    source = findings.source
    if source.summaries is None:
        run.log_dataset(source.events.schema(), row_count=row_count, digest=reading.digest)
    else:
        run.log_dataset(source.summaries.schema(), row_count=reading.accepted_count, digest=reading.digest)
    _log_figures(run, params, findings, summary)


def training_name(params: Params, findings: TrainingFindings, *, sweep: bool) -> str:
    """The name of a run: how many segments each facet has, and the date that they are of."""
    counts = " and ".join(f"{facet.fitted.n_segments} by {facet.segments.facet.name}" for facet in findings.facets)
    return f"{'Sweep' if sweep else 'Segments'} of {params.as_of:%Y-%m-%d}: {counts}"


def _log_figures(run: OpenRun, params: Params, findings: TrainingFindings, summary: Summary) -> None:
    for facet in findings.facets:
        segments = facet.segments
        figures = plots.figures(
            summary.of_facet(segments.facet.name),
            segments.lifts.rename(columns=segments.labels),
            facet.fitted.space,
            segments.segment_ids[facet.fitted.is_clustered],
            by_interest=segments.facet.is_named_by_interests,
            min_group=params.naming.min_group,
            seed=params.seed,
        )
        run.log_figures({f"{segments.facet.name}/{key}": figure for key, figure in figures.items()})
    if table := facet_table(summary):
        run.log_figures({"crossing": plots.crossing_figure(table)})


def log_trained_model(run: OpenRun, params: Params, findings: TrainingFindings, *, alias: str) -> str:
    """Log and register the model; returns its URI. ``params`` are saved with it, without folders."""
    profiles = findings.profiles
    facets = {facet.segments.facet.name: facet.segments.model for facet in findings.facets}
    segmentation = Segmentation(facets, findings.expected_value.model)
    with temporary_folder() as folder:
        segmentation.save(folder / model_files.MODEL_FOLDER)
        save_shop(profiles.shop, params.without_folders(), folder / model_files.SHOP_FOLDER)
        reference_of(findings, params).save(folder / model_files.SHOP_FOLDER)
        columns = [*input_columns(profiles.shop.spec.columns()), *([IS_UNUSUAL] if profiles.caps else [])]
        example = profiles.table[columns].head(0)
        predicted = segmentation.predict(profiles.table.head(5)).head(0)
        return model_registry.log_model(run, params, alias=alias, folder=folder, example=example, predicted=predicted)
