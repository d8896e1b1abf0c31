"""Images for fitting, calibration and evaluation."""

from .batch import Batch
from .batches import describe_batches
from .datamodule import DataModule
from .dataset import ImageDataset, ImageItem
from .folder import Folder, open_data, open_tests, open_whole
from .lists import ImageList, Shards, data_path
from .mvtec import CATEGORIES, MVTec, MVTecAD, MVTecTest, test_items
from .prediction import prediction_dataset, prediction_items
from .report import DataReport, report_data
from .split import hold_out
from .splits import FolderRules
from .visa import VisA

__all__ = [
    "CATEGORIES",
    "Batch",
    "DataModule",
    "DataReport",
    "Folder",
    "FolderRules",
    "ImageDataset",
    "ImageItem",
    "ImageList",
    "MVTec",
    "MVTecAD",
    "MVTecTest",
    "Shards",
    "VisA",
    "data_path",
    "describe_batches",
    "hold_out",
    "open_data",
    "open_tests",
    "open_whole",
    "prediction_dataset",
    "prediction_items",
    "report_data",
    "test_items",
]
