"""Images for fitting, calibration and evaluation."""

from .batch import Batch
from .datamodule import DataModule
from .dataset import ImageDataset, ImageItem
from .folder import Folder, open_data
from .mvtec import CATEGORIES, MVTec, test_items
from .prediction import prediction_items
from .split import hold_out

__all__ = [
    "CATEGORIES",
    "Batch",
    "DataModule",
    "Folder",
    "ImageDataset",
    "ImageItem",
    "MVTec",
    "hold_out",
    "open_data",
    "prediction_items",
    "test_items",
]
