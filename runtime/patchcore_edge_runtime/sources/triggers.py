"""When a frame is inspected: each one, every so often, or when somebody asks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from ..errors import ConfigError
from ..shown import name_fault
from .base import Frame, Source
from .live import LiveSource

__all__ = ["IntervalSource", "TriggeredSource"]

MAX_WAITING = 64
"""Triggers that may wait; further ones are refused, and the caller is told."""

_POLL_SECONDS = 0.02


class _Gate:
    """A source behind a trigger: all but the iteration is the inner one's."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.fps, self.live = source.fps, source.live
        self._stopped = False

    def status(self) -> tuple[str, int]:
        """The inner source's state; frames between two triggers were never asked for and do not count."""
        return self._source.status()[0], 0

    def stop(self) -> None:
        """End the iteration after the frame in hand."""
        self._stopped = True
        self._source.stop()

    def close(self) -> None:
        """Close the source."""
        self._source.close()


class IntervalSource(_Gate):
    """The newest frame every ``interval_ms`` milliseconds; a tick that an inspection overran is not made up for.

    Raises:
        ConfigError: the source is not live; of files every frame is inspected.
    """

    def __init__(self, source: Source, interval_ms: float) -> None:
        if not isinstance(source, LiveSource):
            raise ConfigError("A trigger every so many milliseconds needs a camera or a stream; take it out for files.")
        super().__init__(source)
        self._camera = source
        self._seconds = interval_ms / 1e3

    def __iter__(self) -> Iterator[Frame]:
        due = time.monotonic()
        while not self._stopped:
            frame = self._camera.poll(after=due)
            if frame is None:
                continue
            yield frame
            due = max(due + self._seconds, time.monotonic())


class TriggeredSource(_Gate):
    """One frame for each call of ``trigger``.

    Of a live source it is the first frame captured after the call; while the source is lost, an ERROR. Of files it is
    the next one. News that a live source was lost comes without being asked for.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._waiting: deque[tuple[float, str]] = deque()

    def trigger(self, part: str = "") -> bool:
        """Ask for one frame, from any thread.

        Args:
            part: which part it shows, 200 characters at most; frames of one part are debounced together.

        Raises:
            ConfigError: the name is too long or has control characters.

        Returns:
            False when 64 triggers already wait, or the source has ended: then there will be no frame for this one.
        """
        if fault := name_fault(part):
            raise ConfigError(fault)
        if self._stopped or len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append((time.monotonic(), part))
        return True

    def __iter__(self) -> Iterator[Frame]:
        try:
            yield from self._live(self._source) if isinstance(self._source, LiveSource) else self._files()
        finally:
            self._stopped = True

    def _files(self) -> Iterator[Frame]:
        frames = iter(self._source)
        while not self._stopped:
            if not self._waiting:
                time.sleep(_POLL_SECONDS)
                continue
            _, part = self._waiting.popleft()
            frame = next(frames, None)
            if frame is None:
                return
            yield replace(frame, part=part)

    def _live(self, camera: LiveSource) -> Iterator[Frame]:
        while not self._stopped:
            if not self._waiting:
                # Nothing is asked for: only the news of a loss is passed on.
                frame = camera.poll(after=float("inf"), timeout=_POLL_SECONDS)
            else:
                frame = self._answer(camera)
            if frame is not None:
                yield frame

    def _answer(self, camera: LiveSource) -> Frame | None:
        after, part = self._waiting[0]
        frame = camera.lost_frame() or camera.poll(after=after)
        if frame is None:
            return None
        self._waiting.popleft()
        return replace(frame, part=part)
