"""From torch to ONNX and OpenVINO IR, and to fewer bits."""
