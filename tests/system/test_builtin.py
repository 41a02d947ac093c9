"""The built-in publisher on a real folder: what it delivers, and whose fault a failure is."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from conductor_loop.adapters.builtin.package_folder import PackageFolder
from conductor_loop.adapters.builtin.publisher import BuiltinPublisher
from conductor_loop.core.arrival import Delivered, Lease, Undelivered
from conductor_loop.core.events import Failure, FailureKind
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Intent, Target
from conductor_loop.core.packages import Mode
from conductor_loop.core.reading import IntakeRules, Unreadable, read_intent
from tests.fakes import FakeClock, in_a_loop

TARGET = Target("oran-sim", "upf")


def read(body: bytes) -> Intent | Fault:
    intent = read_intent(body, IntakeRules(lambda _: ()))
    return intent.faults[0] if isinstance(intent, Unreadable) else intent


def lease(**fields: object) -> Lease:
    document = {
        "intent_type": "scaling",
        "target": TARGET.name,
        "namespace": TARGET.namespace,
        "replicas": 3,
        "correlation_id": "corr-1",
        **fields,
    }
    body = json.dumps(document).encode()
    return Lease("ID", b"intent-\x1b.json", 2, TARGET, body, timedelta(seconds=30), "corr-1")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def folder(out: Path) -> Iterator[PackageFolder]:
    with closing(PackageFolder.open(out)) as opened:
        yield opened


def publisher(folder: PackageFolder, mode: Mode = Mode.DIRECT) -> BuiltinPublisher:
    return BuiltinPublisher(read, folder, mode, FakeClock())


@pytest.mark.parametrize("mode", Mode)
def test_outputs_name_every_file_below_out_with_its_digest(
    folder: PackageFolder, out: Path, mode: Mode
) -> None:
    @in_a_loop
    async def story() -> None:
        outcome = await publisher(folder, mode).publish(lease())
        assert isinstance(outcome, Delivered)
        assert outcome.outputs is not None
        files = [path for path in out.rglob("*") if path.is_file()]
        assert [(output.path, output.sha256) for output in outcome.outputs] == sorted(
            (path.relative_to(out).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
            for path in files
        )
        assert outcome.worker == 0
        assert not outcome.notes

    story()


async def _failure(folder: PackageFolder, attempt: Lease) -> Failure:
    outcome = await publisher(folder).publish(attempt)
    assert isinstance(outcome, Undelivered)
    return outcome.failure


@pytest.mark.parametrize(
    ("fields", "code", "place"),
    [
        ({"intent_type": "configuration"}, "configuration_has_no_payload", "/intent_type"),
        ({"intent_type": "deployment"}, "no_blueprint", "/nephio_context/blueprint_name"),
        ({"replicas": 3000}, "replicas_invalid", "/replicas"),
    ],
)
def test_what_has_no_package_is_a_permanent_failure(
    folder: PackageFolder, out: Path, fields: dict[str, object], code: str, place: str
) -> None:
    @in_a_loop
    async def story() -> None:
        failure = await _failure(folder, lease(**fields))
        assert (failure.kind, failure.code) == (FailureKind.PERMANENT, code)
        assert place in failure.message
        assert failure.hint
        assert list(out.iterdir()) == []

    story()


def test_an_obstacle_in_out_is_the_intents_own_failure(folder: PackageFolder, out: Path) -> None:
    @in_a_loop
    async def story() -> None:
        (out / "oran-sim").touch()
        failure = await _failure(folder, lease())
        assert (failure.kind, failure.code) == (FailureKind.PERMANENT, "out_obstructed")

    story()


def test_a_replaced_hand_edit_is_logged_about_its_intent_and_noted(
    folder: PackageFolder, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @in_a_loop
    async def story() -> None:
        await publisher(folder).publish(lease())
        (out / "oran-sim" / "upf" / "scaling-patch.yaml").write_text("mine\n")
        with caplog.at_level(logging.WARNING):
            outcome = await publisher(folder).publish(lease(replicas=5))
        assert isinstance(outcome, Delivered)
        (note,) = outcome.notes
        assert note.startswith("replaced a folder edited by hand: files scaling-patch.yaml")
        (record,) = caplog.records
        assert record.getMessage() == note.replace("replaced", "replacing", 1)
        assert record.__dict__["intent.id"] == "ID"
        assert record.__dict__["intent.file"] == r"intent-\x1b.json"
        assert record.__dict__["correlation_id"] == "corr-1"

    story()
