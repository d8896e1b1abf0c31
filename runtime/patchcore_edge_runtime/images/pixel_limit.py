"""How large a picture may be; imported before OpenCV, which reads its limit once, when it is loaded."""

import os

__all__ = ["MAX_PIXELS"]

MAX_PIXELS = 1 << 28
"""268 megapixels: beyond any camera, and a file that claims more is refused by its header, before it is decoded."""

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
