"""Why OpenVINO finds no GPU or NPU here: hardware, permission, library, driver, in a person's words.

What OpenVINO's plugins need is in its documentation, "Configurations for Intel GPU" and "… NPU": for the GPU OpenCL's
loader and Intel's driver behind it, for the NPU Level Zero's loader and Intel's driver behind that.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ACCELERATORS", "why_missing"]

_INTEL = "0x8086"


@dataclass(frozen=True)
class _Needs:
    nodes: str
    """Device files, below ``/dev``."""
    system: str
    """What the kernel knows of them, below ``/sys/class``; ``{name}`` is the device file's name."""
    loader: str
    loader_package: str
    drivers: tuple[str, ...]
    """Libraries of which one must load, or patterns of files below ``/`` of which one must be there."""
    driver_package: str
    windows_loader: str


ACCELERATORS = {
    "GPU": _Needs(
        nodes="dri/renderD*",
        system="drm/{name}/device/vendor",
        loader="libOpenCL.so.1",
        loader_package="ocl-icd-libopencl1",
        drivers=("etc/OpenCL/vendors/*intel*.icd",),
        driver_package="intel-opencl-icd",
        windows_loader="OpenCL.dll",
    ),
    "NPU": _Needs(
        nodes="accel/accel*",
        system="accel/{name}/device/vendor",
        loader="libze_loader.so.1",
        loader_package="libze1",
        drivers=("libze_intel_npu.so.1", "libze_intel_vpu.so.1"),
        driver_package="intel-driver-compiler-npu and intel-level-zero-npu",
        windows_loader="ze_loader.dll",
    ),
}
"""OpenVINO's names of the devices that may be missing, and what they need."""


def _loads(library: str) -> bool:
    with suppress(OSError):
        ctypes.CDLL(library)
        return True
    return False


def why_missing(
    device: str, *, root: Path = Path("/"), loads: Callable[[str], bool] = _loads, system: str = sys.platform
) -> list[str]:
    """What stands between OpenVINO and a device that it does not find, each with its remedy; never empty.

    Args:
        device: a key of ``ACCELERATORS``.
        root: of the file system that is looked at.
        loads: whether a library can be loaded.
        system: as ``sys.platform`` says it.
    """
    needs = ACCELERATORS[device]
    if system == "win32":
        found = [] if loads(needs.windows_loader) else [f"{needs.windows_loader} cannot be loaded"]
        return [*found, f"install Intel's {device} driver for Windows, if this PC has an Intel {device}"]
    if system != "linux":
        return [f"OpenVINO has no {device} plugin for this operating system; use Linux or Windows"]
    reasons = [*_hardware(device, needs, root), *_software(needs, root, loads)]
    # All that we know of is there.
    return reasons or [
        f"device, permission, library and driver are there; {needs.driver_package} may be too old for it"
    ]


def _hardware(device: str, needs: _Needs, root: Path) -> Iterator[str]:
    folder = root / "dev" / Path(needs.nodes).parent
    nodes = sorted((root / "dev").glob(needs.nodes))
    if not nodes:
        shown = f"/dev/{needs.nodes}"
        yield (
            f"there is no {shown}: no Intel {device}, no kernel driver for it, "
            f"or a container that was not given it (--device /dev/{folder.name})"
        )
        return
    makers = {node: _maker(root / "sys" / "class" / needs.system.format(name=node.name)) for node in nodes}
    intel = [node for node, maker in makers.items() if maker in (_INTEL, None)]
    if not intel:
        yield f"/dev/{nodes[0].relative_to(root / 'dev')} is no device of Intel's, and OpenVINO runs on those only"
        return
    if not any(os.access(node, os.R_OK | os.W_OK) for node in intel):
        node = intel[0]
        group = _group(node)
        yield (
            f"this user may not open /dev/{node.relative_to(root / 'dev')}: add it to the group {group} "
            f"(sudo usermod -aG {group} USER, then log in again; in a container --group-add {node.stat().st_gid})"
        )


def _software(needs: _Needs, root: Path, loads: Callable[[str], bool]) -> Iterator[str]:
    if not loads(needs.loader):
        yield f"{needs.loader} cannot be loaded: apt install {needs.loader_package}"
    there = (any(root.glob(one)) if "*" in one else loads(one) for one in needs.drivers)
    if not any(there):
        yield f"Intel's driver is not installed: apt install {needs.driver_package}"


def _maker(file: Path) -> str | None:
    """The maker's number as the kernel writes it; None where it does not say."""
    with suppress(OSError):
        return file.read_text(encoding="ascii").strip()
    return None


def _group(node: Path) -> str:
    with suppress(KeyError, ImportError, NotImplementedError):
        return node.group()
    return str(node.stat().st_gid)
