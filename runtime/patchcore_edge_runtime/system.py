"""The guarded place for what operating systems do differently: being asked to stop, hiding files, counting memory."""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

__all__ = [
    "abandon",
    "anything_hangs",
    "end_process",
    "free_memory",
    "is_at",
    "is_hidden",
    "keep_standard_descriptors",
    "lower_thread_priority",
    "resident_memory",
    "stop_signals",
    "within",
]

_T = TypeVar("_T")
_ABANDONED: list[threading.Thread] = []

_NICE = 5
_CANCEL_SECONDS = 5.0
_THREAD_PRIORITY_LOWEST = -2
_GROUPS = Path("/sys/fs/cgroup")

# SIGBREAK is what Windows services and Ctrl-Break send; SIGTERM is what systemd and Docker send; SIGHUP comes when a
# terminal or an SSH session is closed.
_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP")


@contextmanager
def stop_signals(stop: Callable[[], None]) -> Iterator[threading.Event]:
    """While inside, the first request to stop calls ``stop``; a second one is treated as it was before.

    What it gives is set by that request. Does nothing outside of the main thread, where Python takes no signals.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    # Whoever started this with nohup wants it to go on.
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}

    def handle(number: int, _frame: FrameType | None) -> None:
        for known, handler in before.items():
            signal.signal(known, handler)
        asked.set()
        stop()

    for number in before:
        signal.signal(number, handle)
    try:
        yield asked
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)


def is_at(path: Path, facts: os.stat_result) -> bool:
    """Whether the file of which these are the facts still bears the name, and was not deleted, moved or replaced."""
    try:
        return os.path.samestat(path.stat(), facts)
    except OSError:
        return False


def is_hidden(entry: os.DirEntry[str]) -> bool:
    """Whether a file or folder is marked as hidden, as Windows and macOS do; its name is not asked."""
    if sys.platform == "win32":
        with suppress(OSError):
            return bool(entry.stat(follow_symlinks=False).st_file_attributes & stat.FILE_ATTRIBUTE_HIDDEN)
    elif sys.platform == "darwin":
        with suppress(OSError):
            return bool(entry.stat(follow_symlinks=False).st_flags & stat.UF_HIDDEN)
    return False


def within(seconds: float, work: Callable[[], _T], name: str, cancel: Callable[[], None]) -> _T:
    """What ``work`` returns or raises, in a thread of its own.

    Args:
        seconds: to wait for it.
        work: may hang in a library.
        name: of the thread.
        cancel: called when the time is over; the thread then has a few seconds more to end, or is left to itself.

    Raises:
        TimeoutError: it took longer.
    """
    answer: Future[_T] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where the answer is waited for
            answer.set_exception(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        if not answer.done():
            cancel()
            thread.join(_CANCEL_SECONDS)
            abandon(thread)
        raise
    except BaseException:
        if not answer.done():  # Ctrl-C
            abandon(thread)
        raise


def abandon(thread: threading.Thread) -> None:
    """Say of a thread that it hangs in a library and is left to itself."""
    _ABANDONED.append(thread)


def anything_hangs() -> bool:
    """Whether a thread that was abandoned is still at it."""
    return any(thread.is_alive() for thread in _ABANDONED)


def end_process(code: int) -> NoReturn:
    """End this program, in peace where that can be had.

    Python stops a thread that comes back from a library while it ends, in the middle of C++, which aborts the process:
    the exit code would be lost. So where one hangs, nothing is waited for and nothing taken down.
    """
    if anything_hangs():
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def keep_standard_descriptors() -> None:
    """Have nothing opened under the number of an output that is closed: what libraries in C print would go into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the smallest free number, which is this one


def lower_thread_priority() -> None:
    """Let this thread, and those that it starts, have a core only when nothing more urgent wants it.

    On Linux and Windows; elsewhere, and where the system refuses, nothing changes.
    """
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        kernel.SetThreadPriority(ctypes.c_void_p(kernel.GetCurrentThread()), _THREAD_PRIORITY_LOWEST)
    elif sys.platform == "linux":
        # Only on Linux is a thread's number a process's for this call.
        with suppress(OSError):
            own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), own + _NICE)


def resident_memory() -> int:
    """Bytes of this process that lie in memory now (macOS: at their most); 0 where the system does not say."""
    # By hand and not by psutil: one number is not worth a sixth package, compiled for each platform, on the line PC.
    if sys.platform == "win32":
        return _windows_memory()
    try:
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def free_memory() -> int | None:
    """Bytes that this process could still take without swapping, a container's or a service's limit included.

    None where the system does not say.
    """
    if sys.platform == "win32":
        return _windows_free_memory()
    try:
        facts = Path("/proc/meminfo").read_text(encoding="utf-8")
        free = 1024 * int(facts.partition("MemAvailable:")[2].split(maxsplit=1)[0])
    except (OSError, ValueError, IndexError):
        return None
    limits = [max(0, limit - resident_memory()) for limit in _group_limits()]
    return min([free, *limits])


def _group_limits() -> Iterator[int]:
    """The memory limits of this process's control group (version 2) and of those around it."""
    try:
        inner = Path("/proc/self/cgroup").read_text(encoding="utf-8").rpartition("0::")[2].strip()
    except (OSError, ValueError):
        return
    folder = _GROUPS / inner.lstrip("/")
    for group in (folder, *folder.parents):
        if not group.is_relative_to(_GROUPS):
            return
        with suppress(OSError, ValueError):  # "max", or the root, which has no limit
            yield int((group / "memory.max").read_text(encoding="utf-8"))


def _windows_free_memory() -> int | None:
    class Status(ctypes.Structure):
        """MEMORYSTATUSEX."""

        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "tp", "ap", "tv", "av", "ae")),
        )

    status = Status()
    status.length = ctypes.sizeof(status)
    library: Any = getattr(ctypes, "windll")  # noqa: B009 - only Windows has it
    return int(status.free) if library.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def _windows_memory() -> int:
    class Counters(ctypes.Structure):
        """PROCESS_MEMORY_COUNTERS."""

        _fields_ = (
            ("cb", ctypes.c_ulong),
            ("faults", ctypes.c_ulong),
            *((name, ctypes.c_size_t) for name in ("peak", "resident", "pp", "p", "pnp", "np", "file", "peak_file")),
        )

    counters = Counters()
    counters.cb = ctypes.sizeof(counters)
    library: Any = getattr(ctypes, "windll")  # noqa: B009 - only Windows has it
    process = ctypes.c_void_p(library.kernel32.GetCurrentProcess())
    done = library.psapi.GetProcessMemoryInfo(process, ctypes.byref(counters), counters.cb)
    return int(counters.resident) if done else 0
