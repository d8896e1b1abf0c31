from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.line.debounce import Debounce, DebounceRule
from patchcore_edge_runtime.verdict import Verdict

OK, WARN, NG, ERROR = Verdict.OK, Verdict.WARN, Verdict.NG, Verdict.ERROR


def parts(rule: DebounceRule, frames: list[Verdict]) -> list[Verdict]:
    debounce = Debounce(rule)
    return [debounce.add(frame) for frame in frames]


@pytest.mark.parametrize(
    ("frames", "verdicts"),
    [
        ([OK, NG, OK, OK, OK], [OK, WARN, WARN, WARN, OK]),
        ([NG, NG, OK, OK], [WARN, NG, NG, WARN]),
        ([NG, OK, NG], [WARN, WARN, NG]),
        ([OK, WARN, OK, OK, OK], [OK, WARN, WARN, WARN, OK]),
        ([OK, ERROR, OK, OK], [OK, ERROR, OK, OK]),
        ([NG, ERROR, OK], [WARN, ERROR, ERROR]),
    ],
)
def test_two_of_three(frames: list[Verdict], verdicts: list[Verdict]) -> None:
    assert parts(DebounceRule(ng=2, of=3), frames) == verdicts


@given(st.lists(st.sampled_from(list(Verdict))))
def test_one_of_one_changes_nothing(frames: list[Verdict]) -> None:
    assert parts(DebounceRule(), frames) == frames


@given(st.lists(st.sampled_from(list(Verdict))), st.integers(1, 4), st.integers(0, 3))
def test_it_never_fails_open(frames: list[Verdict], ng: int, more: int) -> None:
    found = parts(DebounceRule(ng=ng, of=ng + more), frames)
    for at, (own, verdict) in enumerate(zip(frames, found, strict=True)):
        window = frames[max(0, at - ng - more + 1) : at + 1]
        assert verdict is not OK or own in (OK, WARN)
        assert (verdict is NG) == (window.count(NG) >= ng)
        assert own is not ERROR or verdict in (ERROR, NG)


def test_another_part_starts_anew() -> None:
    debounce = Debounce(DebounceRule(ng=2, of=3))
    assert [debounce.add(NG, "a"), debounce.add(NG, "b"), debounce.add(NG, "b")] == [WARN, WARN, NG]


def test_more_ng_frames_than_frames_are_refused() -> None:
    with pytest.raises(ConfigError, match="never"):
        DebounceRule(ng=3, of=2)
