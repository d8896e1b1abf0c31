"""What a bundle's graph may be made of: the operations that exports use, and no other.

A bundle comes from outside. Operations with a memory (``ReadValue``, ``Assign``) could score the golden images honestly
and every later part as good; loops could run for days; and what no export uses, nobody has tested here. What is listed
was found in exports of the families of networks that timm offers, in all precisions, searches and score rules.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import BundleError

__all__ = ["OPERATIONS", "check_operations"]

OPERATIONS: dict[str, str] = {
    # Every graph: pixels in, patches compared with the bank, score and map out.
    "Add": "everywhere",
    "AvgPool": "patches averaged over their neighbours",
    "Clamp": "distances that rounding makes negative",
    "Concat": "layers side by side",
    "Constant": "weights and the bank",
    "Convert": "pixels to numbers, halves to floats",
    "Convolution": "convolutional networks",
    "Gather": "neighbourhoods of bank vectors",
    "Interpolate": "layers of one grid",
    "MatMul": "distances, attention",
    "Multiply": "everywhere",
    "Parameter": "the frame",
    "ReduceMax": "the largest distance",
    "ReduceSum": "squared norms",
    "Reshape": "everywhere",
    "Result": "score and map",
    "Softmax": "eq. 7, attention",
    "Sqrt": "distances",
    "Squeeze": "everywhere",
    "Subtract": "everywhere",
    "TopK": "the most anomalous patches",
    "Transpose": "layouts",
    "Unsqueeze": "everywhere",
    # Some scores, searches and precisions.
    "FakeQuantize": "INT8, and fast search's points",
    "GatherElements": "fast search",
    "Minimum": "fast search",
    "Power": "norms",
    "ReduceMin": "fast search",
    "ScatterElementsUpdate": "fast search",
    # Networks of some families.
    "Divide": "normalisation",
    "GatherND": "windows and tables of positions",
    "Gelu": "transformers, ConvNeXt",
    "GroupConvolution": "depthwise networks",
    "HSwish": "MobileNetV3",
    "HardSigmoid": "squeeze and excite",
    "MVN": "layer normalisation",
    "MaxPool": "ResNet",
    "ReduceL2": "ConvNeXt V2",
    "ReduceMean": "squeeze and excite",
    "Relu": "convolutional networks",
    "ScaledDotProductAttention": "transformers",
    "Sigmoid": "squeeze and excite",
    "Slice": "class tokens, windows",
    "Split": "networks with branches",
    "Swish": "EfficientNet",
}
"""Type of an operation, as OpenVINO names it → what exports need it for."""
# In an IR's file some are called by their first names.
_IN_FILES = {"Const": "Constant", "ReLU": "Relu", "SoftMax": "Softmax"}


def check_operations(found: Iterable[str], where: object) -> None:
    """Refuse a graph with operations that exports do not use.

    Args:
        found: types of the operations in the graph, as OpenVINO names them.
        where: the graph's file, for the error.

    Raises:
        BundleError: one is not in ``OPERATIONS``.
    """
    unknown = sorted({_IN_FILES.get(name, name) for name in found} - OPERATIONS.keys())
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        names = ", ".join(name[:60] if name.isprintable() else ascii(name)[:60] for name in unknown[:5])
        raise BundleError(
            f"{where} computes with {names}{more}, which no export of this version does; "
            "use a bundle that you exported yourself, or update this runtime to the version that exported it."
        )
