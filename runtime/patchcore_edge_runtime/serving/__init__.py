"""A bundle on a model server, and how a line asks one: KServe's protocol, version 2 (Open Inference Protocol)."""
