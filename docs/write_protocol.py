"""Writes ``open_inference.binpb`` from ``open_inference.proto``, which is what the runtime reads."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

from patchcore_edge_runtime.serving.messages import DESCRIPTION


def write(target: Path) -> None:
    """Compile the protocol's description; raises ``SystemExit`` where protoc refuses it."""
    source = DESCRIPTION.with_suffix(".proto")
    own = str(files("grpc_tools") / "_proto")
    code = protoc.main(["protoc", f"-I{source.parent}", f"-I{own}", f"--descriptor_set_out={target}", source.name])
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    write(DESCRIPTION)
