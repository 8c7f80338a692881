"""Accuracy of query categories on a simulated shop, baselines on harder queries, and the gain of searches in the backtest.

python tests/benchmarks/searches.py SHOP [--baselines] [--backtest]

No large real search log was available. The figures are of a simulated shop, whose queries and misspellings have the same
authors as the method, of generated hard queries, and of words of real catalogues used as queries.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import ibis
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from run import params
from search_baselines import CLASSIFIERS
from search_datasets import VAGUE, all_datasets

from features.categories import category_columns
from features.events import EventType, ObservationWindow
from features.searches import normalised_query
from models.queries import ABSTAINED, LEARNED, WAYS
from pipeline.config.progress import SILENT
from pipeline.ingest.source import read_source
from pipeline.profiles.interest_fit import FIGURES, run_backtest
from pipeline.profiles.prepare_events import prepare_events
from pipeline.profiles.search_queries import fit_queries
from pipeline.stores.database import connect
from pipeline.stores.engines.duckdb import DuckDB


def meanings(folder: Path) -> pd.DataFrame:
    """One row per distinct query of the log: the true and the predicted category, the way and the confidence."""
    settings = params(folder)
    with connect(settings.engine, folder=folder) as con:
        source = read_source(con, settings, rejected_path=None)
        known = prepare_events(DuckDB(con), source, settings, ObservationWindow(settings.as_of, settings.history_days))
        started = time.monotonic()
        model = fit_queries(known.observed, known.columns, len(known.cut.categories), settings)
        learned = time.monotonic()
        typed = known.observed.filter(known.observed.event_type == str(EventType.SEARCH))
        typed = typed.filter(typed.query.notnull())
        counts = typed.group_by("query").aggregate(search_count=typed.count())
        frame = counts.order_by("query").to_pandas()
        predicted = model.predict(frame["query"].tolist())
        print(
            f"{len(model.queries):,} queries learned of {len(frame):,} in {learned - started:.1f} s, the others "
            f"classified in {time.monotonic() - learned:.1f} s: {predicted.counts()}"
        )
        truth = con.read_parquet(folder / "truth_queries.parquet")
        truth = truth.mutate(query=normalised_query(truth.query)).to_pandas()
    frame["way"], frame["confidence"] = predicted.way, predicted.confidence
    frame["probability"], frame["column"] = predicted.probabilities.max(axis=1), predicted.probabilities.argmax(axis=1)
    # Texts that are equal after normalisation get the truth of the first.
    frame = frame.merge(truth.drop_duplicates("query"), on="query")
    frame["category_path"] = frame.category_path.replace("", None)
    paths = pd.DataFrame({"category_path": frame.category_path.dropna().unique()})
    columns = category_columns(ibis.memtable(paths), known.cut).to_pandas().set_index("category_path").column
    frame["meant"] = frame.category_path.map(columns).fillna(VAGUE).astype("int64")
    return frame.assign(is_right=frame.column == frame.meant, is_answered=frame.way != ABSTAINED)


def print_accuracy(frame: pd.DataFrame) -> None:
    """Top-1 accuracy and coverage by language, misspelling, and whether the query was learned."""
    print(
        "\n| language | typed | | queries | searches | answered | right of answered | right of all |\n|---|---|---|---|---|---|---|---|"
    )
    clear = frame[frame.meant != VAGUE].assign(
        seen=np.where(frame[frame.meant != VAGUE].way == LEARNED, "learned", "classified")
    )
    everything = clear.assign(language="all")
    for (language, is_typo, seen), rows in pd.concat([clear, everything]).groupby(
        ["language", "is_typo", "seen"], sort=True
    ):
        answered = rows[rows.is_answered]
        print(
            f"| {language} | {'mistyped' if is_typo else 'correct'} | {seen} | {len(rows):,} | {rows.search_count.sum():,} "
            f"| {len(answered) / len(rows):.1%} | {answered.is_right.mean():.1%} | {answered.is_right.sum() / len(rows):.1%} |"
        )
    vague = frame[(frame.meant == VAGUE) & (frame.way != LEARNED)]
    print(f"\n{vague.is_answered.sum()} of {len(vague)} vague queries that were not learned got a category.")


def print_calibration(frame: pd.DataFrame) -> None:
    """Accuracy by confidence; answers to vague queries count as wrong."""
    print("\n| confidence | queries | confidence | right |\n|---|---|---|---|")
    answered = frame[frame.is_answered & (frame.way != LEARNED)]
    for bin_, rows in answered.groupby(
        pd.cut(answered.confidence, [0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0]), observed=True
    ):
        print(f"| {bin_} | {len(rows):,} | {rows.confidence.mean():.1%} | {rows.is_right.mean():.1%} |")
    print("\n| way | queries | confidence | right |\n|---|---|---|---|")
    for way, rows in answered.groupby("way"):
        print(f"| {WAYS[way]} | {len(rows):,} | {rows.confidence.mean():.1%} | {rows.is_right.mean():.1%} |")


def print_baselines(folder: Path) -> None:
    """Accuracy at each coverage, most confident first, and the calibration error."""
    for dataset in all_datasets([folder]):
        print(
            f"\n{dataset.name}: {len(dataset.known):,} learned, {len(dataset.unknown):,} held out, {len(dataset.paths)} paths\n"
        )
        print(
            f"| | {' | '.join(f'{tenth}0%' for tenth in range(1, 11))} | calibration error | largest | confidence - right |"
        )
        print("|---" * 14 + "|")
        for name, classify in CLASSIFIERS.items():
            first, confidence = classify(dataset)
            is_right = (first == dataset.truth) & (confidence > 0)
            figures = [f"{share:.1%}" for share in right_by_coverage(confidence, is_right)]
            figures += [f"{error:.1%}" for error in calibration_errors(confidence, is_right)]
            print(f"| {name} | {' | '.join(figures)} |", flush=True)


def right_by_coverage(confidence: np.ndarray, is_right: np.ndarray) -> list[float]:
    """Share right among the most confident 10%, 20%, ..., 100%."""
    right = np.cumsum(is_right[np.argsort(-confidence, kind="stable")])
    counts = [max(round(len(right) * tenth / 10), 1) for tenth in range(1, 11)]
    return [right[count - 1] / count for count in counts]


def calibration_errors(confidence: np.ndarray, is_right: np.ndarray) -> tuple[float, float, float]:
    """Calibration in ten bins: mean absolute error, largest error of a bin with 50 or more, and the overall gap."""
    bins = np.minimum((confidence * 10).astype(int), 9)
    gaps = [
        (confidence[bins == bin_].mean() - is_right[bins == bin_].mean(), (bins == bin_).sum())
        for bin_ in np.unique(bins)
    ]
    mean = sum(abs(gap) * count for gap, count in gaps) / len(bins)
    largest = max((abs(gap) for gap, count in gaps if count >= 50), default=0.0)
    return mean, largest, float(confidence.mean() - is_right.mean())


def print_backtest(folder: Path) -> None:
    """Backtest figures without searches, with learned queries only (from 1), and with lower minimum confidences."""
    print(f"\n| | {' | '.join(FIGURES.values())} |\n|---|---|---|---|")
    without = "interests.signal_weights.search=0"
    for name, overrides in (
        ("no searches", [without]),
        *((f"from {minimum}", [f"searches.min_confidence={minimum}"]) for minimum in (1, 0.7, 0.5, 0.3, 0.1)),
    ):
        settings = params(folder, *overrides)
        with connect(settings.engine, folder=folder) as con:
            source = read_source(con, settings, rejected_path=None)
            rows = run_backtest(DuckDB(con), source, settings, progress=SILENT).rows
        for row in rows:
            if row.name.endswith("weights"):
                figures = [getattr(row.figures, name) for name in FIGURES]
                cells = " | ".join(f"{figure.mean:.4f} ({figure.low:.4f}-{figure.high:.4f})" for figure in figures)
                print(f"| {name}, {row.name} | {cells} |", flush=True)


def main() -> None:
    """Print the tables."""
    folder = Path(sys.argv[1]).resolve()
    frame = meanings(folder)
    print_accuracy(frame)
    print_calibration(frame)
    if "--baselines" in sys.argv:
        print_baselines(folder)
    if "--backtest" in sys.argv:
        print_backtest(folder)


if __name__ == "__main__":
    main()
