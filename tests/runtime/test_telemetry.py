"""Nothing is looked up, asked or started that nobody asked for: OpenVINO brings a package that reports home."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What Python says of itself: names resolved, sockets made, processes started.
WATCHED = """
import json, sys
seen = []
def hook(event, arguments):
    started = ("os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "subprocess.Popen")
    if event.split(".")[0] == "socket" or event in started:
        seen.append(event)
sys.addaudithook(hook)
words = json.loads(sys.argv[1])
if words[0] == "import":
    import patchcore_edge_runtime
    patchcore_edge_runtime.available_devices()
    if words[1:]:
        __import__(words[1])
else:
    import runpy
    sys.argv = ["patchcore-edge-runtime", *words]
    try:
        runpy.run_module("patchcore_edge_runtime", run_name="__main__")
    except SystemExit as end:
        assert not end.code, end.code
print(json.dumps({"seen": seen, "openvino": "openvino" in sys.modules}), file=sys.stderr)
"""


def watched(*words: object) -> dict[str, object]:
    """Run a command in a network without a route, where the system lets us."""
    command = [sys.executable, "-c", WATCHED, json.dumps([str(word) for word in words])]
    fence = ["unshare", "--user", "--map-root-user", "--net"]
    known = shutil.which("unshare") is not None
    if known and not subprocess.run([*fence, "true"], check=False, capture_output=True).returncode:
        command = [*fence, *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stderr.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_a_command_that_computes_asks_and_starts_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    found = watched("predict", "-m", tiny_bundle, "-s", tiny_bundle / "golden" / "0.png", "-o", tmp_path / "out")
    assert found == {"seen": [], "openvino": True}


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("info", "-m")])
def test_a_command_that_computes_nothing_does_not_load_openvino(words: tuple[str, ...], tiny_bundle: Path) -> None:
    assert watched(*words, *([tiny_bundle] if words[-1] == "-m" else [])) == {"seen": [], "openvino": False}


@pytest.mark.parametrize("module", [(), ("patchcore_edge_export",)])
def test_the_library_asks_and_starts_nothing(module: tuple[str, ...]) -> None:
    assert watched("import", *module) == {"seen": [], "openvino": True}


def test_the_system_sees_no_socket_and_no_process(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs the program strace")
    command = [sys.executable, "-m", "patchcore_edge_runtime", "devices"]
    calls = "socket,connect,sendto,fork,vfork,execve,clone,clone3"
    trace = ["strace", "-f", "-qq", "-e", f"trace={calls}", "-o", str(tmp_path / "trace")]
    done = subprocess.run([*trace, *command], capture_output=True, text=True, check=False, timeout=120)
    if "ptrace" in done.stderr:
        pytest.skip("this account may not trace")
    calls_seen = (tmp_path / "trace").read_text(encoding="utf-8").splitlines()
    seen = [line.split(maxsplit=1)[1] for line in calls_seen if "(" in line]
    # Threads are clones too; a process is one without CLONE_THREAD.
    others = [call for call in seen if "CLONE_THREAD" not in call and not call.startswith("<...")]
    assert [call.split("(")[0] for call in others] == ["execve"], others
