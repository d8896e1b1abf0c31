"""The addresses of the web server and who may use them; starlette is imported where an application is built."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from ..base import SinkContext
from .live_view import LiveView
from .pages import Pages, json_answer
from .settings import HttpSettings

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["build_app"]

_COOKIE = "patchcore-token"
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

    pages = Pages(settings, context, view)
    # On loopback only our own names: a foreign page that points its name at 127.0.0.1 is refused.
    hosts = ["127.0.0.1", "localhost", "[::1]", settings.host] if settings.is_loopback else ["*"]
    return Starlette(
        routes=[
            Route("/", pages.page),
            Route("/healthz", pages.healthz),
            Route("/metrics", pages.metrics),
            Route("/status", pages.status),
            Route("/results", pages.results),
            Route("/live.jpg", pages.picture),
            Route("/live.mjpg", pages.live),
            Route("/trigger", pages.trigger, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(_Guard, token=token)],
    )


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
            return json_answer({"error": "Pages of other sites may not do this."}, 403)
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
        return json_answer({"error": "Send 'Authorization: Bearer <token>', or open /?token=<token>."}, 401)

    def _is_token(self, text: str) -> bool:
        return self._token is not None and hmac.compare_digest(text.encode(), self._token.encode())
