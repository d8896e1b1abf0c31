from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.verdict import Thresholds, Verdict

LIMITS = Thresholds(image=2.0, pixel=1.0, warn=1.5)


@pytest.mark.parametrize(
    ("score", "verdict"), [(0.0, "OK"), (1.5, "OK"), (1.6, "WARN"), (2.0, "WARN"), (2.0001, "NG"), (1e30, "NG")]
)
def test_a_score_above_its_limit_is_anomalous(score: float, verdict: str) -> None:
    assert LIMITS.judge(score) == verdict


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_an_error_and_never_ok(score: float) -> None:
    assert LIMITS.judge(score) is Verdict.ERROR


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_normalized_scores_keep_the_order_and_put_the_threshold_in_the_middle(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 0 <= LIMITS.normalize(low) <= LIMITS.normalize(high) <= 1
    assert LIMITS.normalize(LIMITS.image) == 0.5
    assert (LIMITS.normalize(a) > 0.5) == (LIMITS.judge(a) is Verdict.NG)


@pytest.mark.parametrize("fields", [{"image": 0}, {"image": math.nan}, {"pixel": -1}, {"warn": 2.0}, {"extra": 1}])
def test_limits_that_make_no_sense_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError) as error:
        Thresholds(**{"image": 2.0, "pixel": 1.0, **fields})
    assert re.fullmatch(r"Thresholds: [^\n]+\.", str(error.value)), "a sentence, and no page of pydantic's"
