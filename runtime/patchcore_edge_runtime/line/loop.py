"""The inspection loop: a source, an inspector, sinks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..errors import PatchcoreEdgeError, UnforeseenError
from ..inspection.inspector import Inspector
from ..monitoring.status import LineStatus
from ..sinks import Record, Sink
from ..sources import Frame, Source
from ..sources.triggers import GIVEN_UP
from ..threads import describe_failure
from ..verdict import Verdict
from .debounce import Debounce, DebounceRule
from .hot_swap import HotSwapper

__all__ = ["inspect_frame", "run_loop"]


def inspect_frame(inspector: Inspector, frame: Frame) -> Record:
    """Inspect one frame of a source; a frame without an image is an ERROR."""
    if frame.image is None:
        return Record(frame, inspector.error_result(frame.error, frame_id=frame.index, time=frame.time))
    return Record(frame, inspector(frame.image, frame_id=frame.index, time=frame.time))


def run_loop(
    source: Source,
    inspector: Inspector,
    sinks: Sequence[Sink],
    *,
    status: LineStatus | None = None,
    show: Callable[[Record], bool] | None = None,
    debounce: DebounceRule | None = None,
    swapper: HotSwapper | None = None,
    claim: Callable[[int], bool] | None = None,
) -> LineStatus:
    """Inspect every frame of a source, count its verdict, and hand the record to every sink.

    ``source.stop`` ends the loop after the frame in hand. Nothing is closed here: who opened source and sinks closes
    them.

    Args:
        source: of the frames; told to stop at the end, however it comes.
        inspector: what judges.
        sinks: given each record in turn.
        status: what counts; a new one when absent.
        show: called with each record; the loop stops when it returns False.
        debounce: makes verdicts of parts from verdicts of frames; each frame is a part when absent.
        swapper: asked for another inspector between two frames.
        claim: asked, before a verdict counts, whether the trigger of that number is still waited for; what the frame of
            one shows that is not is an ERROR.

    Returns:
        the status, finished: verdicts, latencies and drops of this run.

    Raises:
        SourceError: a file gives no frames, or the source failed in a way that nobody foresaw.
        ConfigError: a sink's place refused.
    """
    status = status or LineStatus(model_id=inspector.manifest.model_id, source=source.status)
    rule = Debounce(debounce) if debounce is not None else None
    status.start()
    try:
        for frame in _frames(source):
            if swapper is not None and (newer := swapper.poll()) is not None:
                inspector = newer
                status.swaps += 1
            record = inspect_frame(inspector, frame)
            if claim is not None and frame.trigger and not claim(frame.trigger):
                record = inspect_frame(inspector, replace(frame, image=None, error=frame.error or GIVEN_UP))
            record = _debounced(record, rule)
            status.add(record.result)
            for sink in sinks:
                sink.write(record)
            if show is not None and not show(record):
                # And no break: the source learns that this frame has been recorded.
                source.stop()
    finally:
        source.stop()
        status.finish()
    return status


def _frames(source: Source) -> Iterator[Frame]:
    """What the source gives; whatever else it throws ends the line as the loss of a source does."""
    try:
        yield from source
    except PatchcoreEdgeError:
        raise
    except Exception as error:
        raise UnforeseenError(f"The source failed ({describe_failure(error)}); start the line again.") from error


def _debounced(record: Record, rule: Debounce | None) -> Record:
    if rule is None:
        return record
    own = record.result.verdict
    verdict = rule.add(own, record.frame.part)
    if verdict is own:
        return record
    reason = record.result.reason or (
        f"A frame of this part could not be judged; this one alone is {own}." if verdict is Verdict.ERROR else ""
    )
    return replace(record, result=replace(record.result, verdict=verdict, frame_verdict=own, reason=reason))
