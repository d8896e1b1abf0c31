"""MLServer (the package mlserver), by gRPC with raw tensors; its REST has JSON only, which a line does not speak.

python -m samples.serving.mlserver_server REPOSITORY --http-port 8080 --grpc-port 9000
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.errors import InferenceError
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor, ResponseOutput

from samples.serving.batched_model import DATATYPES, BatchedModel, say_batches, served_models

SERVED: dict[str, BatchedModel] = {}


class RepositoryModel(MLModel):
    async def load(self) -> bool:
        self.model = SERVED[self.name] = BatchedModel(Path(self.settings.parameters.uri))
        inputs, outputs = self.model.describe()
        self.inputs = [MetadataTensor(**one) for one in inputs]
        self.outputs = [MetadataTensor(**one) for one in outputs]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        tensor = payload.inputs[0]
        data = getattr(tensor.data, "root", tensor.data)
        try:
            found = await self.model.infer(np.asarray(data, np.uint8).reshape(tensor.shape))
        except ValueError as error:
            raise InferenceError(str(error)) from None
        # Not by its NumpyCodec, which gives a list of scores a second dimension.
        outputs = [
            ResponseOutput(
                name=name, shape=list(one.shape), datatype=DATATYPES[one.dtype.name], data=one.ravel().tolist()
            )
            for name, one in found.items()
        ]
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)


async def serve(repository: Path, http_port: int, grpc_port: int) -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_endpoint=None,
        parallel_workers=0,
        debug=False,
    )
    models = [
        ModelSettings(
            name=name,
            implementation=RepositoryModel,
            parameters=ModelParameters(uri=str(folder), version=folder.name),
        )
        for name, folder in served_models(repository)
    ]
    await MLServer(settings).start(models)
    say_batches(SERVED)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("repository", type=Path)
    parser.add_argument("--http-port", type=int, default=8080)
    parser.add_argument("--grpc-port", type=int, default=9000)
    options = parser.parse_args()
    asyncio.run(serve(options.repository, options.http_port, options.grpc_port))


if __name__ == "__main__":
    main()
