"""Marks in an IR that keep the search in float32 where a device computes the backbone in half precision.

Distances are small differences of large numbers. OpenVINO reads ``precise`` of an operation as leave not to take it in
fewer bits. A mark is lost where a device puts another operation in place of the marked one, so the search is written in
operations that stay: see ``_LASTING`` and ``ExactSearch``. tests/export/test_float_marks.py looks at what is run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import openvino as ov
from openvino import opset3, opset13
from openvino.utils.node_factory import NodeFactory

from patchcore_edge_runtime.errors import ConfigError

from .backbone import backbone_operations

__all__ = ["is_marked", "mark_search", "search_operations", "use_lasting_operations"]

_MARK = {"name": "precise", "version": "0"}
"""As every OpenVINO since 2023 reads it."""


def use_lasting_operations(model: ov.Model) -> None:
    """Where a device would replace an operation of the search by an older one, without its mark, put that there."""
    names = search_operations(model)
    nodes: list[Any] = model.get_ordered_ops()
    for node in nodes:
        older = _LASTING.get(node.get_type_name())
        if older is not None and node.get_friendly_name() in names and node.get_type_info().version_id in _NEWER:
            _replace(node, older(node))


def search_operations(model: ov.Model) -> set[str]:
    """Names of what a graph computes from its backbone's features, and of the constants that it takes for it.

    None where the features are not pooled: nothing tells then where they end.
    """
    try:
        before = backbone_operations(model)
    except ConfigError:
        return set()
    names = {node.get_friendly_name() for node in before}
    names |= {value.get_node().get_friendly_name() for node in before for value in node.input_values()}
    nodes: list[Any] = model.get_ordered_ops()
    return {
        node.get_friendly_name()
        for node in nodes
        if node.get_type_name() != "Result" and node.get_friendly_name() not in names
    }


def is_marked(xml: Path) -> bool:
    """Whether an IR's file keeps its search in float32."""
    return b'name="precise"' in xml.read_bytes()


def mark_search(xml: Path, names: set[str]) -> None:
    """Put the marks into an IR's file.

    Args:
        xml: as OpenVINO wrote it.
        names: of the operations.
    """
    tree = ElementTree.parse(xml)  # noqa: S314 - written by us a moment ago
    layers = tree.getroot().find("layers")
    for layer in [] if layers is None else layers:
        if layer.get("name") in names:
            info = layer.find("rt_info")
            if info is None:
                info = ElementTree.Element("rt_info")
                # Where OpenVINO writes it: before the ports.
                layer.insert(0 if layer.find("data") is None else 1, info)
            # Some versions write it themselves, and none reads it twice.
            if not any(one.get("name") == _MARK["name"] for one in info):
                ElementTree.SubElement(info, "attribute", _MARK)
    ElementTree.indent(tree, "\t")
    tree.write(xml, encoding="utf-8", xml_declaration=True)


def _interpolate_4(node: Any) -> Any:
    wanted, given = node.get_output_shape(0)[2:], node.get_input_shape(0)[2:]
    shares = np.array([to / of for to, of in zip(wanted, given, strict=True)], np.float32)
    inputs = [np.array(list(wanted), np.int64), shares, np.array([2, 3], np.int64)]
    sources = [node.input_value(0), *(opset13.constant(one).output(0) for one in inputs)]
    return NodeFactory("opset4").create("Interpolate", sources, node.get_attributes())


def _scatter_3(node: Any) -> Any:
    return opset3.scatter_elements_update(*node.input_values())


_LASTING: dict[str, Callable[[Any], Any]] = {"Interpolate": _interpolate_4, "ScatterElementsUpdate": _scatter_3}
_NEWER = ("opset11", "opset12")


def _replace(node: Any, other: Any) -> None:
    name = node.get_friendly_name()
    for target in list(node.output(0).get_target_inputs()):
        target.replace_source_output(other.output(0))
    other.set_friendly_name(name)
