"""The host's end of preprocessing: the runtime's function, then what the graph does inside."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from patchcore_edge_runtime.errors import ConfigError, FrameError
from patchcore_edge_runtime.images.preprocess import PreprocessSpec, preprocess
from patchcore_edge_runtime.validation import first_fault

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "PreProcessor"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PreProcessor(nn.Module):
    """Images → what the backbone takes.

    Args:
        spec: size and crop.
        mean, std: of the RGB channels on [0, 1]; those that the backbone was trained with when absent, which
            ``Patchcore`` fills in, and ImageNet's until then.
        prepared: images come resized and normalised already and pass through untouched.

    Attributes:
        statistics: mean and standard deviation as they were given or filled in.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        spec: PreprocessSpec,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        *,
        prepared: bool = False,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.prepared = prepared
        self.statistics = (mean, std)
        self.register_buffer("mean", _levels(mean or IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", _levels(std or IMAGENET_STD), persistent=False)

    @classmethod
    def of_size(cls, image_size: tuple[int, int], center_crop_size: tuple[int, int] | None = None) -> PreProcessor:
        """Resize to a size, then take an optional crop out of the middle, both (height, width) in pixels.

        Raises:
            ConfigError: the crop is larger than the image, or either is too small.
        """
        crop_height, crop_width = center_crop_size or (None, None)
        height, width = image_size
        try:
            crop = {"crop_height": crop_height, "crop_width": crop_width}
            spec = PreprocessSpec.model_validate({"height": height, "width": width, **crop})
        except ValidationError as error:
            why = first_fault(error)
            raise ConfigError(f"The image size {image_size} with the crop {center_crop_size}: {why}.") from None
        return cls(spec)

    def completed(self, mean: tuple[float, ...], std: tuple[float, ...]) -> PreProcessor:
        """The same with what it lacks of mean and standard deviation; itself when it lacks nothing."""
        if None not in self.statistics:
            return self
        own_mean, own_std = self.statistics
        fresh = copy.deepcopy(self)  # another model may share this one
        fresh.statistics = (own_mean or mean, own_std or std)
        fresh.mean, fresh.std = _levels(own_mean or mean), _levels(own_std or std)
        return fresh

    def forward(self, images: Tensor | NDArray[Any]) -> Tensor:
        """Resize, crop and normalise; dtype and shape say what the images are, never their content.

        Args:
            images: one of
                a frame as OpenCV gives it, a NumPy array HxW, HxWx3 (BGR) or HxWx4 (BGRA), uint8 or uint16;
                a ``[N,H,W,3]`` uint8 BGR tensor of the model's size, as the datasets give it;
                a ``[3,H,W]`` or ``[N,3,H,W]`` RGB tensor as torchvision gives it, uint8 or float in [0, 1], of any
                size. Float pixels are rounded to the 256 levels that a camera has.

        Returns:
            ``[N,3,H,W]`` float32 RGB, normalised, of the model's size; N is 1 for a single image.

        Raises:
            FrameError: none of these.
            ConfigError: built with ``prepared``, and the images are not ``[N,3,H,W]`` float.
        """
        if self.prepared:
            if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
                raise ConfigError("A model without a pre-processor takes normalised float [N,3,H,W] tensors.")
            return images
        frames = self._frames(images).to(self.mean.device)
        return (frames.permute(0, 3, 1, 2).flip(1).float() - self.mean) / self.std

    def _frames(self, images: Tensor | NDArray[Any]) -> Tensor:
        """``[N,H,W,3]`` uint8 BGR of the model's size."""
        if not isinstance(images, Tensor):
            return torch.from_numpy(preprocess(images, self.spec))[None]
        if images.ndim == 4 and images.shape[3] == 3 and images.dtype == torch.uint8:
            if tuple(images.shape[1:3]) == self.spec.input_size:
                return images
            return self._resized(images)
        if images.ndim not in (3, 4) or images.shape[-3] != 3:
            raise FrameError(f"The images have shape {tuple(images.shape)}; give [N,H,W,3] or [N,3,H,W].")
        rgb = images.reshape(-1, *images.shape[-3:])
        return self._resized(_as_uint8(rgb).permute(0, 2, 3, 1).flip(3))

    def _resized(self, frames: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([preprocess(frame, self.spec) for frame in frames.cpu().numpy()]))


def _levels(values: tuple[float, ...]) -> Tensor:
    """``[1,3,1,1]`` on the scale of 8-bit pixels."""
    return 255 * torch.tensor(values).reshape(1, 3, 1, 1)


def _as_uint8(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point() or not bool(((images >= 0) & (images <= 1)).all()):
        raise FrameError("The images are not uint8, nor float in [0, 1]; scale them first.")
    return (images * 255).round().to(torch.uint8)
