"""One image scored by a model, as somebody who has nothing of ours does it: with tritonclient.

python -m samples.serving.outside_client grpc 127.0.0.1:9000 line3 image.npy
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=("grpc", "http", "json"), help="json: by HTTP, without binary tensors")
    parser.add_argument("address", help="HOST:PORT")
    parser.add_argument("model")
    parser.add_argument("image", type=Path, help="uint8 HxWx3 BGR of the model's size, as numpy saves it")
    options = parser.parse_args()
    if options.way == "grpc":
        import tritonclient.grpc as client
    else:
        import tritonclient.http as client
    binary = {} if options.way == "grpc" else {"binary_data": options.way == "http"}
    pixels = np.load(options.image)[None]
    frame = client.InferInput("frame", list(pixels.shape), "UINT8")
    frame.set_data_from_numpy(pixels, **binary)
    wanted = [client.InferRequestedOutput(name, **binary) for name in ("pred_score", "anomaly_map")]
    server = client.InferenceServerClient(options.address)
    assert server.is_server_live()
    assert server.is_model_ready(options.model)
    # Left out, KServe's server takes the JSON for bytes.
    headers = {"headers": {"Content-Type": "application/json"}} if options.way == "json" else {}
    answer = server.infer(options.model, [frame], outputs=wanted, **headers)
    print(float(answer.as_numpy("pred_score")[0]), *answer.as_numpy("anomaly_map").shape)
    server.close()


if __name__ == "__main__":
    main()
