"""`/healthz`, `/readyz`, `/livez`: whether it answers, takes files, and does not hang."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from conductor_loop.core.control import Check
from conductor_loop.web.board import Board

PATHS = ("/healthz", "/readyz", "/livez")
# A check's own message may name folders and targets; these are for everybody.
_MEANINGS = {
    "intake": "it is starting or stopping",
    "handoff": "the handoff folder cannot be served",
    "not-paused": "an operator paused it; to go on: conductor-loop resume",
    "porch": "porch does not work, so attempts wait",
    "room": "the queue is full",
    "memory": "the daemon uses more memory than -max-memory",
    "disk": "a disk is full",
    "views": "folders or verdicts cannot be written",
    "journal": "the journal cannot be read",
    "nothing-damaged": "an intent was set aside as damaged; see: conductor-loop health",
    "nothing-parked": "a view could not be written and was set aside; see: conductor-loop health",
    "folders": "a folder is not writable",
    "disk-floor": "a disk has less room than the floor",
}
_OTHERWISE = "see: conductor-loop health"


def routes(board: Board) -> list[Route]:
    """The three probes."""

    async def healthz(request: Request) -> Response:  # noqa: ARG001
        return _answer(True, {"status": "ok"})  # noqa: FBT003

    async def readyz(request: Request) -> Response:  # noqa: ARG001
        shown, ready = [_shown(check) for check in board.checks()], board.is_ready()
        return _answer(ready, {"status": "ready" if ready else "not ready", "checks": shown})

    async def livez(request: Request) -> Response:  # noqa: ARG001
        lives = board.liveness()
        loops = [{"name": name, "ok": ok} for name, ok in lives.items()]
        live = all(lives.values())
        return _answer(live, {"status": "live" if live else "stuck", "loops": loops})

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/livez", livez)]


def _shown(check: Check) -> dict[str, object]:
    shown: dict[str, object] = {"name": check.name, "ok": check.ok}
    if not check.ok:
        shown["why"] = _MEANINGS.get(check.name, _OTHERWISE)
    return shown


def _answer(is_good: bool, document: dict[str, object]) -> Response:
    body = json.dumps(document, separators=(",", ":")) + "\n"
    return Response(body, 200 if is_good else 503, media_type="application/json")
