"""What each address of the web server answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ...monitoring.health import Health, health_of
from ...monitoring.prometheus import CONTENT_TYPE, prometheus_text
from ...shown import name_fault
from ...verdict import Verdict
from ..base import SinkContext
from .live_view import LiveView
from .settings import HttpSettings

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

__all__ = ["Pages", "answer", "json_answer"]

_BOUNDARY = "frame"
_LIVE = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
_POLL_SECONDS = 0.02
# A still picture is repeated, so that a viewer who has gone is noticed.
_REPEAT_SECONDS = 2.0
_PAGE_RESULTS = 12


def json_answer(value: Any, status: int = 200) -> Response:
    """An answer of plain JSON values."""
    from starlette.responses import JSONResponse

    return JSONResponse(value, status)


async def _hung_up(request: Request) -> None:
    """Return when the caller has gone; what the caller sends is of no interest."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def answer(content: str | bytes, media_type: str) -> Response:
    """An answer of any other kind."""
    from starlette.responses import Response

    return Response(content, media_type=media_type)


class Pages:
    """Answers of one line; each takes a request and never raises for what is in it.

    Args:
        settings: limits of the live view and of waiting.
        context: of the line: its status and its trigger.
        view: the newest picture and results that the sink was given.
        closed: why the line is not open now; empty while it is.
    """

    def __init__(
        self, settings: HttpSettings, context: SinkContext, view: LiveView, closed: Callable[[], str] = lambda: ""
    ) -> None:
        self._settings, self._context, self._view, self._closed = settings, context, view, closed
        self._viewers = 0
        self._page = files(__package__).joinpath("page.html").read_text(encoding="utf-8")

    async def page(self, _request: Request) -> Response:
        """The status page."""
        return answer(self._page, "text/html")

    async def healthz(self, _request: Request) -> Response:
        """200, or 503 with the problem; degraded is 200."""
        health = self.health()
        return json_answer(health.to_dict(), 503 if health.problem else 200)

    async def metrics(self, _request: Request) -> Response:
        """The line's figures for Prometheus."""
        return answer(prometheus_text([self._context.status.snapshot()]), CONTENT_TYPE)

    async def status(self, _request: Request) -> Response:
        """The line's figures, its calibration and the last results."""
        facts = self._context.status.snapshot().to_dict() | {"calibration": self._context.status.calibration}
        latest = self._view.results()[:_PAGE_RESULTS]
        triggered = self._context.trigger is not None
        return json_answer({**facts, **self.health().to_dict(), "triggered": triggered, "results": latest})

    async def results(self, request: Request) -> Response:
        """The newest records, filtered as asked."""
        limit, verdict = request.query_params.get("limit", "100"), request.query_params.get("verdict")
        if not limit.isdecimal() or len(limit) > 6 or (verdict is not None and verdict not in set(Verdict)):
            return json_answer({"error": "Give limit as a number and verdict as OK, WARN, NG or ERROR."}, 400)
        found = [facts for facts in self._view.results() if verdict is None or facts["verdict"] == verdict]
        return json_answer(found[: int(limit)])

    async def picture(self, _request: Request) -> Response:
        """The newest annotated picture."""
        _, data = await asyncio.to_thread(self._view.jpeg)
        return answer(data, "image/jpeg")

    async def live(self, request: Request) -> Response:
        """Annotated pictures as motion JPEG."""
        if request.method == "HEAD":
            # Of pictures that nobody is sent there is no end, nor a reader whose silence would be noticed.
            return answer("", _LIVE)
        if self._viewers >= self._settings.viewers:
            return json_answer({"error": f"There are {self._viewers} viewers already; close one."}, 503)
        from starlette.responses import StreamingResponse

        class Viewing(StreamingResponse):
            async def __call__(live, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: N805 - self is Pages
                try:
                    await super().__call__(scope, receive, send)
                finally:
                    self._viewers -= 1

        # Counted at once, not with the first picture: others ask at the same moment.
        self._viewers += 1
        return Viewing(self._pictures(), media_type=_LIVE)

    async def trigger(self, request: Request) -> Response:
        """Ask for one frame and answer with its record, whichever verdicts this sink was asked to show."""
        trigger = self._context.trigger
        if trigger is None:
            return json_answer({"error": "This line runs free; set its trigger to software."}, 409)
        part = request.query_params.get("part", "")
        if fault := name_fault(part):
            return json_answer({"error": fault}, 400)
        asked = trigger(part)
        if asked is None:
            return json_answer({"error": "Too many triggers wait, or the source has ended."}, 503)
        answered = asyncio.wrap_future(asked)
        gone = asyncio.ensure_future(_hung_up(request))
        either: set[asyncio.Future[Any]] = {answered, gone}
        await asyncio.wait(either, timeout=self._settings.trigger_timeout, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        # One that can no longer be cancelled is being recorded: the caller is told what is.
        if not answered.done() and asked.cancel():
            return json_answer({"error": "There was no verdict in time; look at the camera."}, 504)
        record = await answered
        # In a thread: the regions of a large frame take milliseconds, and others are being served.
        return json_answer(await asyncio.to_thread(record.to_dict))

    def health(self) -> Health:
        """Of the line, now."""
        # Its figures stand still then, and what they say was true a while ago.
        if reason := self._closed():
            return Health(stopped=reason)
        silent = self._context.trigger is not None or self._context.patient
        stale = None if silent else self._settings.stale_seconds
        return health_of(self._context.status.snapshot(), stale)

    async def _pictures(self) -> AsyncIterator[bytes]:
        yield f"--{_BOUNDARY}\r\n".encode()
        while True:
            number, data = await asyncio.to_thread(self._view.jpeg)
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            # The next boundary at once: Chromium shows a picture when it has seen the end of it.
            yield head.encode() + data + f"\r\n--{_BOUNDARY}\r\n".encode()
            await self._next(number)

    async def _next(self, number: int) -> None:
        """Wait for another picture, no sooner than the frame rate allows."""
        await asyncio.sleep(1 / self._settings.live_fps)
        with suppress(TimeoutError):
            async with asyncio.timeout(_REPEAT_SECONDS):
                while self._view.number == number:
                    await asyncio.sleep(_POLL_SECONDS)
