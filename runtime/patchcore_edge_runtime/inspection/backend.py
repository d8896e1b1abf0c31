"""What runs a bundle's graph, whatever library or machine that is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..bundle.graph_ports import FRAME, MAP, SCORE
from ..images.preprocess import Image

__all__ = ["FRAME", "MAP", "SCORE", "Backend"]


class Backend(Protocol):
    """A bundle's graph, loaded and ready: pixels in, raw scores and maps out.

    A backend knows nothing of thresholds, regions of interest or frames of another size; ``Inspector`` does. A new one
    implements these three, as ``openvino_backend.py`` does, and ``Inspector(bundle, backend=...)`` holds it to the
    bundle's golden scores before it may judge. Used from one thread at a time.
    """

    @property
    def images(self) -> Image:
        """``[N,H,W,3]`` uint8 BGR: memory that frames may be written to, so that ``infer(images)`` copies nothing."""

    @property
    def execution_devices(self) -> list[str]:
        """The devices that do the work, in the backend's words."""

    def infer(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score a batch.

        Args:
            images: ``[N,H,W,3]`` uint8 BGR of the graph's static shape, or ``[1,H,W,3]`` to fill it with one image.

        Returns:
            raw scores ``[N]`` and raw maps ``[N,1,H,W]``, float32, valid until the next call.

        Raises:
            RuntimeError: the device failed; the next call may succeed.
        """
