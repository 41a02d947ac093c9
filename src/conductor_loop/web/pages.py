"""The page and what it asks for: lists, stories, and what happens now. All of it reads only."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Callable
from importlib.resources import files

import apsw
import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from conductor_loop.adapters.journal.reader import JournalReader
from conductor_loop.core.events import Output, Published
from conductor_loop.core.faults import ConductorError
from conductor_loop.core.identity import is_ulid
from conductor_loop.core.naming import LONGEST_NAME, meant
from conductor_loop.core.records import Summary
from conductor_loop.core.states import RETRIABLE, State
from conductor_loop.core.story import exact_moment, summary_json, tell
from conductor_loop.core.traces import trace_id
from conductor_loop.core.vitals import Serving
from conductor_loop.web.feed import Feed, TooManyReaders
from conductor_loop.web.packages import Packages
from conductor_loop.web.records import Records

MOST_ROWS = 5_000
_LONGEST_SHOWN = 4 * LONGEST_NAME
_KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_UNREADABLE = (ConductorError, apsw.Error)
_NOT_RETRIED = (State.REJECTED, State.QUARANTINED)


class Pages:
    """Routes of everything that tells of intents."""

    def __init__(self, serving: Serving, records: Records, feed: Feed) -> None:
        self._records = records
        self._feed = feed
        self._packages = Packages(serving.out)
        self._where = f"-handoff {shlex.quote(serving.handoff)}"
        if os.path.join(serving.handoff, ".conductor") != serving.state_dir:
            self._where += f" -state-dir {shlex.quote(serving.state_dir)}"
        self._is_traced = serving.is_traced
        self._about = {"version": serving.version, "handoff": serving.handoff, "out": serving.out}

    def routes(self) -> list[Route]:
        """Every one of them; files are those of the package, by name, and no others."""
        return [
            *_assets(),
            Route("/api/about", self.about),
            Route("/api/events", self.events),
            Route("/api/intents", self.intents),
            Route("/api/intents/{intent_id}", self.story),
            Route("/api/find", self.find),
        ]

    async def about(self, request: Request) -> Response:  # noqa: ARG002
        """What this daemon is."""
        return _json(self._about)

    async def events(self, request: Request) -> Response:  # noqa: ARG002
        """Server-sent events."""
        stream = self._feed.listen()
        try:
            first = await anext(stream)
        except TooManyReaders:
            return PlainTextResponse("too many listen already\n", 503, {"retry-after": "30"})

        async def told() -> AsyncIterator[bytes]:
            yield first
            async for each in stream:
                yield each

        return StreamingResponse(told(), media_type="text/event-stream")

    async def intents(self, request: Request) -> Response:
        """The newest, newest first."""
        given = request.query_params.get("limit", "")
        limit = min(int(given) if given.isdecimal() and len(given) < 6 else 200, MOST_ROWS)
        return await self._answer(lambda reader: _listed(reader, limit))

    async def story(self, request: Request) -> Response:
        """One intent's."""
        intent_id = request.path_params["intent_id"].upper()
        if not is_ulid(intent_id):
            return _missing()
        try:
            told = await self._records.ask(lambda reader: self._tell(reader, intent_id))
        except _UNREADABLE:
            return _no_journal()
        if told is None:
            return _missing()
        facts, outputs = told
        return _json({**facts, **await self._packages.show(outputs)})

    async def find(self, request: Request) -> Response:
        """The newest intent of exactly this file name, as it is or is shown, however old."""
        name = os.fsencode(request.query_params.get("name", "")[:_LONGEST_SHOWN])
        return await self._answer(lambda reader: _named(reader, name))

    async def _answer(self, question: Callable[[JournalReader], object]) -> Response:
        try:
            found = await self._records.ask(question)
        except _UNREADABLE:
            return _no_journal()
        return _missing() if found is None else _json(found)

    def _tell(
        self, reader: JournalReader, intent_id: str
    ) -> tuple[dict[str, object], list[Output]] | None:
        """What the journal knows of an intent, and which files were delivered."""
        summary = reader.summary(intent_id)
        if summary is None:
            return None
        history = reader.history(summary.intent_id)
        retried = reader.retried_as(summary.intent_id)
        story = tell(summary, history, retried)
        outputs = [
            o for e in history if isinstance(e.event, Published) for o in e.event.outputs or ()
        ]
        facts = {
            **summary_json(summary),
            "retried_as": retried and retried.intent_id,
            "trace_id": trace_id(summary.intent_id) if self._is_traced else None,
            "facts": story.facts,
            "steps": [
                {
                    "at": exact_moment(s.at),
                    "seq": s.seq,
                    "headline": s.headline,
                    "evidence": s.evidence,
                }
                for s in story.steps
            ],
            "remedy": story.remedy,
            "retry": self._command("retry", summary) if not retried and _may_retry(summary) else "",
            "why": self._command("why", summary) + (" -traces" if self._is_traced else ""),
            "same_name": [
                {"intent_id": each.intent_id, "state": each.state.value}
                for each in reader.summaries_of(summary.name)[:20]
                if each.intent_id != summary.intent_id
            ],
        }
        return facts, outputs

    def _command(self, verb: str, summary: Summary) -> str:
        return f"conductor-loop {verb} {summary.intent_id} {self._where}"


def _may_retry(summary: Summary) -> bool:
    return summary.state in RETRIABLE and summary.state not in _NOT_RETRIED


def _listed(reader: JournalReader, limit: int) -> object:
    found = reader.summaries(limit=limit)
    return {"intents": [{**summary_json(each), "seq": each.seq} for each in found]}


def _named(reader: JournalReader, name: bytes) -> object:
    for one in meant(name):
        if (found := reader.newest_by_name(one)) is not None:
            return {"intent_id": found.intent_id}
    return None


def _assets() -> list[Route]:
    routes = []
    for file in files(__package__).joinpath("page").iterdir():
        kind = _KINDS.get(os.path.splitext(file.name)[1])
        if kind is not None:
            path = "/" if file.name == "index.html" else f"/page/{file.name}"
            routes.append(_asset(path, file.read_bytes(), kind))
    return routes


def _asset(path: str, body: bytes, kind: str) -> Route:
    async def show(request: Request) -> Response:  # noqa: ARG001
        return Response(body, media_type=kind)

    return Route(path, show)


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")


def _no_journal() -> Response:
    text = "the journal cannot be read now; see: conductor-loop health\n"
    return PlainTextResponse(text, 503)


def _missing() -> Response:
    return PlainTextResponse("not found\n", 404)
