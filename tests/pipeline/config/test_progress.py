"""Items are counted once each, whoever shows the count."""

from __future__ import annotations

from pipeline.config.progress import SILENT, Progress


class Counts(Progress):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, int, int]] = []

    def count(self, step: str, done: int, total: int) -> None:
        self.counts.append((step, done, total))


def test_each_item_is_counted_after_it_is_used() -> None:
    progress = Counts()
    used = [(item, len(progress.counts)) for item in progress.each("reading", "ab", 2)]
    assert used == [("a", 1), ("b", 2)]
    assert progress.counts == [("reading", 0, 2), ("reading", 1, 2), ("reading", 2, 2)]


def test_without_progress_the_items_are_the_same() -> None:
    assert list(SILENT.each("reading", range(3), 3)) == [0, 1, 2]
