"""The cut through the category tree as one would write it by hand; small arithmetic that the contenders share."""

from __future__ import annotations

from math import log

COLUMNS = 40


def columns_of(evidence: dict[str, float], most: int = COLUMNS) -> dict[str, str]:
    """The column of each path: kept one by one, by what each adds to the entropy of evidence."""
    total = sum(evidence.values())
    mass = {path: own / total for path, own in evidence.items() if own > 0}
    nodes = sorted({beginning for path in mass for beginning in beginnings(path)})
    below = {node: [path for path in mass if node in beginnings(path)] for node in nodes}
    held = dict.fromkeys(mass, "")

    def part(node: str, owner: str) -> float:
        return sum(mass[path] for path in below[node] if held[path] == owner)

    kept: list[str] = []
    for _ in range(most - 1):
        gains = {}
        for node in set(nodes) - set(kept):
            owner = next((above for above in beginnings(node)[1:] if above in kept), "")
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
    return {path: named(path, held) for path in mass}


def beginnings(path: str) -> list[str]:
    """The path, its parent, and so on to the root."""
    parts = path.split(" > ")
    return [" > ".join(parts[:depth]) for depth in range(len(parts), 0, -1)]


def entropy(share: float) -> float:
    """- p log p."""
    return -share * log(share) if share > 0 else 0.0


def named(path: str, held: dict[str, str]) -> str:
    """The column of a path: the deepest category of all that its column holds, "other X" where others lie below it."""
    if not held[path]:
        return "(other)"
    inside = [one for one, owner in held.items() if owner == held[path]]
    name = next(node for node in beginnings(path) if all(node in beginnings(one) for one in inside))
    is_rest = any(name in beginnings(one) and held[one] != held[path] for one in held)
    return f"{name} > other {name.split(' > ')[-1]}" if is_rest else name


def levels_of(names: list[str]) -> list[list[str]]:
    """The node of each column at each level down to the deepest; a column that ends above it stays."""
    deepest = max(len(name.split(" > ")) for name in names)
    return [[" > ".join(name.split(" > ")[:level]) for name in names] for level in range(1, deepest + 1)]


def parent(node: str, level: int) -> str:
    """The node of the level above ``level``."""
    return " > ".join(node.split(" > ")[: level - 1])
