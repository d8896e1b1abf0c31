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
from ..monitoring.status import Snapshot
from ..sinks.http.shared import SharedServer, State
from ..sources import is_live
from ..system import stop_signals
from .config import LineConfig
from .config_file import LineFile
from .runner import Line, Shared
from .watchdog import Notifier, SharedNotifier

__all__ = ["run_lines"]

_LOG = logging.getLogger(__name__)
_PAUSE_SECONDS = 5.0


def run_lines(
    file: LineFile,
    at_end: Callable[[Snapshot], None] | None = None,
    *,
    on_server: Callable[[SharedServer], None] = lambda _: None,
) -> list[Snapshot]:
    """Run the lines of a file until each has come to its end, or until told to stop.

    All of them are opened before the first frame is inspected: a wrong bundle or sink of one keeps all from starting.
    From then on none disturbs another. A line with a camera whose source fails in a way that nobody foresaw is opened
    again after a pause, for good.

    Args:
        file: as ``load_lines`` gives it.
        at_end: called with the last figures of each line that inspected anything.
        on_server: told of the web server once it listens.

    Returns:
        the last figures of each line, in the order of the file.

    Raises:
        BundleError, DeviceError, SourceError, ConfigError: a line could not start, or ended so; the first of them, when
            all have ended.
    """
    names = [line.name for line in file.lines]
    with ExitStack() as stack:
        server = None
        if file.server is not None:
            server = stack.enter_context(closing(SharedServer(file.server, names)))
            on_server(server)
        notifier = SharedNotifier(Notifier(os.environ), names)
        models = SharedModels(len(names))
        gate = _Gate(len(names))
        keepers = [_Keeper(line, models, notifier, server, gate) for line in file.lines]
        stack.enter_context(stop_signals(partial(_stop, keepers)))
        with ThreadPoolExecutor(len(names), "line") as pool:
            running = [pool.submit(keeper.run) for keeper in keepers]
            _wait(running, keepers)
    for keeper in keepers:
        if at_end is not None and keeper.figures is not None and keeper.figures.frames:
            at_end(keeper.figures)
    errors = [error for future in running if (error := future.exception()) is not None]
    if errors:
        raise errors[0]
    return [keeper.figures for keeper in keepers if keeper.figures is not None]


def _wait(running: Sequence[Future[None]], keepers: Sequence[_Keeper]) -> None:
    """Until all have ended. While they start, the first error ends all; afterwards each ends by itself."""
    try:
        wait(running, return_when=FIRST_EXCEPTION)
        if not keepers[0].gate.is_open:
            _stop(keepers)
        wait(running)
    except BaseException:
        _stop(keepers)
        raise


def _stop(keepers: Sequence[_Keeper]) -> None:
    for keeper in keepers:
        keeper.stop()


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
        self,
        config: LineConfig,
        models: SharedModels,
        notifier: SharedNotifier,
        server: SharedServer | None,
        gate: _Gate,
    ) -> None:
        self._config, self._server, self.gate = config, server, gate
        pages = {} if server is None else {"http": partial(server.page_of, config.name)}
        self._shared = Shared(models, notifier.of(config.name), pages)
        self._line: Line | None = None
        self._end = threading.Event()
        self.figures: Snapshot | None = None

    def stop(self) -> None:
        """End after the frame in hand; may be called from a signal handler."""
        self._end.set()
        self.gate.give_up()
        line = self._line
        if line is not None:
            line.source.stop()

    def run(self) -> None:
        """Until the line has come to its end; raises what ended it where it may not be opened again."""
        while True:
            try:
                self._run_once()
                self._say("ended")
                return
            except PatchcoreEdgeError as error:
                self._say("failed", str(error))
                if not self._may_start_again(error):
                    raise
                _LOG.error("%s The line %s is opened again in %g s.", error, self._config.name, _PAUSE_SECONDS)
            if self._end.wait(_PAUSE_SECONDS):
                return

    def _run_once(self) -> None:
        try:
            with Line.open(self._config, shared=self._shared) as line:
                self._line = line
                if self._end.is_set() or not self.gate.pass_through():
                    return
                self._say("running")
                line.run()
        finally:
            # When it is closed: with all that its sinks had still to store.
            if self._line is not None:
                self.figures = self._line.status.snapshot()
            self._line = None

    def _may_start_again(self, error: PatchcoreEdgeError) -> bool:
        """A camera's line that was running once: whatever ended it may pass."""
        started = self.figures is not None and self.gate.is_open
        return started and is_live(self._config.source.uri) and not self._end.is_set()

    def _say(self, state: State, reason: str = "") -> None:
        if self._server is not None:
            self._server.say(self._config.name, state, reason)
