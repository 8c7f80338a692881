"""What searches mean, compared with the truth of a simulated shop; its rivals on harder queries; and what searches add to the backtest.

python tests/benchmarks/searches.py SHOP [--rivals] [--backtest]

No real log of searches at scale was to be had: these figures are of a simulated shop, whose queries and typing errors
were made up by the same hands as the method, of made-up hard words, and of words of real catalogues taken for queries.
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
from search_beds import VAGUE, all_beds
from search_rivals import RIVALS

from features.categories import category_columns
from features.events import EventType, ObservationWindow
from features.searches import normalised_query
from models.queries import ABSTAINED, LEARNED, WAYS
from pipeline.ingest.source import read_source
from pipeline.profiles.interest_fit import FIGURES, run_backtest
from pipeline.profiles.prepare_events import observe
from pipeline.profiles.search_queries import fit_queries
from pipeline.stores.database import connect


def meanings(folder: Path) -> pd.DataFrame:
    """A row per distinct query of the log: its truth, what it was taken for, how and how surely."""
    given = params(folder)
    with connect(given.engine, folder=folder) as con:
        source = read_source(con, given, rejected_path=None)
        known = observe(con, source, given, ObservationWindow(given.as_of, given.history_days))
        started = time.monotonic()
        model = fit_queries(known.observed, known.columns, len(known.cut.categories), given)
        learned = time.monotonic()
        typed = known.observed.filter(known.observed.event_type == str(EventType.SEARCH))
        typed = typed.filter(typed.query.notnull())
        counts = typed.group_by("query").aggregate(search_count=typed.count())
        frame = counts.order_by("query").to_pandas()
        found = model.predict(frame["query"].tolist())
        print(
            f"{len(model.queries):,} queries learned of {len(frame):,} in {learned - started:.1f} s, the others backed "
            f"off in {time.monotonic() - learned:.1f} s: {found.counts()}"
        )
        truth = con.read_parquet(folder / "truth_queries.parquet")
        truth = truth.mutate(query=normalised_query(truth.query)).to_pandas()
    frame["way"], frame["confidence"] = found.way, found.confidence
    frame["probability"], frame["column"] = found.probabilities.max(axis=1), found.probabilities.argmax(axis=1)
    # Texts that are one after normalisation have the truth of the first.
    frame = frame.merge(truth.drop_duplicates("query"), on="query")
    frame["category_path"] = frame.category_path.replace("", None)
    paths = pd.DataFrame({"category_path": frame.category_path.dropna().unique()})
    columns = category_columns(ibis.memtable(paths), known.cut).to_pandas().set_index("category_path").column
    frame["meant"] = frame.category_path.map(columns).fillna(VAGUE).astype("int64")
    return frame.assign(is_right=frame.column == frame.meant, is_answered=frame.way != ABSTAINED)


def print_accuracy(frame: pd.DataFrame) -> None:
    """Top-1 accuracy and coverage by language, typing error, and whether enough customers typed the query."""
    print(
        "\n| language | typed | | queries | searches | guessed | right of these | right of all |\n|---|---|---|---|---|---|---|---|"
    )
    clear = frame[frame.meant != VAGUE].assign(
        seen=np.where(frame[frame.meant != VAGUE].way == LEARNED, "learned", "guessed")
    )
    everything = clear.assign(language="all")
    for (language, is_typo, seen), rows in pd.concat([clear, everything]).groupby(
        ["language", "is_typo", "seen"], sort=True
    ):
        answered = rows[rows.is_answered]
        print(
            f"| {language} | {'mistyped' if is_typo else 'right'} | {seen} | {len(rows):,} | {rows.search_count.sum():,} "
            f"| {len(answered) / len(rows):.1%} | {answered.is_right.mean():.1%} | {answered.is_right.sum() / len(rows):.1%} |"
        )
    vague = frame[(frame.meant == VAGUE) & (frame.way != LEARNED)]
    print(
        f"\nOf {len(vague)} queries that mean nothing in particular and were not learned, {vague.is_answered.sum()} got one."
    )


def print_calibration(frame: pd.DataFrame) -> None:
    """Of the queries given a confidence, how many are right; those that mean nothing in particular are wrong."""
    print("\n| confidence | queries | given | right |\n|---|---|---|---|")
    answered = frame[frame.is_answered & (frame.way != LEARNED)]
    for bin_, rows in answered.groupby(
        pd.cut(answered.confidence, [0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0]), observed=True
    ):
        print(f"| {bin_} | {len(rows):,} | {rows.confidence.mean():.1%} | {rows.is_right.mean():.1%} |")
    print("\n| way | queries | given | right |\n|---|---|---|---|")
    for way, rows in answered.groupby("way"):
        print(f"| {WAYS[way]} | {len(rows):,} | {rows.confidence.mean():.1%} | {rows.is_right.mean():.1%} |")


def print_rivals(folder: Path) -> None:
    """How many are right at each coverage, the surest first, and how far the given confidence is from that."""
    for bed in all_beds([folder]):
        print(f"\n{bed.name}: {len(bed.known):,} learned, {len(bed.unknown):,} held out, {len(bed.paths)} paths\n")
        print(
            f"| | {' | '.join(f'{tenth}0%' for tenth in range(1, 11))} | calibration error | largest | given - right |"
        )
        print("|---" * 14 + "|")
        for name, rival in RIVALS.items():
            first, confidence = rival(bed)
            is_right = (first == bed.truth) & (confidence > 0)
            figures = [f"{share:.1%}" for share in right_by_coverage(confidence, is_right)]
            figures += [f"{error:.1%}" for error in calibration_errors(confidence, is_right)]
            print(f"| {name} | {' | '.join(figures)} |", flush=True)


def right_by_coverage(confidence: np.ndarray, is_right: np.ndarray) -> list[float]:
    """Share right of the surest tenth, two tenths, ..., all."""
    right = np.cumsum(is_right[np.argsort(-confidence, kind="stable")])
    counts = [max(round(len(right) * tenth / 10), 1) for tenth in range(1, 11)]
    return [right[count - 1] / count for count in counts]


def calibration_errors(confidence: np.ndarray, is_right: np.ndarray) -> tuple[float, float, float]:
    """Between confidence and share right, in bins of a tenth: mean error, the largest of 50 or more, and the whole gap."""
    bins = np.minimum((confidence * 10).astype(int), 9)
    gaps = [
        (confidence[bins == one].mean() - is_right[bins == one].mean(), (bins == one).sum()) for one in np.unique(bins)
    ]
    mean = sum(abs(gap) * count for gap, count in gaps) / len(bins)
    largest = max((abs(gap) for gap, count in gaps if count >= 50), default=0.0)
    return mean, largest, float(confidence.mean() - is_right.mean())


def print_backtest(folder: Path) -> None:
    """Both figures of the backtest without searches, with learned queries (from 1), and with all others of some confidence."""
    print(f"\n| | {' | '.join(FIGURES.values())} |\n|---|---|---|---|")
    without = "interests.signal_weights.search=0"
    for name, more in (
        ("no searches", [without]),
        *((f"from {one}", [f"searches.min_confidence={one}"]) for one in (1, 0.7, 0.5, 0.3, 0.1)),
    ):
        given = params(folder, *more)
        with connect(given.engine, folder=folder) as con:
            source = read_source(con, given, rejected_path=None)
            rows = run_backtest(con, source, given, progress=lambda step: None).rows
        for row in rows:
            if row.name.endswith("weights"):
                figures = [getattr(row.figures, figure) for figure in FIGURES]
                answered = " | ".join(f"{one.mean:.4f} ({one.low:.4f}-{one.high:.4f})" for one in figures)
                print(f"| {name}, {row.name} | {answered} |", flush=True)


def main() -> None:
    """Print the tables."""
    folder = Path(sys.argv[1]).resolve()
    frame = meanings(folder)
    print_accuracy(frame)
    print_calibration(frame)
    if "--rivals" in sys.argv:
        print_rivals(folder)
    if "--backtest" in sys.argv:
        print_backtest(folder)


if __name__ == "__main__":
    main()
