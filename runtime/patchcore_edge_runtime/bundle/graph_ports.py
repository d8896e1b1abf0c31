"""What the inputs and outputs of an export's graph are called."""

__all__ = ["FRAME", "MAP", "SCORE"]

FRAME = "frame"
"""The graph's input: uint8 BGR pixels ``[N,H,W,3]``, N, H and W fixed by the export."""
SCORE = "pred_score"
"""Its first output: raw image scores, float32 ``[N]``."""
MAP = "anomaly_map"
"""Its second output: raw scores by pixel, float32 ``[N,1,H,W]``."""
