"""A line from its configuration: opened in the order in which it may fail, and closed by what opened it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..errors import PatchcoreEdgeError, SourceError, UnforeseenError
from ..images.size_limit import PixelLimit, limit_pixels
from ..inspection.inspector import Inspector
from ..inspection.opened_backend import open_bundle
from ..inspection.shared_models import SharedModels
from ..monitoring.health import health_of
from ..monitoring.status import LineStatus, Snapshot
from ..sinks import Sink, SinkContext, open_sinks
from ..sinks.registry import SinkMaker
from ..sources import LiveSource, Source, is_watched, open_source
from ..sources.triggers import IntervalSource, TriggeredSource
from ..system import stop_signals
from ..threads import describe_failure
from .config import LineConfig
from .hot_swap import HotSwapper, bundle_stamp
from .loop import run_loop
from .trigger_answers import TriggerAnswers
from .viewer import Viewer, ViewerFactory
from .watch_state import watch_state
from .watchdog import Notifier, watched

__all__ = ["Line", "Shared", "Viewer", "ViewerFactory", "open_inspector", "run_line"]


@dataclass(frozen=True)
class Shared:
    """What the lines of one process have together.

    Attributes:
        models: compiled models.
        notifier: the way to the service manager; the process's own when absent.
        sinks: made for each line from what it tells its sinks, by name.
    """

    models: SharedModels | None = None
    notifier: Notifier | None = None
    sinks: Mapping[str, SinkMaker] = field(default_factory=dict)


def open_inspector(config: LineConfig, path: Path | None = None, models: SharedModels | None = None) -> Inspector:
    """The line's bundle, or the one at ``path``, on its device and with its rules; raises as ``Inspector`` does.

    Args:
        config: of the line.
        path: of another bundle.
        models: that other lines use as well.
    """
    server = config.server_settings
    bundle = open_bundle(config.bundle_folder if path is None else config.folder / path, server)
    cache = config.folder / config.cache_dir if config.cache_dir is not None else None
    rules = config.rules(bundle.manifest.thresholds)
    threads, precision = config.inference_num_threads, config.inference_precision
    return Inspector(
        bundle,
        config.device,
        cache_dir=cache,
        rules=rules,
        inference_num_threads=threads,
        inference_precision=precision,
        models=models,
        server=server,
    )


@dataclass(frozen=True)
class Line:
    """A line that is open: ``with Line.open(config) as line: line.run()``.

    Attributes:
        status: verdicts, latencies, drops and the records of each sink; finished after ``run``.
        source: behind its trigger.
        sinks: each is given every record.
        viewer: what shows the records, if anything does.
        swapper: what watches the bundle, where the configuration asks for it.
        claim: whether the trigger of a number is still waited for, where there are triggers.
        notifier: the way to the service manager; the process's own when absent.
    """

    config: LineConfig
    status: LineStatus
    source: Source
    inspector: Inspector
    sinks: Sequence[Sink]
    viewer: Viewer | None = None
    swapper: HotSwapper | None = None
    claim: Callable[[int], bool] | None = None
    notifier: Notifier | None = None

    @classmethod
    @contextmanager
    def open(
        cls,
        config: LineConfig,
        source: Source | None = None,
        *,
        sinks: Mapping[str, Sink] | None = None,
        make_viewer: ViewerFactory | None = None,
        shared: Shared = Shared(),
    ) -> Iterator[Line]:
        """Open a line; what is open is closed at the end of the block, or when the rest does not open.

        Inside the block the first Ctrl-C or SIGTERM (Windows: Ctrl-Break) ends ``run`` after the frame in hand, and
        the sinks are flushed all the same; a second one ends the program.

        Args:
            config: of the line.
            source: in place of the one that the configuration names; closed by who opened it.
            sinks: a program's own sinks by name, added to the configured ones; each gets a queue and is closed with it.
            make_viewer: makes what is called with each record; the line stops when that returns False.
            shared: what it has together with other lines of this process.

        Raises:
            BundleError, DeviceError, SourceError, ConfigError: the line cannot start.
        """
        folder = config.bundle_folder
        stamp = None if folder is None else bundle_stamp(folder)
        inspector = open_inspector(config, models=shared.models)
        with ExitStack() as stack:
            limit = stack.enter_context(limit_pixels(PixelLimit(_largest_frame(config, inspector))))
            if source is None:
                source = stack.enter_context(closing(_open_source(config)))
            source = _behind_trigger(config, source)
            status = LineStatus(config.name, source=source.status)
            status.judged_by(inspector.bundle, inspector.thresholds, inspector.inference_precision)
            viewer = None
            if make_viewer is not None:
                viewer = stack.enter_context(closing(make_viewer(inspector, status, source.live)))
            stack.enter_context(stop_signals(partial(_stop, source, viewer)))
            # Sinks come after all that may fail: a start that fails leaves no empty files behind.
            answers = TriggerAnswers(source.trigger, source.give_up) if isinstance(source, TriggeredSource) else None
            context = SinkContext(
                status,
                source.fps,
                config.folder,
                answers.ask if answers else None,
                source.live,
                patient=is_watched(config.source.uri),
            )
            configured = stack.enter_context(
                closing(open_sinks(config.sinks, context, {**shared.sinks, **(sinks or {})}))
            )
            swapper = None
            if config.hot_swap and folder is not None:
                build = partial(open_inspector, config, models=shared.models)
                tell = partial(_tell_of_swap, config, status, viewer, limit)
                swapper = stack.enter_context(closing(HotSwapper(folder, stamp, build, on_swap=tell)))
            takers: list[Sink] = [configured] if answers is None else [answers, configured]
            claim = answers.claim if answers else None
            yield cls(config, status, source, inspector, takers, viewer, swapper, claim, shared.notifier)

    def run(self) -> LineStatus:
        """Run to the end of the source, or until told to stop; returns the finished status.

        Raises:
            SourceError: a file gives no frames, or something failed that nobody foresaw: it may be started again.
        """
        try:
            free_running = isinstance(self.source, LiveSource)
            with watched(self.source, free_running, self.notifier, self._problem) as frames:
                return self._loop(frames) if self.viewer is None else self._loop_for_viewer(frames, self.viewer)
        except (PatchcoreEdgeError, OSError):
            raise
        except Exception as error:
            raise UnforeseenError(
                f"The line failed ({describe_failure(error)}); start it again, and report it."
            ) from error

    def _problem(self) -> str:
        """Why it is not healthy; whether it stands still is the watchdog's to know."""
        return health_of(self.status.snapshot(), stale_seconds=None).problem

    def _loop(self, frames: Source) -> LineStatus:
        return run_loop(
            frames,
            self.inspector,
            self.sinks,
            status=self.status,
            show=self.viewer,
            debounce=self.config.inspect.debounce,
            swapper=self.swapper,
            claim=self.claim,
        )

    def _loop_for_viewer(self, frames: Source, viewer: Viewer) -> LineStatus:
        """Run in a thread, and what is shown in this one, the main thread, to which screens and signals belong."""

        with ThreadPoolExecutor(1, "line") as pool:
            running = pool.submit(self._loop, frames)
            try:
                while not running.done():
                    if not viewer.pump():
                        frames.stop()
            finally:
                _stop(frames, viewer)
            return running.result()


