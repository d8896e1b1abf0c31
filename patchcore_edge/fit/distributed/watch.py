"""What happens when one of a job's processes is gone: the others end, in bounded time, with one sentence in all.

A process that waits for another in an exchange cannot tell a slow one from a dead one, and some backends wait for
ever. So each process has a thread that shows a sign of life in the job's key-value store and looks at those of the
others. When one ends with an error, is killed, or shows no sign for a minute, the threads agree on what is said, who
says it and with which exit code, and have their processes' main threads stop; one that cannot be reached is ended.
"""

from __future__ import annotations

import _thread
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import NoReturn

from torch._C._distributed_c10d import Store

from patchcore_edge_runtime.errors import ConfigError

__all__ = ["STOPPED", "Ending", "Stopped", "Watch"]

_LOST = 3
"""Exit code where a process is gone: as for a device that is."""
STOPPED = 130
_POLL = 0.5
_SILENT = 60.0
"""Seconds without a sign of life after which a process counts as gone; its machine may be."""
_AGREE = 3.0
"""Seconds within which the living have said that they know."""
_UNWIND = 10.0
"""Seconds that a main thread has to clear up."""


_JOIN = timedelta(minutes=5)
_ASKED = frozenset({int(signal.SIGTERM), int(signal.SIGINT)})
"""Signals by which somebody ends a process."""


class Stopped(BaseException):
    """Raised in the main thread when the job has ended elsewhere; no ``except Exception`` may hold it."""


@dataclass(frozen=True)
class Ending:
    """How this process ends.

    Attributes:
        code: exit code.
        sentence: what it says; empty where another one speaks.
    """

    code: int
    sentence: str = ""


