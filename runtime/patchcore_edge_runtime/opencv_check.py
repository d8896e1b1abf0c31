"""What OpenCV needs, said in a sentence before or after it fails: a system's libraries, and names that are UTF-8."""

from __future__ import annotations

import importlib
import re
import sys
from importlib.metadata import distributions

from .errors import ConfigError

__all__ = ["explain_opencv", "explain_two_packages", "opencv_name", "opencv_packages"]

_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*|\w+\.dll)", re.IGNORECASE)
# Of Debian and Ubuntu, for what the wheel with windows needs of a system.
_SYSTEM = "apt-get install libgl1 libglib2.0-0"


def opencv_name(name: object) -> str:
    """The name of a video's file or stream as OpenCV takes it; one that is not UTF-8 ends the process there.

    Raises:
        ConfigError: it is not UTF-8.
    """
    text = str(name)
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = text.encode(errors="backslashreplace").decode()
        raise ConfigError(f"{shown} cannot be opened as video: OpenCV takes UTF-8 names only; rename it.") from None
    return text


def opencv_packages() -> list[str]:
    """The installed distributions that share the folder ``cv2``; more than one overwrite each other's files."""
    names = {str(one.metadata["Name"]).lower().replace("_", "-") for one in distributions() if one.metadata["Name"]}
    return sorted(name for name in names if re.fullmatch(r"opencv(-contrib)?-python(-headless)?", name))


def explain_opencv() -> str:
    """Why ``import cv2`` does not give OpenCV, with a remedy; empty where it does."""
    if hasattr(sys.modules.get("cv2"), "imdecode"):
        return ""
    for name in [name for name in sys.modules if name.partition(".")[0] == "cv2"]:
        del sys.modules[name]  # loaded by half
    try:
        return "" if hasattr(importlib.import_module("cv2"), "imdecode") else _explain("its files are not whole")
    except ModuleNotFoundError as error:
        return _explain_absence() if error.name == "cv2" else _explain(str(error))
    except (ImportError, AttributeError, OSError) as error:
        return _explain(str(error))


def explain_two_packages() -> str:
    """What to do where two packages of OpenCV lie in one folder; empty where there are no two."""
    packages = opencv_packages()
    if len(packages) < 2:
        return ""
    return (
        f"{' and '.join(packages)} lie in one folder and overwrite each other's files; "
        f"pip uninstall -y {' '.join(packages)}, and then pip install one of them."
    )


def _explain_absence() -> str:
    if two := explain_two_packages():
        return f"OpenCV cannot be loaded: {two}"
    # Removing one of two packages takes the other one's files along.
    left = opencv_packages()
    return (
        f"OpenCV is gone, although {left[0]} counts as installed; pip install --force-reinstall --no-deps {left[0]}."
        if left
        else "OpenCV is not installed; pip install opencv-python."
    )


def _explain(why: str) -> str:
    library = _LIBRARY.search(why)
    if library is None:
        remedy = explain_two_packages() or "pip install --force-reinstall opencv-python."
        return f"OpenCV cannot be loaded ({' '.join(why.split())}): {remedy}"
    remedy = f"install it (Debian, Ubuntu: {_SYSTEM})"
    if not all(name.endswith("-headless") for name in opencv_packages()):
        remedy += (
            ", or take OpenCV without windows, which does not need it: pip uninstall -y opencv-python, and then "
            "pip install opencv-python-headless"
        )
    return f"OpenCV cannot be loaded: {library[1]} is missing on this machine; {remedy}."