def run_line(
    config: LineConfig,
    source: Source | None = None,
    *,
    sinks: Mapping[str, Sink] | None = None,
    make_viewer: ViewerFactory | None = None,
    during: Callable[[Line], AbstractContextManager[None]] | None = None,
    at_end: Callable[[Snapshot], None] | None = None,
) -> Snapshot:
    """Open a line, run it to its end, and close it; takes and raises what ``Line.open`` does.

    Args:
        during: what the line runs within, once it is open.
        at_end: called with the last figures, also where the source ends with an error.

    Returns:
        the last figures, with all that the sinks had still to store.
    """
    ended: SourceError | None = None
    with Line.open(config, source, sinks=sinks, make_viewer=make_viewer) as line:
        try:
            with nullcontext() if during is None else during(line):
                line.run()
        except SourceError as error:
            ended = error
    now = line.status.snapshot()
    if at_end is not None and (ended is None or now.frames):
        at_end(now)
    if ended is not None:
        raise ended
    return now


def _open_source(config: LineConfig) -> Source:
    # Pictures of what was inspected are none to inspect, wherever a sink puts them.
    folders = [getattr(settings, "folder", None) for settings in config.sinks.values()]
    own = [config.folder / folder for folder in folders if isinstance(folder, Path)]
    table = config.source
    return open_source(
        config.source_uri,
        config.live_settings,
        recursive=table.recursive,
        leave_out=own,
        settle=table.settle,
        state=watch_state(config),
        holder=config.name,
    )


def _stop(source: Source, viewer: Viewer | None) -> None:
    source.stop()
    if viewer is not None:
        viewer.stop()


def _behind_trigger(config: LineConfig, source: Source) -> Source:
    if config.trigger.mode == "interval":
        assert config.trigger.every_ms is not None
        return IntervalSource(source, config.trigger.every_ms)
    return TriggeredSource(source) if config.trigger.mode == "software" else source


def _largest_frame(config: LineConfig, inspector: Inspector) -> int | None:
    """Pixels of the largest frame that is decoded: as the file says, or else what the bundle's limits let pass."""
    told = config.source.max_megapixels
    return inspector.largest_frame if told is None else round(told * 1e6)


def _tell_of_swap(
    config: LineConfig, status: LineStatus, viewer: Viewer | None, limit: PixelLimit, inspector: Inspector
) -> None:
    """All that shows or bounds something by the bundle that judges."""
    limit.pixels = _largest_frame(config, inspector)
    status.judged_by(inspector.bundle, inspector.thresholds, inspector.inference_precision)
    if viewer is not None:
        viewer.inspector = inspector
