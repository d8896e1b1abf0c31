"""What a bundle's graph may be made of: the operations that exports use, and no other.

A bundle comes from outside. Operations with a memory (``ReadValue``, ``Assign``) could score the golden images honestly
and every later part as good; loops could run for days; and what no export uses, nobody has tested here. What is listed
was found in exports of networks of all families that timm offers; tests/export/test_operations.py holds the list to it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import BundleError

__all__ = ["OF_NETWORKS", "OF_THE_SEARCH", "OPERATIONS", "check_operations"]

OF_THE_SEARCH = frozenset(
    {
        "Add",
        "AvgPool",
        "Clamp",
        "Concat",
        "Constant",
        "Convert",
        "Convolution",
        "FakeQuantize",
        "Gather",
        "GatherElements",
        "Interpolate",
        "MatMul",
        "Minimum",
        "Multiply",
        "Parameter",
        "Power",
        "ReduceMax",
        "ReduceMin",
        "ReduceSum",
        "Reshape",
        "Result",
        "ScatterElementsUpdate",
        "Softmax",
        "Sqrt",
        "Squeeze",
        "Subtract",
        "TopK",
        "Transpose",
        "Unsqueeze",
    }
)
"""What graphs use whatever the network."""

OF_NETWORKS = {
    "Broadcast": "ecaresnet26t",
    "Col2Im": "volo_d1_224",
    "ConvolutionBackpropData": "lowformer_b0",
    "Divide": "convnextv2_atto",
    "Einsum": "mvitv2_tiny",
    "GatherND": "levit_128s",
    "Gelu": "convnext_atto",
    "GroupConvolution": "tf_efficientnet_lite0",
    "HSwish": "mobilenetv3_small_100",
    "HardSigmoid": "mobilenetv3_small_100",
    "LSTMSequence": "sequencer2d_s",  # along a row of patches; it remembers nothing of an earlier frame
    "MVN": "convnext_atto",
    "MaxPool": "resnet18",
    "Maximum": "ecaresnet26t",
    "Pad": "hgnetv2_b0",
    "ReduceL2": "convnextv2_atto",
    "ReduceMean": "efficientnet_b0",
    "Relu": "resnet18",
    "ScaledDotProductAttention": "test_vit",
    "ShapeOf": "ecaresnet26t",
    "Sigmoid": "efficientnet_b0",
    "Slice": "test_vit",
    "Split": "res2net50_26w_4s",
    "Swish": "efficientnet_b0",
    "VariadicSplit": "efficientvit_m0",
}
"""What some networks use besides → one of them, as timm calls it."""

OPERATIONS = OF_THE_SEARCH | OF_NETWORKS.keys()
"""Types of operations, as OpenVINO names them."""

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
    unknown = sorted({_IN_FILES.get(name, name) for name in found} - OPERATIONS)
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        names = ", ".join(name[:60] if name.isprintable() else ascii(name)[:60] for name in unknown[:5])
        raise BundleError(
            f"{where} computes with {names}{more}, which no export of this version does; "
            "use a bundle that you exported yourself, or update this runtime to the version that exported it."
        )
