"""KServe's own server (the package kserve), by REST with binary tensors and by gRPC.

python -m samples.serving.kserve_server REPOSITORY --http-port 8080 --grpc-port 9000
"""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput

from samples.serving.batched_model import DATATYPES, BatchedModel, say_batches, served_models


class RepositoryModel(Model):
    def __init__(self, name: str, folder: Path, hint: str) -> None:
        super().__init__(name)
        self.folder, self.hint = folder, hint

    def load(self) -> bool:
        self.model = BatchedModel(self.folder, hint=self.hint)
        self.inputs, self.outputs = self.model.describe()
        self.ready = True
        return True

    def get_input_types(self) -> list[dict[str, Any]]:
        return self.inputs

    def get_output_types(self) -> list[dict[str, Any]]:
        return self.outputs

    async def predict(self, payload: InferRequest, headers: Mapping[str, str] | None = None) -> InferResponse:
        try:
            found = await self.model.infer(payload.inputs[0].as_numpy())
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        outputs = []
        for name, data in found.items():
            output = InferOutput(name, list(data.shape), DATATYPES[data.dtype.name])
            output.set_data_from_numpy(data, binary_data=True)
            outputs.append(output)
        return InferResponse(
            payload.id or str(uuid.uuid4()),  # this server's JSON has to have one
            self.name,
            outputs,
            self.model.version,
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("repository", type=Path)
    parser.add_argument("--http-port", type=int, default=8080)
    parser.add_argument("--grpc-port", type=int, default=9000)
    parser.add_argument("--hint", choices=("LATENCY", "THROUGHPUT"), default="THROUGHPUT")
    options = parser.parse_args()
    models = [RepositoryModel(name, folder, options.hint) for name, folder in served_models(options.repository)]
    for model in models:
        model.load()
    ModelServer(http_port=options.http_port, grpc_port=options.grpc_port, workers=1).start(models)
    say_batches({model.name: model.model for model in models})


if __name__ == "__main__":
    main()
