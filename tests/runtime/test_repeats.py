"""A camera whose picture stands still, down to its noise."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from conftest import good_part
from line_records import wait_for
from mjpeg_server import MjpegServer

from patchcore_edge_runtime.sources import LiveSettings, LiveSource, open_source
from patchcore_edge_runtime.sources.repeats import Repeats


def noisy(seed: int = 0, sigma: float = 2.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(good_part(size=240) + rng.normal(0, sigma, (240, 240, 3)), 0, 255).astype(np.uint8)


def clock(image: np.ndarray, number: int) -> np.ndarray:
    stamped = image.copy()
    cv2.putText(stamped, f"12:00:{number:02d}", (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
    return stamped


def stuck(pictures: list[np.ndarray], limit: int = 5, pace: float = 2.0) -> list[bool]:
    repeats = Repeats(limit)
    return [repeats.is_stuck(one, 100 + pace * number) for number, one in enumerate(pictures)]


def test_the_same_picture_again_and_again_is_noticed_after_the_limit() -> None:
    frozen = noisy()
    assert stuck([frozen.copy() for _ in range(8)]) == [False] * 5 + [True] * 3
    assert stuck([clock(frozen, number) for number in range(8)]) == [False] * 5 + [True] * 3
    assert stuck([frozen.copy() for _ in range(8)], limit=0) == [False] * 8


def test_the_same_scene_with_its_noise_is_no_repeat_however_little_noise() -> None:
    assert not any(stuck([noisy(seed, 0.4) for seed in range(20)]))
    dark = [np.clip(np.random.default_rng(seed).normal(0.5, 1, (240, 240)), 0, 255) for seed in range(20)]
    assert not any(stuck([one.astype(np.uint8) for one in dark]))
    deep = [np.random.default_rng(seed).integers(0, 4096, (60, 80), dtype=np.uint16) for seed in range(20)]
    assert not any(stuck(deep))
    assert any(stuck([deep[0].copy() for _ in range(20)]))


def test_frames_given_twice_to_keep_a_rate_are_none() -> None:
    assert not any(stuck([noisy(number // 2) for number in range(40)]))
    assert not any(stuck([noisy(number // 9) for number in range(40)], pace=0.02)), "it takes a second too"


def test_a_frozen_camera_is_an_error_until_it_moves_again_and_a_test_picture_can_be_allowed() -> None:
    frozen = [True]
    camera = MjpegServer(lambda number: good_part(0 if frozen[0] else number))
    source = open_source(camera.url)
    still = open_source(camera.url, LiveSettings(max_repeats=0))
    assert isinstance(source, LiveSource)
    assert isinstance(still, LiveSource)
    errors: list[str] = []

    def error() -> str:
        frame = source.poll(timeout=0.2)
        errors.append(frame.error if frame else "")
        return errors[-1]

    wait_for(lambda: "the camera repeats its picture" in error())
    frozen[0] = False
    wait_for(lambda: not error())
    assert source.losses == 0
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        frame = still.poll(timeout=0.2)
        assert frame is None or not frame.error
    source.close()
    still.close()
    camera.stop()


@pytest.mark.parametrize("value", [-1, 1.5, "many"])
def test_the_key_takes_a_number_of_frames(value: object) -> None:
    with pytest.raises(ValueError, match="max_repeats"):
        LiveSettings(max_repeats=value)  # type: ignore[arg-type]
