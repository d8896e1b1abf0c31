"""``devices`` says why there is no GPU or NPU: each reason is faked by a file system and a loader of libraries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import run_cli

from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.errors import DeviceError
from patchcore_edge_runtime.inspection.missing_devices import why_missing

LIBRARIES = {"GPU": {"libOpenCL.so.1"}, "NPU": {"libze_loader.so.1", "libze_intel_npu.so.1"}}
NODES = {"GPU": "dri/renderD128", "NPU": "accel/accel0"}


@pytest.fixture(params=["GPU", "NPU"])
def device(request: pytest.FixtureRequest) -> str:
    return request.param


def machine(root: Path, device: str, *, node: bool = True, maker: str = "0x8086", driver: bool = True) -> Path:
    """A file system with what a device needs."""
    if node:
        file = root / "dev" / NODES[device]
        file.parent.mkdir(parents=True)
        file.touch()
        room = "drm" if device == "GPU" else "accel"
        kernel = root / "sys/class" / room / file.name / "device/vendor"
        kernel.parent.mkdir(parents=True)
        kernel.write_text(f"{maker}\n")
    if driver:
        icd = root / "etc/OpenCL/vendors/intel.icd"
        icd.parent.mkdir(parents=True)
        icd.touch()
    return root


def having(*libraries: str) -> Callable[[str], bool]:
    return lambda name: name in libraries


def reasons(device: str, root: Path, *libraries: str, system: str = "linux") -> list[str]:
    return why_missing(device, root=root, loads=having(*libraries), system=system)


def test_a_device_that_is_not_there_may_be_one_that_the_container_was_not_given(device: str, tmp_path: Path) -> None:
    (one,) = reasons(device, machine(tmp_path, device, node=False), *LIBRARIES[device])
    assert "--device /dev/" in one


def test_another_makers_device_is_called_so(device: str, tmp_path: Path) -> None:
    (one,) = reasons(device, machine(tmp_path, device, maker="0x10de"), *LIBRARIES[device])
    assert "no device of Intel's" in one


def test_who_may_not_open_it_is_told_the_group(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine(tmp_path, device)
    monkeypatch.setattr("os.access", lambda path, _mode: Path(path).name != Path(NODES[device]).name)
    (one,) = reasons(device, root, *LIBRARIES[device])
    group = (root / "dev" / NODES[device]).group()
    assert f"usermod -aG {group}" in one
    assert "--group-add" in one


def test_a_missing_library_is_named_with_its_package(device: str, tmp_path: Path) -> None:
    loader = {"GPU": ("libOpenCL.so.1", "ocl-icd-libopencl1"), "NPU": ("libze_loader.so.1", "libze1")}[device]
    rest = LIBRARIES[device] - {loader[0]}
    (one,) = reasons(device, machine(tmp_path, device), *rest)
    assert loader[0] in one
    assert f"apt install {loader[1]}" in one


def test_a_missing_driver_is_named_with_its_package(device: str, tmp_path: Path) -> None:
    (one,) = reasons(device, machine(tmp_path, device, driver=False), *(LIBRARIES[device] - {"libze_intel_npu.so.1"}))
    assert "driver is not installed" in one
    assert {"GPU": "intel-opencl-icd", "NPU": "intel-level-zero-npu"}[device] in one


def test_all_that_is_missing_is_said_at_once(device: str, tmp_path: Path) -> None:
    assert len(reasons(device, machine(tmp_path, device, node=False, driver=False))) == 3


def test_where_nothing_is_missing_the_drivers_age_is_what_is_left(device: str, tmp_path: Path) -> None:
    (one,) = reasons(device, machine(tmp_path, device), *LIBRARIES[device])
    assert "too old" in one


def test_windows_is_told_of_its_driver(device: str, tmp_path: Path) -> None:
    assert "driver for Windows" in reasons(device, tmp_path, system="win32")[-1]


def test_the_command_says_so_beside_the_list_and_a_line_says_so_in_its_error(tiny_bundle: Path) -> None:
    done = run_cli("devices", program="patchcore_edge_runtime")
    assert done.returncode == 0
    present = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert "CPU" in present
    for device in ("GPU", "NPU"):
        if not any(name.split(".")[0] == device for name in present):
            assert f"no {device}: " in done.stderr
            with pytest.raises(DeviceError, match=r"/dev/|driver|library") as refused:
                Inspector(tiny_bundle, device=device)
            assert "OpenVINO finds" in str(refused.value)
