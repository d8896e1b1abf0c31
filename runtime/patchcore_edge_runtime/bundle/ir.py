"""What an IR's file says without OpenVINO: its operations, and what it tells Intel's Model API."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from ..errors import BundleError

__all__ = ["IrFacts", "read_ir"]

_MAX_BYTES = 256 << 20
_INFO = ["net", "rt_info", "model_info"]


@dataclass
class IrFacts:
    """Of an IR.

    Attributes:
        operations: types of its operations, those inside of other operations included.
        model_info: ``rt_info/model_info``, key → value.
    """

    operations: set[str] = field(default_factory=set)
    model_info: dict[str, str] = field(default_factory=dict)


def read_ir(xml: Path) -> IrFacts:
    """Read an IR's topology.

    Raises:
        BundleError: it is no XML, of another encoding than UTF-8, or declares entities, which no IR does.
    """
    facts, path = IrFacts(), list[str]()

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "layer":
            facts.operations.add(attributes.get("type", ""))
        if path == _INFO:
            facts.model_info[name] = attributes.get("value", "")
        path.append(name)

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type")

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: path.pop()
    # Entities that name each other would fill the memory.
    parser.StartDoctypeDeclHandler = refuse
    try:
        if xml.stat().st_size > _MAX_BYTES:
            raise ValueError("it is too large")
        with xml.open("rb") as file:
            parser.ParseFile(file)
    except (expat.ExpatError, ValueError) as error:
        raise BundleError(f"{xml.name} is no IR of OpenVINO ({error}); export the bundle again.") from None
    return facts
