"""Text tables for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

MAX_CHARS = 48


def align_columns(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), max_chars: int = MAX_CHARS
) -> list[str]:
    """Lines of a table: cells cut to ``max_chars`` and padded, columns in ``right`` aligned to the right."""
    cut = [[text[:max_chars] for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if place in right else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cut
    ]


def counted(count: float, noun: str) -> str:
    """A count with its noun.

    Examples
    --------
    >>> counted(1, "order"), counted(2000, "visit")
    ('1 order', '2,000 visits')
    """
    return f"{count:,.10g} {noun}{'' if count == 1 else 's'}"
