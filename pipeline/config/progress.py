"""How a long command reports its progress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class Progress:
    """Receives the steps of a command. This one shows nothing; `pipeline.report.terminal` shows them.

    No result may depend on it.
    """

    def __call__(self, step: str) -> None:
        """A step begins."""

    def count(self, step: str, done: int, total: int) -> None:
        """``done`` of the ``total`` parts of a step are done; 0 when the step begins."""

    def each(self, step: str, items: Iterable[Item], total: int) -> Iterator[Item]:
        """The items of a step, each counted once the next one is asked for."""
        self.count(step, 0, total)
        for done, item in enumerate(items, 1):
            yield item
            self.count(step, done, total)


SILENT = Progress()
