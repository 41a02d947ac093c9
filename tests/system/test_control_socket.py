"""What goes over the control socket: as long as it may be, in parts, and told as what it is."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from conductor_loop.adapters.control_socket import (
    AnswerUnreadable,
    RequestTooLong,
    ask,
    serve_control,
)
from conductor_loop.adapters.control_token import read_token
from conductor_loop.core.control import (
    MOST_IDS,
    Cancel,
    Health,
    Pause,
    Reply,
    Request,
    Retry,
    decode_reply,
)
from tests.fakes import number_id
from tests.fakes_notices import NoticesInMemory

LONGEST_REQUEST = 1 << 20
THOUSANDS = tuple(map(number_id, range(2 * MOST_IDS + 1)))


def served(state: Path, answer: Callable[[Request], Reply], question: Callable[[], object]) -> None:
    """Ask something while the control socket is served with these answers."""

    async def obey(request: Request, by: str) -> Reply:
        return Reply(pid=1) if isinstance(request, Health) else answer(request)

    async def serve() -> None:
        async with serve_control(state, obey, NoticesInMemory()):
            await asyncio.to_thread(question)

    asyncio.run(serve())


def test_an_answer_that_names_all_that_can_wait_is_read(tmp_path: Path) -> None:
    ids = tuple(map(number_id, range(60_000)))

    def question() -> None:
        reply = ask(tmp_path, Cancel())
        assert reply is not None
        assert reply.intent_ids == ids

    served(tmp_path, lambda _: Reply(ids), question)


def test_many_intents_are_asked_for_in_parts_with_the_same_words(tmp_path: Path) -> None:
    requests: list[Retry] = []

    def answer(request: Request) -> Reply:
        assert isinstance(request, Retry)
        requests.append(request)
        return Reply(request.intent_ids, pid=1)

    def question() -> None:
        reply = ask(tmp_path, Retry(THOUSANDS, force=True, why="night"))
        assert reply == Reply(THOUSANDS, pid=1)

    served(tmp_path, answer, question)
    assert [len(each.intent_ids) for each in requests] == [MOST_IDS, MOST_IDS, 1]
    assert {(each.force, each.why) for each in requests} == {(True, "night")}


def test_where_the_daemon_ends_meanwhile_it_is_told_what_was_done_and_what_not(
    tmp_path: Path,
) -> None:
    def answer(request: Request) -> Reply:
        assert isinstance(request, Retry)
        os.unlink(tmp_path / "control.sock")
        return Reply(request.intent_ids, pid=1)

    def question() -> None:
        reply = ask(tmp_path, Retry(THOUSANDS))
        assert reply is not None
        assert reply.intent_ids == THOUSANDS[:MOST_IDS]
        (refusal,) = reply.refusals
        assert f"{len(THOUSANDS) - MOST_IDS} intents were not asked for" in refusal.message

    served(tmp_path, answer, question)


def test_a_request_that_is_too_long_is_not_sent(tmp_path: Path) -> None:
    def question() -> None:
        with pytest.raises(RequestTooLong, match="longer than a daemon reads"):
            ask(tmp_path, Pause(why="x" * LONGEST_REQUEST))

    served(tmp_path, lambda _: Reply(), question)


def test_a_request_that_is_too_long_is_answered_as_that(tmp_path: Path) -> None:
    def question() -> None:
        folder = os.open(tmp_path, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(f"/proc/self/fd/{folder}/control.sock")
            link.sendall(read_token(folder) + b"\n" + b"x" * (LONGEST_REQUEST + 1) + b"\n")
            (refusal,) = decode_reply(link.makefile("rb").readline()).refusals
        os.close(folder)
        assert (refusal.code, bool(refusal.hint)) == ("request_too_long", True)

    served(tmp_path, lambda _: Reply(), question)


def test_an_answer_that_cannot_be_read_is_no_silence(tmp_path: Path) -> None:
    (tmp_path / "control.token").write_text("a token")
    folder = os.open(tmp_path, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{folder}/control.sock")
        listener.listen()

        def answer() -> None:
            link, _ = listener.accept()
            with link, link.makefile("rb") as lines:
                lines.readline(), lines.readline()
                link.sendall(b'{"pid": "of another version"}\n')

        other = threading.Thread(target=answer)
        other.start()
        with pytest.raises(AnswerUnreadable, match="cannot be read: Expected `int`"):
            ask(tmp_path, Health())
        other.join()
    os.close(folder)
