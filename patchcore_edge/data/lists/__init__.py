"""Data that is no folder: lists of files, tar shards, and both behind URLs."""

from .archives import is_there
from .list_file import ImageList, is_list, listed_images
from .remote import data_path, data_text
from .shards import Shards, images_in_shards, is_shards

__all__ = [
    "ImageList",
    "Shards",
    "data_path",
    "data_text",
    "images_in_shards",
    "is_list",
    "is_shards",
    "is_there",
    "listed_images",
]
