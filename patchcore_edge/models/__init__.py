"""The model: PatchCore and its parts."""

from .anomaly_map import AnomalyMapGenerator
from .feature_extractor import TimmFeatureExtractor
from .k_center_greedy import KCenterGreedy
from .patchcore import LearningType, Patchcore
from .torch_model import InferenceBatch, PatchcoreModel

__all__ = [
    "AnomalyMapGenerator",
    "InferenceBatch",
    "KCenterGreedy",
    "LearningType",
    "Patchcore",
    "PatchcoreModel",
    "TimmFeatureExtractor",
]
