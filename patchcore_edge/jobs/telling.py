"""Sentences for a person, from jobs that somebody may be watching."""

from __future__ import annotations

from collections.abc import Callable

from ..data import DataModule
from ..data.digests import FileDigests
from ..data.report import report_data
from ..fit.distributed.ranks import ranks

__all__ = ["tell_data", "telling"]


def telling(notify: Callable[[str], None] | None) -> Callable[[str], None]:
    """What passes a sentence on; an empty one is none, and where nobody listens nothing is said."""

    def tell(sentence: str) -> None:
        if notify is not None and sentence:
            notify(sentence)

    return tell


def tell_data(
    module: DataModule,
    say: Callable[[str], None],
    warn: Callable[[str], None] | None,
    digests: FileDigests | None = None,
    *,
    decode_masks: bool = False,
    strict: bool = False,
) -> None:
    """The data report before the work, in one process.

    Args:
        module: the data.
        say: takes the report's lines.
        warn: takes what is doubtful, a sentence each; ``say`` when None.
        digests: of the files, where the work asks for them too.
        decode_masks: see ``report_data``.
        strict: make what is doubtful an error.

    Raises:
        DataError: something is doubtful, with ``strict``.
    """
    if not ranks().is_first:
        return
    # Not their pixels: the work decodes the images anyway, and finds what shows one part.
    report = report_data(module, digests, pixels=False, decode_masks=decode_masks)
    say(report.rows_text)
    for note in report.notes:
        say(note)
    for doubt in report.doubts:
        (warn or say)(doubt)
    if strict:
        report.require_clear()
