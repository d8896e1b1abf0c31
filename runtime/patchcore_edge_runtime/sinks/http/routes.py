"""Routes of the HTTP sink; starlette is imported where an application is built, not with this module."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ...monitoring.prometheus import CONTENT_TYPE, prometheus_text
from ...verdict import Verdict
from ..base import SinkContext
from .sink import HttpSettings, LiveView

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["build_app"]

_COOKIE = "patchcore-token"
_BOUNDARY = "frame"
_POLL_SECONDS = 0.02
# A still picture is repeated, so that a viewer who has gone is noticed.
_REPEAT_SECONDS = 2.0
_PAGE_RESULTS = 12
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def build_app(settings: HttpSettings, context: SinkContext, view: LiveView, token: str | None) -> Starlette:
    """The ASGI application of one line; raises ``ImportError`` without starlette."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    routes = _Routes(settings, context, view)
    # On loopback only our own names: a foreign page that points its name at 127.0.0.1 is refused.
    hosts = ["127.0.0.1", "localhost", "[::1]", settings.host] if settings.is_loopback else ["*"]
    return Starlette(
        routes=[
            Route("/", routes.page),
            Route("/healthz", routes.healthz),
            Route("/metrics", routes.metrics),
            Route("/status", routes.status),
            Route("/results", routes.results),
            Route("/live.jpg", routes.picture),
            Route("/live.mjpg", routes.live),
            Route("/trigger", routes.trigger, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(_Guard, token=token)],
    )


def _json(value: Any, status: int = 200) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(value, status)


def _answer(content: str | bytes, media_type: str) -> Response:
    from starlette.responses import Response

    return Response(content, media_type=media_type)


class _Guard:
    """Lets in who shows the token, keeps other sites' pages from posting, and sets the headers of every answer."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from starlette.requests import Request

        refusal = self._refusal(Request(scope))

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(key.lower().encode(), value.encode()) for key, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        origin = request.headers.get("origin")
        if request.method != "GET" and origin and origin.split("://")[-1] != request.headers.get("host"):
            return _json({"error": "Pages of other sites may not do this."}, 403)
        if self._token is None or request.url.path == "/healthz":
            return None
        if request.url.path == "/" and self._is_token(request.query_params.get("token", "")):
            # Into a cookie with it, so that it does not stay in the address bar.
            from starlette.responses import RedirectResponse

            answer = RedirectResponse("/", 303)
            answer.set_cookie(_COOKIE, self._token, httponly=True, samesite="strict")
            return answer
        shown = request.headers.get("authorization", "").removeprefix("Bearer ") or request.cookies.get(_COOKIE, "")
        if self._is_token(shown):
            return None
        return _json({"error": "Send 'Authorization: Bearer <token>', or open /?token=<token>."}, 401)

    def _is_token(self, text: str) -> bool:
        return self._token is not None and hmac.compare_digest(text.encode(), self._token.encode())


class _Routes:
    def __init__(self, settings: HttpSettings, context: SinkContext, view: LiveView) -> None:
        self._settings, self._context, self._view = settings, context, view
        self._viewers = 0
        self._one_trigger = asyncio.Lock()
        self._page = files(__package__).joinpath("page.html").read_text(encoding="utf-8")

    async def page(self, _request: Request) -> Response:
        return _answer(self._page, "text/html")

    async def healthz(self, _request: Request) -> Response:
        problem = self._problem()
        return _json({"healthy": not problem, "problem": problem}, 503 if problem else 200)

    async def metrics(self, _request: Request) -> Response:
        return _answer(prometheus_text(self._context.status.snapshot()), CONTENT_TYPE)

    async def status(self, _request: Request) -> Response:
        facts = self._context.status.snapshot().as_json() | {"calibration": self._context.status.calibration}
        latest = self._view.results()[:_PAGE_RESULTS]
        triggered = self._context.trigger is not None
        return _json({**facts, "problem": self._problem(), "triggered": triggered, "results": latest})

    async def results(self, request: Request) -> Response:
        limit, verdict = request.query_params.get("limit", "100"), request.query_params.get("verdict")
        if not limit.isdecimal() or len(limit) > 6 or (verdict is not None and verdict not in set(Verdict)):
            return _json({"error": "Give limit as a number and verdict as OK, WARN, NG or ERROR."}, 400)
        found = [facts for facts in self._view.results() if verdict is None or facts["verdict"] == verdict]
        return _json(found[: int(limit)])

    async def picture(self, _request: Request) -> Response:
        _, data = await asyncio.to_thread(self._view.jpeg)
        return _answer(data, "image/jpeg")

    async def live(self, _request: Request) -> Response:
        if self._viewers >= self._settings.viewers:
            return _json({"error": f"There are {self._viewers} viewers already; close one."}, 503)
        from starlette.responses import StreamingResponse

        return StreamingResponse(self._pictures(), media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}")

    async def trigger(self, request: Request) -> Response:
        trigger = self._context.trigger
        if trigger is None:
            return _json({"error": "This line runs free; set its trigger to software."}, 409)
        async with self._one_trigger:
            asked = time.time()
            if not await asyncio.to_thread(trigger, request.query_params.get("part", "")):
                return _json({"error": "Too many triggers wait, or the source has ended."}, 503)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.trigger_timeout):
                    return _json(await self._result_since(asked))
        return _json({"error": "There was no verdict in time; look at the camera."}, 504)

    def _problem(self) -> str:
        now = self._context.status.snapshot()
        if now.source != "running":
            return f"The source is {now.source}."
        if self._context.trigger is None and now.idle_seconds > self._settings.stale_seconds:
            return f"There was no verdict for {now.idle_seconds:.0f} s."
        return ""

    async def _result_since(self, moment: float) -> dict[str, Any]:
        while True:
            latest = self._view.results()[:1]
            # The frame's own time: an answer that is late for an earlier call is not this call's.
            if latest and float(str(latest[0]["time"])) >= moment - 1e-3:
                return latest[0]
            await asyncio.sleep(_POLL_SECONDS)

    async def _pictures(self) -> AsyncIterator[bytes]:
        self._viewers += 1
        try:
            yield f"--{_BOUNDARY}\r\n".encode()
            while True:
                number, data = await asyncio.to_thread(self._view.jpeg)
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                # The next boundary at once: Chromium shows a picture when it has seen the end of it.
                yield head.encode() + data + f"\r\n--{_BOUNDARY}\r\n".encode()
                await self._next(number)
        finally:
            self._viewers -= 1

    async def _next(self, number: int) -> None:
        """Wait for another picture, no sooner than the frame rate allows."""
        await asyncio.sleep(1 / self._settings.live_fps)
        with suppress(TimeoutError):
            async with asyncio.timeout(_REPEAT_SECONDS):
                while self._view.number == number:
                    await asyncio.sleep(_POLL_SECONDS)
