"""A program on a terminal, where it says how far it is."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

__all__ = ["run_on_terminal"]


def run_on_terminal(*words: object, program: str, columns: int) -> subprocess.CompletedProcess[str]:
    """Run a command line in a process of its own whose stderr, and it alone, is a terminal; not on Windows."""
    import pty
    import termios

    command = [sys.executable, "-m", program, *(str(word) for word in words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    said = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        with suppress(OSError):  # the end of a pseudo terminal
            while more := os.read(ours, 4096):
                said += more
        assert process.stdout is not None
        out = process.stdout.read().decode()
    os.close(ours)
    return subprocess.CompletedProcess(command, process.returncode, out, said.decode())
