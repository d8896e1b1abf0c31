"""Stable names for a graph's constants that mean something, so that programs find them; docs/bundle.md has the list.

A converter keeps the name of a constant that it leaves alone. What it reshapes, transposes or rounds is found from such
a one: the factor of a product by the bias that is added, the bias by the factor.
"""

from __future__ import annotations

import re
from typing import Any

import openvino as ov

__all__ = ["PREFIX", "name_constants"]

PREFIX = "patchcore/"

_NAMES = (
    (r"minus_center", "minus_center"),
    (r"minus_space_mean", "minus_space_mean"),
    (r"space_axes", "space_axes"),
    (r"neighborhoods", "neighborhoods"),
    (r"search\.(?:exact\.)?bank", "bank"),
    (r"search\.(?:exact\.)?bank_bias", "bank_bias"),
    (r"search\.points\.bias_(\d+)", r"point_bias/\1"),
    (r"search\.centroids\.bias_(\d+)", r"centroid_bias/\1"),
    (r"search\.counted", "counted"),
    (r"search\.group_offsets", "group_offsets"),
    (r"search\.point_offsets", "point_offsets"),
)
"""Names in the ONNX file, as ``EdgeModel`` has them, and here."""

_FACTORS = {"point_bias": "points", "centroid_bias": "centroids"}
"""What is multiplied before a bias is added."""


def name_constants(model: ov.Model) -> None:
    """Give the constants of a graph that was converted from ``export_onnx``'s file their stable names, in place."""
    nodes: list[Any] = model.get_ordered_ops()
    constants = {node.get_friendly_name(): node for node in nodes if node.get_type_name() == "Constant"}
    for own, node in constants.items():
        name = _stable(own)
        if name is None:
            continue
        node.set_friendly_name(PREFIX + name)
        kind, _, number = name.partition("/")
        if kind in _FACTORS:
            weights = _weights_before(node)
            weights.set_friendly_name("/".join(filter(None, [PREFIX + _FACTORS[kind], number])))
    _name_projection(constants.get("minus_center"))


def _stable(name: str) -> str | None:
    for pattern, stable in _NAMES:
        found = re.fullmatch(pattern, name)
        if found:
            return found.expand(stable)
    return None


def _name_projection(center: Any) -> None:
    """Of fast search: the first thing that centred patches are multiplied by, unless that is the bank."""
    if center is None:
        return
    for target in _added_to(center).output(0).get_target_inputs():
        if target.get_node().get_type_name() == "MatMul" and target.get_index() == 0:
            weights = _constant_of(target.get_node().input_value(1))
            if not weights.get_friendly_name().startswith(PREFIX):
                weights.set_friendly_name(f"{PREFIX}projection")


def _added_to(constant: Any) -> Any:
    return next(iter(constant.output(0).get_target_inputs())).get_node()


def _weights_before(bias: Any) -> Any:
    """The constant in the product that a bias is added to."""
    sides = [value.get_node() for value in _added_to(bias).input_values()]
    product = next(side for side in sides if side.get_type_name() == "MatMul")
    return _constant_of(product.input_value(1))


def _constant_of(value: Any) -> Any:
    """What a value is computed from, through scales and conversions."""
    node = value.get_node()
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return node
