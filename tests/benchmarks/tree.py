"""A simple version of the category cut, and small functions shared by the contenders."""

from __future__ import annotations

from math import log

COLUMNS = 40


def columns_of(evidence: dict[str, float], max_columns: int = COLUMNS) -> dict[str, str]:
    """The column of each path; columns are added one by one, by the gain in the entropy of evidence."""
    total = sum(evidence.values())
    mass = {path: own / total for path, own in evidence.items() if own > 0}
    nodes = sorted({ancestor for path in mass for ancestor in ancestors(path)})
    below = {node: [path for path in mass if node in ancestors(path)] for node in nodes}
    held = dict.fromkeys(mass, "")

    def part(node: str, owner: str) -> float:
        return sum(mass[path] for path in below[node] if held[path] == owner)

    kept: list[str] = []
    for _ in range(max_columns - 1):
        gains = {}
        for node in set(nodes) - set(kept):
            owner = next((above for above in ancestors(node)[1:] if above in kept), "")
            taken, whole = part(node, owner), part(owner, owner) if owner else 1.0
            left = whole - taken if owner else 0.0
            if taken > 1e-12 and (left > 1e-12 or not owner):
                gains[node] = (entropy(left) - entropy(whole) if owner else 1e-6 * taken) + entropy(taken), owner
        if not gains:
            break
        best = max(sorted(gains), key=lambda node: gains[node][0])
        if gains[best][0] <= 0:
            break
        held.update({path: best for path in below[best] if held[path] == gains[best][1]})
        kept.append(best)
    return {path: column_name(path, held) for path in mass}


def ancestors(path: str) -> list[str]:
    """The path and its ancestors, up to the root."""
    parts = path.split(" > ")
    return [" > ".join(parts[:depth]) for depth in range(len(parts), 0, -1)]


def entropy(share: float) -> float:
    """- p log p."""
    return -share * log(share) if share > 0 else 0.0


def column_name(path: str, held: dict[str, str]) -> str:
    """The column name of a path: the deepest category common to its column, or "other X" if columns lie below it."""
    if not held[path]:
        return "(other)"
    inside = [name for name, owner in held.items() if owner == held[path]]
    name = next(node for node in ancestors(path) if all(node in ancestors(name) for name in inside))
    is_remainder = any(name in ancestors(other) and held[other] != held[path] for other in held)
    return f"{name} > other {name.split(' > ')[-1]}" if is_remainder else name


def levels_of(names: list[str]) -> list[list[str]]:
    """The node of each column at each level; a column that ends early keeps its own node."""
    deepest = max(len(name.split(" > ")) for name in names)
    return [[" > ".join(name.split(" > ")[:level]) for name in names] for level in range(1, deepest + 1)]


def parent(node: str, level: int) -> str:
    """The parent of a node at ``level``."""
    return " > ".join(node.split(" > ")[: level - 1])
