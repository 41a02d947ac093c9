"""What each listening socket serves, put together."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from conductor_loop.core.vitals import Role, Serving
from conductor_loop.web import probes
from conductor_loop.web.board import Board
from conductor_loop.web.certificate import Certificate
from conductor_loop.web.feed import Feed
from conductor_loop.web.guard import Guard, SafeHeaders
from conductor_loop.web.metrics import CONTENT_TYPE, Metrics
from conductor_loop.web.pages import Pages
from conductor_loop.web.records import Records


class Shared:
    """What all sockets of the process stand on."""

    def __init__(self, serving: Serving, board: Board) -> None:
        self.serving = serving
        self.board = board
        self.records = Records(serving)
        self.pages = Pages(serving, self.records, Feed(board, self.records))
        self.metrics = Metrics(
            board,
            self.records,
            serving.version,
            Certificate(serving.certificate) if serving.certificate else None,
        )


def app_for(role: Role, shared: Shared) -> ASGIApp:
    """The application of one socket. Raises CannotStart when a secret cannot be read."""
    routes = probes.routes(shared.board)
    if role is not Role.PROBES:
        routes.append(_metrics(shared.metrics))
    if role is not Role.PAGE:
        return SafeHeaders(Starlette(routes=routes))
    routes += shared.pages.routes()
    return SafeHeaders(Guard(Starlette(routes=routes), shared.serving))


def _metrics(metrics: Metrics) -> Route:
    async def scrape(request: Request) -> Response:  # noqa: ARG001
        return Response(metrics.page(), headers={"content-type": CONTENT_TYPE})

    return Route("/metrics", scrape)
