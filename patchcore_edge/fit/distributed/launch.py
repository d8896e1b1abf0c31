"""Joining a job that torchrun, or whatever else sets its environment, has started in several processes."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from patchcore_edge_runtime.errors import ConfigError, PatchcoreEdgeError

from .ranks import Ranks, sharing
from .watch import STOPPED, Ending, Stopped, Watch

__all__ = ["distributed", "refuse_ranks"]

_STORE = timedelta(seconds=60)
_EXCHANGE = timedelta(days=1)
"""The slowest may keep the others waiting for so long; whether it lives is the watch's affair."""
_FAULT = 70
_HEARD = 10
_jobs = itertools.count()
_joined: list[Ranks] = []
_held: list[Store] = []
"""Served by this process until it ends."""


def refuse_ranks(command: str) -> None:
    """Refuse to run in several processes what is one process's work.

    Raises:
        ConfigError: this is one of several.
    """
    if _number("WORLD_SIZE", 1) == 1:
        return
    raise ConfigError(f"`{command}` is one process's work; call it without torchrun.")


@contextmanager
def heard() -> Iterator[None]:
    """What the first process says is heard; nothing of the others, until they join a job and have to speak for it."""
    number = os.environ.get("RANK", "0")
    first = number == "0" or not number.isdecimal()
    with _heard_if(first):
        try:
            yield
        except SystemExit as end:
            if end.code and not first and not _joined:
                time.sleep(_HEARD)  # torchrun ends all with the first that ends, and that one is to be heard
            raise


@contextmanager
def distributed(device: str) -> Iterator[Ranks]:
    """The processes that share this job: those of torchrun's environment, or this one alone.

    The first one speaks; what the others print is not shown. When one fails, all end with its exit code, and when one
    is gone, with 3; one of them says why.

    Args:
        device: torch's name, which decides what the processes exchange by.

    Raises:
        ConfigError: the environment is not whole, or the processes do not find each other.
    """
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        yield Ranks()
        return
    rank, local_size = _number("RANK"), _number("LOCAL_WORLD_SIZE", 1)
    backend = _backend(device, local_size)
    try:
        connect = _connected(rank, size)
        watch = Watch(connect, rank, size)
        watch.start()
    except ConfigError:
        sys.stderr = sys.__stderr__  # nobody else knows
        raise
    job = Ranks(rank, size, local_size, watch.lost)
    _joined.append(job)
    try:
        with _heard_if(job.is_first), sharing(job):
            store = PrefixStore("exchange", connect())
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_EXCHANGE)
            yield job
            job.sum(torch.zeros(1))  # nobody goes while another still writes
    except (Stopped, KeyboardInterrupt):
        _leave(_ending(watch))
    except Exception as error:
        try:
            other = watch.failed(error.exit_code if isinstance(error, PatchcoreEdgeError) else _FAULT)
        except Stopped:  # another one was a moment before
            other = watch.ending
        watch.stop()
        if other is not None:
            _leave(other)
        sys.stderr = sys.__stderr__
        raise
    watch.part()
    dist.destroy_process_group()


def _ending(watch: Watch) -> Ending:
    try:
        if watch.ending is None:
            watch.lost()
    except Stopped:
        pass
    watch.stop()
    assert watch.ending is not None
    stopped = watch.ending.code == STOPPED and _number("RANK") == 0
    return Ending(STOPPED, "stopped.") if stopped else watch.ending


def _leave(ending: Ending) -> NoReturn:
    """End this process; what waits for others in libraries is not waited for."""
    if ending.sentence:
        word = "" if ending.code == STOPPED else "error: "
        print(f"{word}{ending.sentence}", file=sys.__stderr__, flush=True)
    os._exit(ending.code)


@contextmanager
def _heard_if(first: bool) -> Iterator[None]:
    if first:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _backend(device: str, local_size: int) -> str:
    """What processes exchange tensors by, and this process's own device; of the accelerators none was run here."""
    place, kind = _number("LOCAL_RANK", 0), device.lower()
    if ":" in kind:
        raise ConfigError(
            f"--device {device} is one device for all processes; leave its number out: each takes its own."
        )
    for name, exchange in (("cuda", "nccl"), ("xpu", "xccl")):
        module = getattr(torch, name)
        if kind in ("auto", name) and module.is_available():
            if local_size > module.device_count():
                raise ConfigError(
                    f"{local_size} processes on this machine share {module.device_count()} devices; start one for each."
                )
            module.set_device(place)
            return f"cpu:gloo,{name}:{exchange}"
    return "gloo"


def _connected(rank: int, size: int) -> Callable[[], Store]:
    """Gives connections to the job's store, which torchrun has, or else the first process."""
    host, port = os.environ.get("MASTER_ADDR"), _number("MASTER_PORT")
    if not host:
        raise ConfigError("MASTER_ADDR is not set; start the processes by torchrun.")
    of_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    prefix = f"patchcore-edge {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')} {next(_jobs)}"
    if rank == 0 and not of_torchrun:
        _held.append(TCPStore(host, port, size, True, _STORE, wait_for_workers=False))

    def connect() -> Store:
        try:
            own = TCPStore(host, port, None, False, _STORE, wait_for_workers=False)
        except RuntimeError:
            raise ConfigError(
                f"The first process of this job is not reached at {host}:{port}; see that it runs and is not kept out."
            ) from None
        return PrefixStore(prefix, own)

    return connect


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise ConfigError(f"{name} is {text!r}; start the processes by torchrun, which sets it.")
    return int(text)
