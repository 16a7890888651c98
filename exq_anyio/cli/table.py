"""Tables for people: columns that fit the terminal, one line a row, colour only where there is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO, TypeAlias

import attrs
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from .logs import one_line

GAP = 2
"""Spaces between two columns."""

STAYS = 9
"""How much a column is worth that is never left out."""


@attrs.frozen
class Cell:
    """What stands in one cell, and how it is told apart where there is colour."""

    text: str
    style: str = ""


Row: TypeAlias = "Sequence[Cell | str]"
"""The cells of one row."""


@attrs.frozen
class Column:
    """One column of a table."""

    title: str
    width: int
    """Characters that it needs, if its rows do not need less."""
    grows: bool = False
    """Whether it may be wider; ``width`` is then the least that makes sense."""
    right: bool = False
    """Whether it is flush right, as numbers are."""
    keep: int = STAYS
    """On a narrow terminal the columns with the least go first."""


Fitted: TypeAlias = "list[tuple[int, Column, int]]"
"""The columns that are shown: number, and width."""


class Screen(Console):
    """Where a command writes.  A pipe that was closed early is an error here, as everywhere, and not the end."""

    def __init__(self, file: TextIO | None = None, width: int | None = None) -> None:
        super().__init__(file=file or sys.stdout, width=width, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Leave it to whoever runs the command."""
        raise BrokenPipeError


class Table:
    """A table that is written a few rows at a time: its columns are as wide as they are before the first row."""

    def __init__(
        self, columns: Sequence[Column], screen: Screen, rows: Sequence[Row] = (), *, more: bool = False
    ) -> None:
        """*rows* are those that the columns are to suit; *more*: there will be others."""
        self._screen = screen
        self._fitted = fit(columns, screen.width, rows, more=more)
        self._titled = not any(column.title for _, column, _ in self._fitted)

    def write(self, rows: Iterable[Row]) -> None:
        """Write some rows, the titles before the first of them."""
        for row in rows:
            if not self._titled:
                self._titled = True
                self._write(title_line(self._fitted))
            self._write(row_line(self._fitted, row))

    def _write(self, line: Text) -> None:
        self._screen.print(line, no_wrap=True, crop=False, overflow="ignore")


def title_line(fitted: Fitted) -> Text:
    """The titles."""
    return _line(fitted, [Text(column.title, style="bold") for _, column, _ in fitted])


def row_line(fitted: Fitted, row: Row) -> Text:
    """A row."""
    return _line(fitted, [_text(row[at]) for at, _, _ in fitted])


def _line(fitted: Fitted, cells: Sequence[Text]) -> Text:
    line = Text()
    for cell, (_, column, width) in zip(cells, fitted, strict=True):
        cell.truncate(width, overflow="ellipsis")
        cell.align("right" if column.right else "left", width)
        line.append_text(cell).append(" " * GAP)
    line.rstrip()
    return line


def fit(columns: Sequence[Column], total: int, rows: Sequence[Row], *, more: bool) -> Fitted:
    """Which columns fit *total*, by number, and how wide each is.

    A column that grows gets what it needs for *rows*; what is then left goes, where *more* rows may come, to the last.
    """
    kept = list(enumerate(columns))
    wanted = {at: _wanted(column, at, rows) for at, column in kept}
    while _sum(min(wanted[at], column.width) for at, column in kept) > total and len(kept) > 1:
        least = min(kept, key=lambda one: one[1].keep)
        if least[1].keep == STAYS:
            break
        kept.remove(least)
    widths = {at: min(wanted[at], column.width) if column.grows else wanted[at] for at, column in kept}
    left = max(0, total - _sum(widths.values()))
    growing = [at for at, column in kept if column.grows]
    while left > 0 and (hungry := [at for at in growing if widths[at] < wanted[at]]):
        # The narrowest first: none stays short while another one has plenty.
        at = min(hungry, key=lambda one: widths[one])
        widths[at], left = widths[at] + 1, left - 1
    if more and growing:
        widths[growing[-1]] += left
    return [(at, column, widths[at]) for at, column in kept]


def _wanted(column: Column, at: int, rows: Sequence[Row]) -> int:
    longest = max((cell_len(_text(row[at]).plain) for row in rows), default=column.width)
    return max(cell_len(column.title), longest)


def _sum(widths: Iterable[int]) -> int:
    each = list(widths)
    return sum(each) + GAP * (len(each) - 1)


def _text(cell: Cell | str) -> Text:
    """A cell on one line, without anything that a terminal would obey."""
    cell = Cell(cell) if isinstance(cell, str) else cell
    return Text(one_line(cell.text), style=cell.style)
