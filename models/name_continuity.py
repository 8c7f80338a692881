"""Names that outlast a training: of segments that are still of one kind, and those given by hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count, product
from typing import Any

import pandas as pd


def keep_names(
    named: dict[str, dict[str, Any]],
    known: Mapping[str, Mapping[str, Any]],
    figures: pd.DataFrame,
    traits: Sequence[Mapping[str, Any]],
) -> None:
    """Give segments that are still of one kind the names they had, but those that another one is called now.

    A name whose trait (`naming.name_segments`) figures contradict is given up: customers called "viewing more" must not
    view less than those of any other segment of their kind; without any other, there is nobody to view more than.

    Parameters
    ----------
    figures : DataFrame
        `segment_metrics.segment_figures` of today's segments, and "shop".
    """
    kept = {
        segment_id: {**one, "names": dict(known[segment_id]["names_by_figures"])}
        for segment_id, one in named.items()
        if segment_id in known
        and _kind(known[segment_id]) == _kind(one)
        and _trait_holds(known[segment_id]["names_by_figures"]["en"], segment_id, named, figures, traits)
    }
    while True:
        called = {segment_id: json.dumps(one["names"], sort_keys=True) for segment_id, one in {**named, **kept}.items()}
        times = Counter(called.values())
        clashing = [segment_id for segment_id in kept if times[called[segment_id]] > 1]
        if not clashing:
            break
        for segment_id in clashing:
            del kept[segment_id]
    named.update(kept)


def _trait_holds(
    name: str,
    segment_id: str,
    named: Mapping[str, Mapping[str, Any]],
    figures: pd.DataFrame,
    traits: Sequence[Mapping[str, Any]],
) -> bool:
    """Whether today's figures bear the trait that a name ends in; one without any needs none."""
    like = [one for one in named if one != segment_id and _kind(named[one]) == _kind(named[segment_id])]
    for trait, word in product(traits, ("above", "below", "between")):
        if not trait[word] or not name.endswith(f", {trait[word]['en']}"):
            continue
        own = figures.loc[segment_id, trait["figure"]]
        others = figures.loc[like, trait["figure"]]
        if others.empty:
            return False
        if word == "between":
            return bool(others.min() < own < others.max())
        return bool((own >= others).all() if word == "above" else (own <= others).all())
    return True


def leave_names(named: dict[str, dict[str, Any]], given: Mapping[str, str]) -> None:
    """Number a segment whose name by figures is what another one is called by hand."""
    for segment_id, one in named.items():
        by_hand = {name for other, name in given.items() if other != segment_id}
        names = {}
        for language, name in one["names"].items():
            taken = by_hand | {other["names"][language] for other in named.values()}
            numbered = (f"{name} {number}" for number in count(2))
            names[language] = next(free for free in numbered if free not in taken) if name in by_hand else name
        one["names"] = names


def _kind(segment: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a name says before it is told apart from its like: the archetype, else the figure that it rests on."""
    first = segment["evidence"][0] if segment["evidence"] and not segment["archetype"] else {}
    return segment["archetype"], first.get("figure"), tuple(first.get("condition", ()))
