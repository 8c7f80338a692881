"""The flow of customers between two sets of segments, as the shapes of a Sankey diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.identity import RULE_GROUP_PREFIX
from pipeline.report.pages.shapes import Band, Flow, Node
from pipeline.report.texts.wording import Wording

FLOW_WIDTH, LABEL_WIDTH, NODE_WIDTH, NODE_GAP, NODE_SPACE = 960.0, 240.0, 12.0, 16.0, 38.0


def flow_figure(
    flows: Sequence[Mapping[str, Any]],
    names: Sequence[Mapping[str, str]],
    words: Wording,
    same: Mapping[str, str] | None = None,
) -> Flow:
    """Shapes of a Sankey diagram: segments left and right, with heights by their customers, and bands between them.

    Parameters
    ----------
    same : mapping, optional
        Segment on the right -> the same segment on the left; by default the one with the same id.
    """
    if not flows:
        return Flow(0, 0, [], [])
    sizes: list[dict[str, int]] = [{}, {}]
    for flow in flows:
        for side, key in enumerate(("origin", "destination")):
            sizes[side][flow[key]] = sizes[side].get(flow[key], 0) + flow["customer_count"]
    left = sorted(sizes[0], key=lambda name: (name.startswith(RULE_GROUP_PREFIX), -sizes[0][name], name))
    right = _order_destinations(left, sizes[1], flows)
    height = NODE_SPACE * max(len(left), len(right))
    scale = (height - NODE_GAP * (max(len(left), len(right)) - 1)) / sum(sizes[0].values())
    tops = [_tops(order, sizes[side], scale) for side, order in enumerate((left, right))]
    xs = (LABEL_WIDTH, FLOW_WIDTH - LABEL_WIDTH - NODE_WIDTH)
    nodes = [
        Node(
            x=xs[side],
            y=round(tops[side][name], 1),
            height=round(max(sizes[side][name] * scale, 1.0), 1),
            label=names[side].get(name, name),
            label_x=xs[side] + (NODE_WIDTH + 8 if side else -8),
            anchor="start" if side else "end",
        )
        for side, order in enumerate((left, right))
        for name in order
    ]
    ordered = sorted(flows, key=lambda flow: (left.index(flow["origin"]), right.index(flow["destination"])))
    return Flow(FLOW_WIDTH, height, nodes, _bands(ordered, tops, scale, names, words, same))


def _order_destinations(left: Sequence[str], sizes: Mapping[str, int], flows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Destinations ordered by the mean position of their customers' origins, so that few bands cross."""
    place = {name: index for index, name in enumerate(left)}
    means = dict.fromkeys(sizes, 0.0)
    for flow in flows:
        destination = flow["destination"]
        means[destination] += place[flow["origin"]] * flow["customer_count"] / sizes[destination]
    return sorted(means, key=lambda name: (round(means[name], 9), name))


def _tops(order: Sequence[str], sizes: Mapping[str, int], scale: float) -> dict[str, float]:
    tops, at = {}, 0.0
    for name in order:
        tops[name] = at
        at += sizes[name] * scale + NODE_GAP
    return tops


def _bands(
    flows: Sequence[Mapping[str, Any]],
    tops: Sequence[Mapping[str, float]],
    scale: float,
    names: Sequence[Mapping[str, str]],
    words: Wording,
    same: Mapping[str, str] | None,
) -> list[Band]:
    """Bands in the order of ``flows``, each below the previous ones at both ends."""
    at = [dict(side) for side in tops]
    start, end = LABEL_WIDTH + NODE_WIDTH, FLOW_WIDTH - LABEL_WIDTH - NODE_WIDTH
    middle = FLOW_WIDTH / 2
    bands = []
    for flow in flows:
        origin, destination, thickness = flow["origin"], flow["destination"], flow["customer_count"] * scale
        y, to = at[0][origin], at[1][destination]
        at[0][origin], at[1][destination] = y + thickness, to + thickness
        path = (
            f"M{start:.1f},{y:.1f}C{middle:.1f},{y:.1f} {middle:.1f},{to:.1f} {end:.1f},{to:.1f}"
            f"V{to + thickness:.1f}C{middle:.1f},{to + thickness:.1f} {middle:.1f},{y + thickness:.1f} "
            f"{start:.1f},{y + thickness:.1f}Z"
        )
        ends = " → ".join(name.get(end_id, end_id) for name, end_id in zip(names, (origin, destination), strict=True))
        is_same = origin == (destination if same is None else same.get(destination))
        title = f"{ends}: {words('customers', count=flow['customer_count'])}"
        bands.append(Band(path, "same" if is_same else "moved", title))
    return bands
