"""Names of a facet's segments, by the rules of params.yaml: by archetypes or by interests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from models.archetypes import Archetype
from models.interest_names import Node, category_nodes, name_by_interests, node_figures
from models.lifts import Interest
from models.name_continuity import ManualName, inheritors, keep_names, with_given_names
from models.naming import NameRules
from models.segment_metrics import member_figures
from models.segment_names import Bounds, Naming
from models.segmentation import FittedClusters
from models.traits import Trait, TraitRules
from pipeline.config.facets import BROAD_ID
from pipeline.config.params import Params
from pipeline.config.sections.segments import NamingParams
from pipeline.report.next_steps import command
from pipeline.segmentation.cluster import FacetClusters
from pipeline.segmentation.descriptions.rows import is_stable, stability_of


@dataclass(frozen=True, slots=True)
class NamedSegments:
    """The names of a facet's segments, without the rule-based groups.

    Attributes
    ----------
    by_segment : dict of str to Naming
    inherited : dict of str to str
        segment_id -> the name given by hand to the segment that it continues under another id.
    notes : tuple of str
        What became of the names given by hand to segments that are gone.
    """

    by_segment: dict[str, Naming]
    inherited: dict[str, str]
    notes: tuple[str, ...]


def name_rules(settings: NamingParams) -> NameRules:
    """The rules of params.yaml."""
    return NameRules(
        archetypes=[
            Archetype(
                id=archetype.id,
                priority=archetype.priority,
                name=archetype.name.model_dump(),
                when={figure: Bounds(**bounds.model_dump()) for figure, bounds in archetype.when.items()},
                playbook=archetype.playbook.model_dump(),
                avoid=archetype.avoid.model_dump(),
            )
            for archetype in settings.archetypes
        ],
        traits=TraitRules(
            traits=[Trait(**trait.model_dump()) for trait in settings.traits],
            min_contrast=settings.min_contrast,
            min_gap=settings.min_gap,
            min_share_gap=settings.min_share_gap,
            min_held_share=settings.min_held_share,
        ),
    )


def name_segments(
    clusters: FacetClusters,
    figures: pd.DataFrame,
    lifts: Mapping[str, pd.DataFrame],
    interests: Mapping[str, Sequence[Interest]],
    *,
    champion: Mapping[str, Naming],
    given: Mapping[str, str],
    lost: Sequence[ManualName],
) -> NamedSegments:
    """Name all segments but the rule-based groups.

    Parameters
    ----------
    figures : DataFrame
        `models.segment_metrics.segment_figures` of the clustered segments, and of "shop".
    lifts, interests : mapping
        `models.lifts.segment_lifts`, and segment_id -> `models.lifts.top_interests`.
    champion : mapping
        segment_id -> the champion's naming of a segment that survived. A segment of the same kind keeps its name.
    given : mapping
        segment_id -> the name given by hand.
    lost : sequence of ManualName
        Names given by hand to segments that are gone. Each goes to the only new segment that could inherit it.
    """
    rules = name_rules(clusters.params.naming)
    if clusters.facet.is_named_by_interests:
        named = _named_by_interests(clusters, lifts)
    else:
        named = rules.assign(
            figures,
            interests,
            members=member_figures(clusters.clustered).set_axis(clusters.clustered_ids, axis=0),
            unstable=_unstable(clusters, interests),
        )
    kept = keep_names(named, champion, figures, rules.traits.traits)
    inherited, notes = inherit_names(lost, kept, kept.keys() - champion.keys() - given.keys(), clusters.params)
    return NamedSegments(with_given_names(kept, {**given, **inherited}), inherited, notes)


def inherit_names(
    lost: Sequence[ManualName], named: Mapping[str, Naming], new_ids: Collection[str], params: Params
) -> tuple[dict[str, str], tuple[str, ...]]:
    """segment_id -> the manual name it inherits, and a note on each manual name whose segment is gone."""
    inherited, notes = {}, []
    candidates = inheritors(lost, named, new_ids)
    offers = Counter(segment_id for found in candidates.values() for segment_id in found)
    for manual in lost:
        found = candidates[manual.segment_id]
        if len(found) == 1 and offers[found[0]] == 1:
            inherited[found[0]] = manual.name
            notes.append(
                f"{found[0]} continues {manual.segment_id}, so it is called {manual.name!r}, as given by hand."
            )
            continue
        could = ", ".join(f"{segment_id} ({named[segment_id].names.shown(params.language)})" for segment_id in found)
        reason = f"{could} could have it" if could else "no new segment is like it"
        example = command(params, "rename", found[0] if found else "SEGMENT", manual.name)
        notes.append(
            f"Warning: no segment is called {manual.name!r} any more: {manual.segment_id}, which was given this name, "
            f"is gone, and {reason}. To give it to a segment after promoting this model: {example}"
        )
    return inherited, tuple(notes)


def _unstable(clusters: FacetClusters, ids: Mapping[str, Sequence[Interest]]) -> list[str]:
    fitted, params = clusters.fitted, clusters.params
    return [segment_id for segment_id in ids if not is_stable(stability_of(segment_id, fitted), params)]


def _named_by_interests(clusters: FacetClusters, lifts: Mapping[str, pd.DataFrame]) -> dict[str, Naming]:
    """`models.interest_names.name_by_interests` with the configured parameters."""
    settings, cut = clusters.params.naming, clusters.profiles.shop.spec.cut
    ids = sorted({str(segment_id) for segment_id in clusters.clustered_ids})
    if not ids:
        return {}
    nodes = category_nodes(cut.categories, cut.level)
    expected = (lifts["share"] / lifts["lift"].where(lifts["lift"] > 0)).reindex(columns=list(cut.categories))
    figures = node_figures(
        clusters.clustered,
        pd.Index(ids).get_indexer(pd.Index(clusters.clustered_ids)).astype(np.int64),
        expected.loc[ids].fillna(0.0),
        nodes,
        cut.categories,
        lift_errors=settings.lift_errors,
        min_lift=settings.min_lift,
    )
    return name_by_interests(
        figures,
        ids,
        nodes,
        min_lift=settings.min_lift,
        min_share=settings.min_interest_share,
        playbook=settings.interest_playbook.model_dump(),
        broad=[BROAD_ID],
        leading=_leading_nodes(clusters.fitted, nodes),
    )


def _leading_nodes(fitted: FittedClusters, nodes: Sequence[Node]) -> dict[str, int]:
    """segment_id -> index of its category node, if customers are grouped by leading category; else empty."""
    groups = fitted.clusters.model.get("nodes")
    if groups is None:
        return {}
    node_index = {tuple(node.columns.tolist()): index for index, node in enumerate(nodes)}
    columns = {group: tuple(np.flatnonzero(groups == group).tolist()) for group in fitted.model_clusters}
    return {fitted.segment_id(group): node_index[key] for group, key in columns.items() if key in node_index}
