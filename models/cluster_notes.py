"""What is noted about the clusters of a facet: customers between them, and unstable segments."""

from __future__ import annotations

from collections.abc import Mapping

from models.cluster_settings import FacetIdentity


def too_little_data(
    facet: FacetIdentity, count: int, min_events: int, min_evidence: float, min_orders: int | None
) -> str:
    """The error if none of ``count`` customers can be clustered."""
    if min_orders:
        least, remedy = f"{min_orders} orders", "clustering.min_orders, or min_evidence there,"
    else:
        least, remedy = f"{min_events} events", "min_events or min_evidence there,"
    return (
        f"facets.{facet.name}: expected customers with at least {least} and evidence of {min_evidence:g}, "
        f"found none among {count:,}. Lower {remedy} or use a longer log."
    )


def repeated_notes(facet: FacetIdentity, repeated: Mapping[str, str]) -> tuple[str, ...]:
    """A note on the columns left out of the clustering because each repeats another one."""
    if not repeated:
        return ()
    pairs = " and ".join(f"{name} ({other})" for name, other in repeated.items())
    return (f"Left out of the clustering by {facet.name}, as each equals the column in brackets: {pairs}.",)


def noise_notes(facet: FacetIdentity, algorithm: str, share: float, policy: str | None) -> tuple[str, ...]:
    """A note on the customers between the clusters: how many there are, and where they go."""
    if not share or policy is None:
        return ()
    if algorithm == "rule":
        return (f"{share:.0%} of the customers grouped by {facet.name} have no leading category: broad interests.",)
    treatment = {
        "nearest": "they are assigned to the nearest segment",
        "keep": "they form a separate group",
        "standing": "they are grouped by rule instead",
    }[policy]
    return (
        f"{share:.0%} of the clustered customers are between HDBSCAN's segments of {facet.name}: {treatment} "
        f"(facets.{facet.name}.noise). Their evidence in the scores is {facet.noise_id}.",
    )


def stability_notes(
    facet: FacetIdentity, algorithm: str, stability: Mapping[int, float], least: float
) -> tuple[str, ...]:
    """A note on the segments whose stability is below ``least``, with the setting that gives fewer segments."""
    count = sum(value < least for value in stability.values())
    if not count:
        return ()
    reappears, has = ("reappears", "It has") if count == 1 else ("reappear", "They have")
    key = f"facets.{facet.name}."
    fewer = {
        "kmeans": f"set {key}n_segments to a lower number, such as {max(len(stability) * 2 // 3, 1)}",
        "hdbscan": f"raise {key}min_cluster_share",
    }.get(algorithm)
    return (
        f"{count} of {len(stability)} segments of {facet.name} rarely {reappears} when random subsets of the customers "
        f"are re-clustered (stability below {least:g}). {has} no campaign name and no playbook."
        + (f" Fewer segments are more stable: {fewer}." if fewer else ""),
    )
