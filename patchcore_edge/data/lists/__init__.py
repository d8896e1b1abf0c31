"""Data that is no folder: lists of files, tar shards, and both behind URLs."""

from .list_file import ImageList, is_list
from .remote import data_path, data_text
from .shards import Shards, is_shards

__all__ = ["ImageList", "Shards", "data_path", "data_text", "is_list", "is_shards"]
