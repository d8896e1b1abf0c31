"""The protocol's messages by gRPC, from ``open_inference.proto``.

Built from the compiled description and not from generated code: that is tied to a release of protobuf, and two packages
that register ``inference.ModelInferRequest`` end a process in which both are imported.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from .errors import missing_packages

__all__ = ["DESCRIPTION", "SERVICE", "message"]

DESCRIPTION = Path(__file__).with_name("open_inference.binpb")
SERVICE = "inference.GRPCInferenceService"


@cache
def message(name: str) -> Any:
    """The class of a message.

    Raises:
        ConfigError: protobuf is not installed.
    """
    try:
        from google.protobuf import message_factory
    except ImportError:
        raise missing_packages() from None
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"inference.{name}"))


@cache
def _pool() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool

    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTION.read_bytes()).file:
        pool.Add(file)
    return pool