class Watch:
    """The thread of one process.

    Args:
        connect: gives a connection to the job's store that is the thread's own.
        rank: of this process.
        size: how many there are.

    Attributes:
        ending: how this process has to end; None while all is well.
    """

    def __init__(self, connect: Callable[[], Store], rank: int, size: int) -> None:
        self._store, self._rank, self._size = connect(), rank, size
        self.ending: Ending | None = None
        self._stopping = False
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._known = threading.Event()
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._signs: dict[int, tuple[bytes, float]] = {}
        self._thread = threading.Thread(target=self._run, name="ranks", daemon=True)

    def start(self) -> None:
        """Begin, when all are there; from now on Ctrl-C and SIGTERM, which torchrun sends when a process has failed,
        are the thread's affair.

        Raises:
            ConfigError: some processes have not come.
        """
        self._sign(0)
        for rank in range(self._size):
            try:
                self._store.wait([f"sign {rank}"], _JOIN)
            except RuntimeError:
                raise ConfigError(
                    f"Process {rank} of {self._size} has not come within {_JOIN.seconds // 60} minutes; see that all "
                    "machines run the same command and reach the first one's address."
                ) from None
        # In this order: a signal's number is sent to the thread even while the main thread is deep in a library.
        self._wakeup = signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._on_signal) for number in _ASKED}
        self._thread.start()

    def stop(self) -> None:
        """The job is done, or this process is about to say why it is not."""
        self._over.set()
        self._ring()
        self._thread.join(_AGREE)
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def part(self) -> None:
        """The job is done by all: the first process, which may hold the store, goes last."""
        self._over.set()
        with suppress(RuntimeError), self._lock:
            self._store.set(f"done {self._rank}", "1")
            if self._rank == 0:
                self._store.wait([f"done {rank}" for rank in range(self._size)], timedelta(seconds=_UNWIND))
        self.stop()

    def failed(self, code: int) -> Ending | None:
        """Tell the others that this process ends with an error; how it ends if another one was before it."""
        self._over.set()  # what comes from here on is known
        try:
            with self._lock:
                if not self._first("failed"):
                    self._store.wait(["failed code"], timedelta(seconds=_UNWIND))
                    return Ending(int(self._store.get("failed code")))
                self._store.set("failed code", str(code))
                self._store.set("ending", "failed")
            self._go_last(range(1, self._size))
        except RuntimeError:
            pass  # the store is gone: who can, speaks
        return None

    def lost(self) -> NoReturn:
        """An exchange failed, or Ctrl-C was pressed: find out why, and stop."""
        self._ring()
        self._known.wait(_SILENT)
        raise Stopped

    def _ring(self) -> None:
        with suppress(OSError):
            self._bell.send(bytes([signal.SIGTERM]))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.ending is not None and not self._stopping:
            self._stopping = True  # and what is open is closed in peace
            raise Stopped

    def _run(self) -> None:
        asked, count = False, 0
        while not self._over.is_set():
            if select.select([self._ear], [], [], _POLL)[0]:
                asked = bool(set(self._ear.recv(64)) & _ASKED)
            if self._over.is_set():
                return
            count += 1
            try:
                with self._lock:
                    self._sign(count)
                    ended = asked or self._store.check(["ending"]) or bool(self._silent())
                if ended:
                    self._end(self._agreed())
                    return
            except RuntimeError:  # the store is gone, and with it the machine of the first process
                if self._over.is_set():
                    return
                speaks = self._rank == 1 or os.environ.get("LOCAL_RANK", "0") == "0"
                text = "The first process of this job, or its machine, is gone; call the same again on all machines."
                self._end(Ending(_LOST, text if speaks else ""))
                return

    def _sign(self, count: int) -> None:
        self._store.set(f"sign {self._rank}", str(count))

    def _silent(self) -> list[int]:
        """Processes without a sign of life; the first one looks, as the store is on its machine."""
        if self._rank:
            return []
        now = time.monotonic()
        others = [rank for rank in range(1, self._size) if self._store.check([f"sign {rank}"])]
        for rank in others:
            sign = self._store.get(f"sign {rank}")
            if self._signs.get(rank, (b"", 0.0))[0] != sign:
                self._signs[rank] = (sign, now)
        return [rank for rank, (_, since) in self._signs.items() if now - since > _SILENT]

    def _agreed(self) -> Ending:
        """What all living processes come to."""
        with self._lock:
            silent = self._silent()
            self._store.set("ending", "now")
            self._store.set(f"knows {self._rank}", "1")
        until, missing = time.monotonic() + _AGREE, list(range(self._size))
        while True:
            with self._lock:
                if self._store.check(["failed code"]):
                    self._store.set(f"left {self._rank}", "1")
                    return Ending(int(self._store.get("failed code")))
                missing = [rank for rank in missing if not self._store.check([f"knows {rank}"])]
            if not missing or time.monotonic() > until:
                break
            time.sleep(0.05)
        with self._lock:
            speaks = self._first("said")
            self._store.set(f"left {self._rank}", "1")
        self._go_last(rank for rank in range(1, self._size) if rank not in missing)
        gone = missing or silent
        if not gone:
            return Ending(STOPPED)  # all are there: somebody ended them all
        which = f"Process {gone[0]}" if len(gone) == 1 else f"{len(gone)} processes ({', '.join(map(str, gone[:8]))})"
        sentence = (
            f"{which} of {self._size} ended without a word (killed, out of memory, or its machine is gone), and "
            "the job with it; call the same again: features that are stored are used."
        )
        return Ending(_LOST, sentence if speaks else "")

    def _go_last(self, others: Iterable[int]) -> None:
        """Have the first process, which may hold the store, wait until the others know."""
        until, rest = time.monotonic() + _AGREE, list(others)
        while self._rank == 0 and rest and time.monotonic() < until:
            time.sleep(0.05)
            with self._lock:
                rest = [rank for rank in rest if not self._store.check([f"left {rank}"])]

    def _first(self, what: str) -> bool:
        return int(self._store.add(f"{what} first", 1)) == 1

    def _end(self, ending: Ending) -> None:
        """Have the main thread stop, and end the process where that cannot be reached."""
        self.ending = ending
        self._known.set()
        if self._over.is_set():
            return
        if hasattr(signal, "pthread_kill"):  # ends a wait of the operating system too
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        else:
            _thread.interrupt_main(signal.SIGTERM)
        if not self._over.wait(_UNWIND):
            if ending.sentence:
                os.write(2, f"error: {ending.sentence}\n".encode())
            os._exit(ending.code)
