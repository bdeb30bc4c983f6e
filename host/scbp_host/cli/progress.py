"""Events of a run, drawn as they come: live bars at a terminal, plain lines in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from scbp_host import events
from scbp_host.events import Event

# In a log, a line for each step would bury the rest.
_LOG_EVERY_S = 10.0


class RunProgress:
    """A listener that draws; a context manager.

    Args:
        console: where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        # The figures keep their width; what there is no room for is the end of the note.
        self._live = Progress(
            TextColumn("[bold]{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=12, table_column=Column(min_width=12)),
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=5)),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
            TextColumn("left", table_column=Column(no_wrap=True, min_width=4)),
            TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
            TextColumn("[dim]{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=console,
            disable=not console.is_terminal,
            expand=True,
        )
        self._task: TaskID | None = None
        self._last_line_s = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case events.StageStarted(_, title, total):
                self._start(title, total)
            case events.Progress(_, done, note):
                self._step(done, note)
            case events.StageFinished(stage, seconds, _):
                self._line(f"[dim]{escape(stage)} took {seconds:.1f} s[/]")
            case events.Warned(message):
                self._line(f"[yellow]warning:[/] {escape(message)}", always=True)
            case events.Acknowledged():
                pass

    def _start(self, title: str, total: int | None) -> None:
        if self._console.is_terminal:
            self._task = self._live.add_task(title, total=total, note="")
        else:
            self._line(f"{escape(title)}" + ("" if total is None else f" ({total})"), always=True)

    def _step(self, done: float, note: str) -> None:
        if self._task is not None:
            self._live.update(self._task, completed=done, note=escape(note))
        elif time.monotonic() - self._last_line_s > _LOG_EVERY_S:
            self._line(f"  {done:.3g}: {escape(note)}", always=True)

    def _line(self, text: str, *, always: bool = False) -> None:
        if always or not self._console.is_terminal:
            self._last_line_s = time.monotonic()
            self._live.console.print(text, soft_wrap=True)
