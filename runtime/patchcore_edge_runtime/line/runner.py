"""A line from its configuration: everything opened in the order in which it may fail, and closed whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ..bundle.bundle import Bundle
from ..inspection.inspector import Inspector
from ..monitoring.status import LineStatus, calibration_facts
from ..sinks import Record, Sink, SinkContext, SinkSettings, SinkWorker, open_sinks
from ..sources import Source
from ..sources.live import LiveSource
from ..sources.triggers import TriggeredSource
from ..system import stop_signals
from ..verdict import Verdict
from .config import LineConfig
from .hot_swap import BundleSwap
from .loop import RunSummary, run_loop
from .watchdog import watched

__all__ = ["MakeShow", "MakeSink", "Show", "open_inspector", "run_line"]

MakeSink = Callable[[Source], Sink]


class Show(Protocol):
    """What is called with each record and ends the line by returning False, such as a ``Window``.

    The line then runs in a thread of its own, and the main thread belongs to ``pump``.
    """

    inspector: Any

    def __call__(self, record: Record) -> bool:
        """Show one record; False ends the line."""

    def pump(self) -> bool:
        """Called by the main thread again and again; False ends the line."""

    def stop(self) -> None:
        """Wait for nothing any more; may be called from a signal handler."""

    def close(self) -> None:
        """Called at the end of the line."""


MakeShow = Callable[[Inspector, LineStatus, bool], Show]
"""From the inspector, the line's status and whether the source is live."""


def open_inspector(config: LineConfig, path: Path | None = None) -> Inspector:
    """The line's bundle, or the one at ``path``, on its device and with its rules; raises as ``Inspector`` does."""
    bundle = Bundle.load(config.folder / (path or config.bundle))
    cache = config.folder / config.cache_dir if config.cache_dir is not None else None
    rules = config.rules(bundle.manifest.thresholds)
    threads = config.inference_num_threads
    return Inspector(bundle, config.device, cache_dir=cache, rules=rules, inference_num_threads=threads)


def run_line(
    config: LineConfig,
    more_sinks: Mapping[str, MakeSink] | None = None,
    make_show: MakeShow | None = None,
) -> tuple[RunSummary, dict[str, Any]]:
    """Run a line to the end of its source, or until it is told to stop.

    Args:
        config: of the line.
        more_sinks: makers of further sinks by name; beside a live source each gets a queue of its own.
        make_show: makes what is called with each record; the line stops when that returns False.

    Returns:
        the summary, and the counters of each sink as plain JSON values.

    Raises:
        BundleError, DeviceError, SourceError, ConfigError: the line cannot start.
    """
    inspector = open_inspector(config)
    with ExitStack() as stack:
        source = config.open_source()
        stack.callback(source.close)
        status = LineStatus(config.name, inspector.manifest.model_id, source.status)
        status.calibration = calibration_facts(inspector.manifest, inspector.thresholds)
        show = make_show(inspector, status, source.live) if make_show is not None else None
        if show is not None:
            stack.callback(show.close)
        swap = _watch_bundle(config, status, show) if config.hot_swap else None
        # Sinks come last: a start that fails leaves no empty files behind.
        sinks: list[Sink] = [open_sinks(config.sink_settings, _context(config, source, status))]
        stack.callback(sinks[0].close)
        for name, make in (more_sinks or {}).items():
            sink = make(source)
            sinks.append(_worker(name, sink) if source.live else sink)
        stack.pop_all()
    try:
        frames = watched(source, free_running=isinstance(source, LiveSource))
        run = partial(run_loop, frames, inspector, sinks, show=show, debounce=config.inspect.debounce, swap=swap)
        summary = run() if show is None else _run_beside(show, frames, run)
    finally:
        if show is not None:
            show.close()
    counts = {sink.name: sink.counts() for sink in sinks if isinstance(sink, SinkWorker)}
    return summary, {name: vars(count) for name, count in (status.snapshot().sinks | counts).items()}


def _worker(name: str, sink: Sink) -> SinkWorker:
    """A queue that takes only what the sink needs: a frame that it would pass over must not crowd out one it keeps."""
    verdicts = getattr(sink, "verdicts", tuple(Verdict))
    return SinkWorker(name, sink, SinkSettings(verdicts=verdicts), pictures=getattr(sink, "pictures", True))


def _run_beside(show: Show, source: Source, run: Callable[[], RunSummary]) -> RunSummary:
    """Run the line in a thread, and what it shows in this one, the main thread, to which screens and signals belong."""

    def stop() -> None:
        source.stop()
        show.stop()

    with ThreadPoolExecutor(1, "line") as line, stop_signals(stop):
        running = line.submit(run)
        try:
            while not running.done():
                if not show.pump():
                    source.stop()
        finally:
            stop()
        return running.result()


def _watch_bundle(config: LineConfig, status: LineStatus, show: Show | None) -> BundleSwap:
    def say(inspector: Inspector) -> None:
        status.model_id = inspector.manifest.model_id
        status.calibration = calibration_facts(inspector.manifest, inspector.thresholds)
        if show is not None:
            show.inspector = inspector

    return BundleSwap(config.folder / config.bundle, lambda path: open_inspector(config, path), taken=say)


def _context(config: LineConfig, source: Source, status: LineStatus) -> SinkContext:
    trigger = source.trigger if isinstance(source, TriggeredSource) else None
    return SinkContext(status=status, fps=source.fps, folder=config.folder, trigger=trigger, live=source.live)
