"""Plots of a run, for MLflow: colour-blind safe (Okabe and Ito), without anything that identifies a customer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from sklearn.decomposition import PCA

from models.clusterers import sampled_rows
from pipeline.report.pages.facet_table import MIN_MAP_LIFT
from pipeline.report.texts.wording import shown_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from pipeline.report.pages.facet_table import FacetTable
    from pipeline.report.parts.segment import Segment

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#5c3d2e", "#777777")
MANY_COLOURS = colormaps["tab20"](range(20))
LESS_TO_MORE = LinearSegmentedColormap.from_list("kindred", ["#b25814", "#ffffff", "#0b5c7a"])  # as in the report
MAX_POINTS = 5_000
MAX_CATEGORIES, MAX_INTEREST_CATEGORIES = 20, 40
"""Shown in a map; in the interest facet, each segment has its own categories."""


def figures(
    segments: Sequence[Segment],
    lifts: pd.DataFrame,
    points: NDArray[np.float64],
    segment_ids: NDArray[np.object_],
    *,
    by_interest: bool,
    min_group: int,
    seed: int,
) -> dict[str, Figure]:
    """All plots of a facet by name; without the map of interests if no segment has a clear interest.

    Parameters
    ----------
    lifts : DataFrame
        segment_id x label of a category, in display order.
    points, segment_ids : arrays of shape (n, d) and (n,)
        The clustered customers as they were clustered, and the segment of each.
    by_interest : bool
        Whether the segments are named by interests.
    """
    ids = [segment.segment_id for segment in _with_figures(segments)]
    highest = lifts.reindex(ids).max().max() if len(lifts.columns) else np.nan
    has_interests = highest >= MIN_MAP_LIFT
    interests = (
        {"interests_by_segment": interest_heat_map(segments, lifts, by_interest=by_interest)} if has_interests else {}
    )
    return {
        "segment_sizes": _bars(segments, [segment.customer_share for segment in segments], "Share of all customers"),
        "value_by_segment": _bars(segments, [segment.spend_share or 0.0 for segment in segments], "Share of revenue"),
        **interests,
        # Interests have too many dimensions for a map in two.
        **({} if by_interest else {"map": customer_map(segments, points, segment_ids, min_group=min_group, seed=seed)}),
    }


def _with_figures(segments: Sequence[Segment]) -> list[Segment]:
    return [segment for segment in segments if not segment.is_standing and not segment.is_small]


def _name(segment: Segment, max_chars: int = 34) -> str:
    return _short(shown_name(segment.name, is_stable=segment.is_stable), max_chars)


def _bars(segments: Sequence[Segment], shares: Sequence[float], title: str) -> Figure:
    names = [_name(segment) for segment in reversed(segments)]
    figure = Figure(figsize=(8, 0.4 * len(names) + 1.4), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(range(len(names)), [100 * share for share in reversed(shares)], color=COLOURS[0])
    axes.set_yticks(range(len(names)), names)
    axes.bar_label(bars, fmt="%.1f%%", padding=3)
    axes.set_xlabel("%")
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    return figure


def interest_heat_map(segments: Sequence[Segment], lifts: pd.DataFrame, *, by_interest: bool) -> Figure:
    """Lift of each category in each segment, on a log scale; for interest segments, above-average interests only."""
    shown = _with_figures(segments)
    lifts = lifts.loc[[segment.segment_id for segment in shown]]
    if by_interest:  # sorted along the diagonal
        lifts = lifts.where(lifts >= 1.0)
        lifts = lifts.iloc[:, np.argsort(lifts.fillna(0.0).to_numpy().argmax(axis=0), kind="stable")]
    lifts = lifts.iloc[:, : MAX_INTEREST_CATEGORIES if by_interest else MAX_CATEGORIES]
    return _lift_map(
        lifts.to_numpy(np.float64),
        [_name(segment) for segment in shown],
        [_short(str(label), 22) for label in lifts.columns],
        "Above-average interests by segment" if by_interest else "Interest compared with the average",
    )


def crossing_figure(table: FacetTable) -> Figure:
    """Customers by interest segment and behaviour segment, coloured by the ratio to chance."""
    lifts = np.array([[np.nan if cell.lift is None else cell.lift for cell in cells] for cells in table.cells])
    figure = _lift_map(
        lifts,
        [_name(row) for row in table.rows],
        [_name(column, 22) for column in table.columns],
        "Customers in both segments, compared with chance",
    )
    for row, cells in enumerate(table.cells):
        for column, cell in enumerate(cells):
            text = "–" if cell.count is None else f"{cell.count:,}"
            weight = "bold" if cell.is_significant else "normal"
            figure.axes[0].text(column, row, text, ha="center", va="center", fontsize=7, fontweight=weight)
    return figure


def _lift_map(lifts: NDArray[np.float64], rows: list[str], columns: list[str], title: str) -> Figure:
    """Cells coloured on a log scale; white without a lift."""
    values = np.log2(np.maximum(np.nan_to_num(lifts, nan=1.0), 0.05))
    figure = Figure(figsize=(0.55 * len(columns) + 4, 0.45 * len(rows) + 2.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap=LESS_TO_MORE, vmin=-2, vmax=2, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(title, loc="left")
    bar = figure.colorbar(image, ax=axes, ticks=[-2, -1, 0, 1, 2])
    bar.ax.set_yticklabels(["¼×", "½×", "1×", "2×", "4×"])
    return figure


def customer_map(
    segments: Sequence[Segment],
    points: NDArray[np.float64],
    segment_ids: NDArray[np.object_],
    *,
    min_group: int,
    seed: int,
) -> Figure:
    """Where customers are on the two main axes of their profiles: cells with the segment that most of each have.

    Cells of a sample's customers, each of at least ``min_group``: a dot would be a customer.
    """
    shown, fewest = _with_figures(segments), max(min_group, 1)
    places = {segment.segment_id: place for place, segment in enumerate(shown)}
    inside = np.flatnonzero(np.isin(segment_ids.astype(str), [*places]))
    rows = inside[sampled_rows(len(inside), MAX_POINTS, seed)]
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    if len(rows) > 2 and np.count_nonzero(np.ptp(points[rows], axis=0)) > 1:
        palette = COLOURS if len(shown) <= len(COLOURS) else MANY_COLOURS
        colours = ListedColormap([palette[place % len(palette)] for place in places.values()])
        first, second = PCA(2, svd_solver="full").fit_transform(points[rows]).T
        axes.hexbin(
            first,
            second,
            C=np.array([places[name] for name in segment_ids[rows]]),
            reduce_C_function=lambda cell: float(np.bincount(np.asarray(cell, dtype=np.intp)).argmax()),
            gridsize=max(int(np.sqrt(len(rows) / fewest)), 2),
            mincnt=fewest,
            cmap=colours,
            vmin=-0.5,
            vmax=len(shown) - 0.5,
        )
        handles = [Patch(color=colours(place), label=_name(segment)) for place, segment in enumerate(shown)]
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set_title("Customers on the two main axes of their profiles", loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def _short(text: str, max_chars: int = 34) -> str:
    """Shorten a text and escape what matplotlib would read as mathematics."""
    plain = text.replace("$", r"\$")
    return plain if len(plain) <= max_chars else plain[: max_chars - 1] + "…"


def backtest_figure(table: pd.DataFrame, leads: pd.DataFrame, figures: Mapping[str, str]) -> Figure:
    """One column per figure: the ways to score interests, Kindred's highlighted; below, Kindred's lead over each."""
    heights = [len(table) + 2, len(leads) + 2]
    drawn = Figure(figsize=(4.2 * len(figures) + 2, 0.36 * sum(heights) + 0.6), layout="constrained")
    panels = drawn.subplots(2, len(figures), sharey="row", height_ratios=heights, squeeze=False)
    for (name, title), (above, below) in zip(figures.items(), panels.T, strict=True):
        _draw_intervals(above, table, name, highlighted="weights")
        above.set_title(title, loc="left")
        _draw_intervals(below, leads, name, highlighted=None)
        below.axvline(0.0, color="#222222", linewidth=0.8)
        below.set_title("Lead of Kindred", loc="left")
    return drawn


def _draw_intervals(axes: Axes, table: pd.DataFrame, name: str, *, highlighted: str | None) -> None:
    """A dot and its interval per row, the first on top; rows whose name contains ``highlighted`` in another colour."""
    for place, (_, row) in enumerate(table[::-1].iterrows()):
        colour = COLOURS[5] if highlighted and highlighted in row.scores else COLOURS[0]
        axes.plot([row[f"{name}_low"], row[f"{name}_high"]], [place, place], color=colour, linewidth=2)
        axes.plot(row[f"{name}_mean"], place, "o", color=colour)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_yticks(range(len(table)), table.scores.tolist()[::-1])


def choice_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Prediction score and stability of candidates by number of segments; the chosen one is ringed.

    Parameters
    ----------
    rows : sequence of mapping
        Fields of `models.selection.Candidate`, score and is_chosen.
    """
    drawn = Figure(figsize=(11, 4.2), layout="constrained")
    titles = {"score": "Prediction score on earlier cutoffs (1 = best)", "stability": "Stability (mean Jaccard)"}
    lines = list(dict.fromkeys((row["algorithm"], row["balance_name"]) for row in rows))
    for axes, (figure, title) in zip(drawn.subplots(1, 2), titles.items(), strict=True):
        for place, line in enumerate(lines):
            own = [row for row in rows if (row["algorithm"], row["balance_name"]) == line]
            own.sort(key=lambda row: row["n_segments"])
            at, values = [row["n_segments"] for row in own], [row[figure] for row in own]
            axes.plot(at, values, "o-", color=COLOURS[place % len(COLOURS)], label=_short(", ".join(line)))
        for row in rows:
            if row["is_chosen"]:
                axes.plot(row["n_segments"], row[figure], "o", markersize=15, fillstyle="none", color="#222222")
        axes.set_title(title, loc="left")
        axes.set_xlabel("Segments")
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    return drawn
