"""What is shown while something takes longer than two seconds: on stderr, and only where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_Item = TypeVar("_Item")


def track(items: Iterable[_Item], doing: str, count: int) -> Iterable[_Item]:
    """The `count` items, with a bar that says how much time is left."""
    if not sys.stderr.isatty():  # rich alone takes 0.05 s to load
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, doing, count, console=Console(stderr=True), transient=True)


@contextmanager
def spinner(doing: str) -> Iterator[None]:
    """That something is going on whose length is not known, and for how long."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(doing, total=None)
        yield
