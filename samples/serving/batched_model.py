"""A model of a repository on OpenVINO; what several cameras ask at the same time is computed together.

Needs numpy and openvino, and nothing of ours: servers have environments of their own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino

PRECISE = {"INFERENCE_PRECISION_HINT": "f32"}
DATATYPES = {"uint8": "UINT8", "float32": "FP32"}


def served_models(repository: Path) -> Iterator[tuple[str, Path]]:
    """Each model's name and the folder of its newest version."""
    for one in json.loads((repository / "patchcore-edge.json").read_text(encoding="utf-8"))["models"]:
        for name in (one["name"], one["name"] + "-bundle"):
            versions = [int(folder.name) for folder in (repository / name).iterdir() if folder.name.isdecimal()]
            if one["version"] == max(versions):
                yield name, repository / name / str(max(versions))


def say_batches(models: Mapping[str, BatchedModel]) -> None:
    """Of each model, how often a batch of each size was computed, as a line of JSON."""
    print(json.dumps({name: model.sizes for name, model in models.items()}), flush=True)


@dataclass
class Asked:
    rows: np.ndarray
    answer: asyncio.Future[dict[str, np.ndarray]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class BatchedModel:
    """Frames are taken together up to the graph's batch; with a batch of 1 they are computed side by side.

    Args:
        folder: with ``model.xml``.
        wait_seconds: that a frame waits for others, where the graph takes more than one and the device is idle.
        hint: of OpenVINO: THROUGHPUT for many cameras, LATENCY for one.
    """

    def __init__(self, folder: Path, wait_seconds: float = 0.002, hint: str = "THROUGHPUT") -> None:
        core = openvino.Core()
        model = core.read_model(folder / "model.xml")
        self.compiled = core.compile_model(model, "CPU", PRECISE | {"PERFORMANCE_HINT": hint})
        self.version = folder.name
        self.input = self.compiled.inputs[0]
        self.batch = self.input.shape[0] if len(self.input.shape) == 4 else 1
        self.wait_seconds = wait_seconds
        self.sizes: dict[int, int] = {}  # of batches, and how often each was computed
        streams = int(self.compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._requests = [self.compiled.create_infer_request() for _ in range(streams)]
        self._pool = ThreadPoolExecutor(streams)
        self._queue: asyncio.Queue[Asked] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def describe(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Inputs and outputs as KServe v2 has them; of a batch any number from 1 on is taken."""
        inputs, outputs = (
            [
                {
                    "name": port.any_name,
                    "datatype": DATATYPES[port.element_type.to_dtype().name],
                    "shape": list(port.shape),
                }
                for port in ports
            ]
            for ports in (self.compiled.inputs, self.compiled.outputs)
        )
        if len(self.input.shape) == 4:
            for port in (*inputs, *outputs):
                port["shape"][0] = -1
        return inputs, outputs

    async def infer(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name for ``[n, …]`` rows, n up to the batch."""
        sides, wanted = rows.shape, tuple(self.input.shape)
        some = len(sides) == 4 and sides[1:] == wanted[1:] and 1 <= sides[0] <= self.batch
        if rows.dtype != np.uint8 or not (some or sides == wanted):
            raise ValueError(f"takes uint8 {list(wanted)} and not {rows.dtype} {list(sides)}")
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._work(request)) for request in self._requests]
        asked = Asked(rows)
        await self._queue.put(asked)
        return await asked.answer

    async def _work(self, request: openvino.InferRequest) -> None:
        """One of the device's streams: takes what waits, and computes it."""
        loop = asyncio.get_running_loop()
        left: Asked | None = None
        while True:
            together = [left or await self._queue.get()]
            left = None
            until = loop.time() + self.wait_seconds
            while (room := self.batch - sum(len(one.rows) for one in together)) > 0:
                try:
                    one = await asyncio.wait_for(self._queue.get(), max(0.0, until - loop.time()))
                except TimeoutError:
                    break
                if len(one.rows) > room:
                    left = one
                    break
                together.append(one)
            await self._answer(request, together)

    async def _answer(self, request: openvino.InferRequest, together: Sequence[Asked]) -> None:
        waiting = [one.answer for one in together]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._pool, self._compute, request, together)
        except Exception as error:  # noqa: BLE001 - theirs who asked
            for one in waiting:
                if not one.done():
                    one.set_exception(error)
            return
        for one, answer in zip(waiting, answers, strict=True):
            if not one.done():
                one.set_result(answer)

    def _compute(self, request: openvino.InferRequest, together: Sequence[Asked]) -> list[dict[str, np.ndarray]]:
        counts = [len(one.rows) for one in together]
        size = sum(counts)
        self.sizes[size] = self.sizes.get(size, 0) + 1
        if len(self.input.shape) != 4:
            request.infer([together[0].rows])
            return [{port.any_name: request.get_tensor(port).data.copy() for port in self.compiled.outputs}]
        memory = request.get_tensor(self.input).data
        memory[:size] = np.concatenate([one.rows for one in together])
        memory[size:] = memory[:1]
        request.infer()
        found = {port.any_name: request.get_tensor(port).data for port in self.compiled.outputs}
        ends = np.cumsum(counts)
        return [
            {name: data[end - count : end].copy() for name, data in found.items()}
            for end, count in zip(ends, counts, strict=True)
        ]
