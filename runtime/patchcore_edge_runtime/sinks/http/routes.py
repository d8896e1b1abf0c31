"""The addresses of the web server and who may use them; starlette is imported where an application is built."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..base import SinkContext
from .live_view import LiveView
from .pages import Pages, json_answer
from .settings import HttpSettings
from .shared_pages import SharedPages

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["build_app", "build_shared_app"]

_COOKIE = "patchcore-session"
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
    pages = Pages(settings, context, view)
    return _application(settings, _line_routes("", lambda _: pages), token)


def build_shared_app(settings: HttpSettings, lines: SharedPages, token: str | None) -> Starlette:
    """The ASGI application of several lines; raises ``ImportError`` without starlette."""
    from starlette.routing import Route

    own = [
        Route("/", lines.overview),
        Route("/healthz", lines.healthz),
        Route("/metrics", lines.metrics),
        Route("/status", lines.status),
    ]
    return _application(settings, [*own, *_line_routes("/line/{name}", lines.pages)], token)


def _line_routes(under: str, pages_of: Callable[[Request], Pages | Response]) -> list[Route]:
    """The addresses of one line, or of whichever line the address names."""
    from starlette.routing import Route

    def ask(method: Callable[[Pages, Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            pages = pages_of(request)
            return await method(pages, request) if isinstance(pages, Pages) else pages

        return answer

    return [
        Route(f"{under}/", ask(Pages.page)),
        Route(f"{under}/healthz", ask(Pages.healthz)),
        Route(f"{under}/metrics", ask(Pages.metrics)),
        Route(f"{under}/status", ask(Pages.status)),
        Route(f"{under}/results", ask(Pages.results)),
        Route(f"{under}/live.jpg", ask(Pages.picture)),
        Route(f"{under}/live.mjpg", ask(Pages.live)),
        Route(f"{under}/trigger", ask(Pages.trigger), methods=["POST"]),
    ]


def _application(settings: HttpSettings, routes: list[Route], token: str | None) -> Starlette:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    # On loopback only our own names: a foreign page that points its name at 127.0.0.1 is refused.
    hosts = ["127.0.0.1", "localhost", "[::1]", settings.host] if settings.is_loopback else ["*"]
    return Starlette(
        routes=routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(_Guard, token=token)],
    )


class _Guard:
    """Lets in who shows the token, keeps other sites' pages from posting, and sets the headers of every answer.

    A browser is given a session for the token: what its cookie says opens this server until it is started again, and no
    other server on this machine, to whose ports the browser sends it as well.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token
        self._session = hmac.new(secrets.token_bytes(32), (token or "").encode(), hashlib.sha256).hexdigest()

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
        # Not ``request.url``: older Starlettes make it of the Host header too, and who asks would choose the path.
        path: str = request.scope["path"]
        reads, origin = request.method in ("GET", "HEAD"), request.headers.get("origin")
        if not reads and origin and origin.split("://")[-1] != request.headers.get("host"):
            return json_answer({"error": "Pages of other sites may not do this."}, 403)
        if self._token is None or path.endswith("/healthz"):
            return None
        if path == "/" and _same(request.query_params.get("token", ""), self._token):
            return self._with_session(request)
        if _same(request.headers.get("authorization", "").removeprefix("Bearer "), self._token):
            return None
        # A page of ours says where it comes from; who does not is a program, and has to show the token itself.
        if _same(request.cookies.get(_cookie(request), ""), self._session) and (reads or origin):
            return None
        return json_answer({"error": "Send 'Authorization: Bearer <token>', or open /?token=<token>."}, 401)

    def _with_session(self, request: Request) -> Response:
        """The page again, without the token in the address bar."""
        from starlette.responses import RedirectResponse

        answer = RedirectResponse("/", 303)
        tls = "https" in (request.scope["scheme"], request.headers.get("x-forwarded-proto", "").split(",")[0].strip())
        answer.set_cookie(_cookie(request), self._session, httponly=True, samesite="strict", secure=tls)
        return answer


def _cookie(request: Request) -> str:
    """Browsers keep cookies by machine and not by port: two lines on one PC must not overwrite each other's."""
    return f"{_COOKIE}-{(request.scope.get('server') or ('', 0))[1]}"


def _same(text: str, secret: str) -> bool:
    return hmac.compare_digest(text.encode(errors="surrogatepass"), secret.encode())
