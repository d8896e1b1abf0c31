"""What the web server of several lines answers: an overview, and below it the pages of each line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from ...display.record import Record
from ...monitoring.health import Health
from ...monitoring.prometheus import CONTENT_TYPE, prometheus_text
from ..base import SinkContext
from .live_view import LiveView
from .pages import Pages, answer, json_answer
from .settings import HttpSettings

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["LinePage", "SharedPages", "State"]

State = Literal["starting", "running", "failed", "ended"]
_REASONS: dict[State, str] = {
    "starting": "The line is starting.",
    "failed": "The line has failed.",
    "ended": "The line has come to its end.",
}


@dataclass
class _Line:
    """What the server knows of one line."""

    state: State = "starting"
    reason: str = ""
    page: LinePage | None = None

    def closed(self) -> str:
        """Why it is not open; empty while it is."""
        return "" if self.state == "running" else self.reason or _REASONS[self.state]

    def health(self) -> Health:
        """The line's own while it runs; one that has come to its end is not unhealthy."""
        if self.state == "ended":
            return Health()
        return self.page.pages.health() if self.page is not None else Health(stopped=self.closed())

    def facts(self, name: str) -> dict[str, Any]:
        """Plain JSON values."""
        figures, last = {}, None
        if (page := self.page) is not None:
            figures, last = page.status.snapshot().to_dict(), next(iter(page.view.results()), None)
        return {
            **figures,
            **self.health().to_dict(),
            "name": name,
            "state_of_line": self.state,
            "page": f"line/{quote(name)}/",
            "last": last,
        }


class LinePage:
    """To one line a sink like any other: what it is given, its pages show.

    Args:
        settings: of the server.
        context: of the line.
        closed: why the line is not open now; empty while it is.

    Attributes:
        status: of the line.
        view: the newest picture and results.
        pages: that show both.
    """

    pictures = True

    def __init__(self, settings: HttpSettings, context: SinkContext, closed: Callable[[], str]) -> None:
        self.status = context.status
        self.view = LiveView(settings.results, settings.live_width)
        self.pages = Pages(settings, context, self.view, closed)

    def write(self, record: Record) -> None:
        """Show one record."""
        self.view.add(record)

    def close(self) -> None:
        """Nothing is held open: the server is not the line's."""


class SharedPages:
    """Answers of several lines; each takes a request and never raises for what is in it.

    Args:
        settings: limits of the live views and of waiting.
        names: of the lines.
    """

    def __init__(self, settings: HttpSettings, names: Sequence[str]) -> None:
        self._settings = settings
        self._lines = {name: _Line() for name in names}
        self._page = files(__package__).joinpath("overview.html").read_text(encoding="utf-8")

    def page_of(self, name: str, context: SinkContext) -> LinePage:
        """What the line of that name hands its records to."""
        line = self._lines[name]
        line.page = LinePage(self._settings, context, line.closed)
        return line.page

    def say(self, name: str, state: State, reason: str = "") -> None:
        """How a line is: what it cannot say itself, while it is not open."""
        self._lines[name].state, self._lines[name].reason = state, reason

    def pages(self, request: Request) -> Pages | Response:
        """Those of the line that the address names, or the answer where there are none."""
        line = self._lines.get(request.path_params["name"])
        if line is None:
            return json_answer({"error": f"There is no such line; there are {', '.join(self._lines)}."}, 404)
        return line.page.pages if line.page is not None else json_answer({"error": line.closed()}, 503)

    async def overview(self, _request: Request) -> Response:
        """The page of all lines."""
        return answer(self._page, "text/html")

    async def healthz(self, _request: Request) -> Response:
        """200, or 503 where one of the lines is unhealthy; each line's health by its name."""
        lines = {name: line.health() for name, line in self._lines.items()}
        problem = " ".join(f"{name}: {health.problem}" for name, health in lines.items() if health.problem)
        states = {health.state for health in lines.values()}
        worst = next((state for state in ("unhealthy", "degraded") if state in states), "healthy")
        facts = {name: health.to_dict() for name, health in lines.items()}
        return json_answer(
            {"healthy": not problem, "state": worst, "problem": problem, "lines": facts}, 503 if problem else 200
        )

    async def metrics(self, _request: Request) -> Response:
        """The figures of all lines for Prometheus."""
        known = [line.page.status.snapshot() for line in self._lines.values() if line.page is not None]
        return answer(prometheus_text(known), CONTENT_TYPE)

    async def status(self, _request: Request) -> Response:
        """The figures and the last record of each line."""
        return json_answer([line.facts(name) for name, line in self._lines.items()])
