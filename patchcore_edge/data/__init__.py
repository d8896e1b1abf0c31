"""Images for fitting, calibration and evaluation."""

from .batch import Batch
from .datamodule import DataModule
from .dataset import ImageDataset, ImageItem
from .folder import Folder, open_data
from .mvtec import MVTec

__all__ = ["Batch", "DataModule", "Folder", "ImageDataset", "ImageItem", "MVTec", "open_data"]
