"""Reads YAML within bounds, as aliases of aliases make a few lines as large as memory."""

from __future__ import annotations

from typing import Any

import yaml

# Ten times as fast as the loader in pure Python, which would add a tenth of a second to every command.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_BYTES, MAX_DEPTH, MAX_VALUES = 2**23, 32, 200_000
"""Of a file; levels of sections in sections; values, of which each alias repeats those that it stands for."""


def compose_yaml(text: str) -> yaml.Node | None:
    """The tree of ``text``, whose nodes know their lines.

    Raises
    ------
    yaml.YAMLError
        It is not YAML, or it is larger or deeper than a params file can be.
    """
    if len(text) > MAX_BYTES:
        raise yaml.YAMLError(f"It has more than {MAX_BYTES / 2**20:.0f} MiB.")
    # Before the tree is made, as that is done by recursion.
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise yaml.YAMLError(f"Line {line} is more than {MAX_DEPTH} levels deep.")
    node: yaml.Node | None = yaml.compose(text, Loader=LOADER)
    if node is not None:
        _count_values(node, {})
    return node


def construct_yaml(node: yaml.Node | None) -> Any:
    """The values of a tree.

    Raises
    ------
    yaml.YAMLError
        A tag such as !!int does not fit its value, or a key is a list.
    ValueError
        A value has the form of a date or number but is not one.
    """
    try:
        return None if node is None else LOADER("").construct_document(node)
    except (AttributeError, LookupError):
        raise yaml.YAMLError("A value does not fit the tag before it, such as !!int.") from None
    except OverflowError:
        raise ValueError("a date is out of range") from None


def _count_values(node: yaml.Node, counts: dict[int, int]) -> int:
    """Values of a node, with those that aliases repeat. ``counts``: of nodes by id; 0 while one is being counted."""
    if id(node) not in counts:
        counts[id(node)] = 0
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        else:
            children = node.value if isinstance(node, yaml.SequenceNode) else []
            if "\0" in node.value:  # which no path can hold
                raise yaml.YAMLError(f"Line {node.start_mark.line + 1} has a zero byte.")
        counts[id(node)] = 1 + sum(_count_values(child, counts) for child in children)
    line = node.start_mark.line + 1
    if not counts[id(node)]:
        raise yaml.YAMLError(f"The section in line {line} holds an alias of itself.")
    if counts[id(node)] > MAX_VALUES:
        raise yaml.YAMLError(f"Line {line} has more than {MAX_VALUES:,} values; aliases repeat what they stand for.")
    return counts[id(node)]
