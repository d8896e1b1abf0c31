"""Several lines in one process: each with its own source, sinks and fate, on models and threads that they share."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from functools import partial

from ..errors import PatchcoreEdgeError
from ..inspection.shared_models import SharedModels
from ..logs import in_line, log_failure
from ..monitoring.status import Snapshot
from ..sinks.http.shared import SharedServer, State
from ..sinks.registry import SinkMaker
from ..sources import is_live
from ..system import stop_signals
from .announcement import announced
from .config import LineConfig
from .config_file import LineFile
from .runner import Line, Shared
from .watchdog import Notifier, SharedNotifier

__all__ = ["SeveralLines"]

_LOG = logging.getLogger(__name__)
_PAUSE_SECONDS = 5.0


class SeveralLines:
    """The lines of a file: ``SeveralLines(file).run()`` runs them until each has come to its end, or is told to stop.

    All of them are opened before the first frame is inspected: a wrong bundle or sink of one keeps all from starting.
    From then on none disturbs another. A line with a camera whose source fails in a way that nobody foresaw is opened
    again after a pause, for good.

    Args:
        file: as ``load_lines`` gives it.

    Attributes:
        server: the web server of all of them, while they run and where the file has one.
    """

    def __init__(self, file: LineFile) -> None:
        self.server: SharedServer | None = None
        self._file = file
        self._names = [line.name for line in file.lines]
        self._gate = _Gate(len(self._names))
        self._keepers: list[_Keeper] = []
        self._end = threading.Event()

    def run(self, at_end: Callable[[Snapshot], None] = lambda _: None) -> list[Snapshot]:
        """Open and run all lines; the first Ctrl-C or SIGTERM ends each after the frame in hand.

        Args:
            at_end: called with the last figures of each line that inspected anything.

        Returns:
            the last figures of each line, in the order of the file.

        Raises:
            BundleError, DeviceError, SourceError, ConfigError: a line could not start, or ended so; the first of them,
                when all have ended.
        """
        with ExitStack() as stack:
            if self._file.server is not None:
                self.server = stack.enter_context(closing(SharedServer(self._file.server, self._names)))
            notifier = SharedNotifier(Notifier(os.environ), self._names)
            models = SharedModels(len(self._names))
            self._keepers = [
                _Keeper(
                    line, Shared(models, notifier.of(line.name), self._pages(line)), self._say, self._gate, self._end
                )
                for line in self._file.lines
            ]
            stack.enter_context(stop_signals(self.stop))
            with ThreadPoolExecutor(len(self._names), "line") as pool:
                running = [pool.submit(keeper.run) for keeper in self._keepers]
                self._wait(running)
        figures = [keeper.figures for keeper in self._keepers if keeper.figures is not None]
        for last in figures:
            if last.frames:
                at_end(last)
        errors = [error for future in running if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return figures

    def stop(self) -> None:
        """End each line after the frame in hand; from any thread, or a signal handler."""
        self._end.set()
        self._gate.give_up()
        for keeper in self._keepers:
            keeper.stop()

    def _wait(self, running: Sequence[Future[None]]) -> None:
        """Until all have ended. While they start, the first error ends all; afterwards each ends by itself."""
        try:
            wait(running, return_when=FIRST_EXCEPTION)
            if not self._gate.is_open:
                self.stop()
            wait(running)
        except BaseException:
            self.stop()
            raise

    def _pages(self, line: LineConfig) -> dict[str, SinkMaker]:
        return {} if self.server is None else {"http": partial(self.server.page_of, line.name)}

    def _say(self, name: str, state: State, reason: str = "") -> None:
        if self.server is not None:
            self.server.say(name, state, reason)


class _Gate:
    """Opens when all lines are open."""

    def __init__(self, number: int) -> None:
        self._missing = number
        self._changed = threading.Condition()
        self._given_up = False

    @property
    def is_open(self) -> bool:
        return not self._missing

    def pass_through(self) -> bool:
        """Wait for the others; whether all came."""
        with self._changed:
            self._missing -= bool(self._missing)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._missing or self._given_up)
            return not self._missing and not self._given_up

    def give_up(self) -> None:
        with self._changed:
            self._given_up = True
            self._changed.notify_all()


class _Keeper:
    """Opens one line, runs it, and opens it again where that may help.

    Attributes:
        figures: the last ones; None of a line that was never open.
    """

    def __init__(
        self, config: LineConfig, shared: Shared, say: Callable[..., None], gate: _Gate, end: threading.Event
    ) -> None:
        self._config, self._shared, self._say, self._gate, self._end = config, shared, say, gate, end
        self._line: Line | None = None
        self.figures: Snapshot | None = None

    def stop(self) -> None:
        """End after the frame in hand."""
        line = self._line
        if line is not None:
            line.source.stop()

    def run(self) -> None:
        """Until the line has come to its end; raises what ended it where it may not be opened again."""
        with in_line(self._config.name):
            self._run()

    def _run(self) -> None:
        while True:
            try:
                self._run_once()
                self._say(self._config.name, "ended")
                return
            except PatchcoreEdgeError as error:
                self._say(self._config.name, "failed", str(error))
                if not self._may_start_again(error):
                    raise
                log_failure(_LOG, f"{error} It is opened again in {_PAUSE_SECONDS:g} s.", error.__cause__ or error)
            if self._end.wait(_PAUSE_SECONDS):
                return

    def _run_once(self) -> None:
        try:
            with Line.open(self._config, shared=self._shared) as line:
                self._line = line
                if self._end.is_set() or not self._gate.pass_through():
                    return
                self._say(self._config.name, "running")
                _LOG.info(" ".join(announced(line)))
                line.run()
        finally:
            # When it is closed: with all that its sinks had still to store.
            if self._line is not None:
                self.figures = self._line.status.snapshot()
            self._line = None

    def _may_start_again(self, error: PatchcoreEdgeError) -> bool:
        """A camera's line that was running once: whatever ended it may pass."""
        started = self.figures is not None and self._gate.is_open
        return started and is_live(self._config.source.uri) and not self._end.is_set()
