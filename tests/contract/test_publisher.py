"""What every `Publisher` keeps. A new one joins by a `Bench` in `BENCHES`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from conductor_loop.adapters.builtin.package_folder import PackageFolder
from conductor_loop.adapters.builtin.publisher import BuiltinPublisher
from conductor_loop.adapters.clock import SystemClock
from conductor_loop.core.arrival import Delivered, Lease, Outcome, Undelivered
from conductor_loop.core.events import FailureKind
from conductor_loop.core.faults import Fault
from conductor_loop.core.intent import Intent, Target
from conductor_loop.core.packages import Mode
from conductor_loop.core.reading import IntakeRules, Unreadable, read_intent
from conductor_loop.ports import Publisher
from tests.contract.porch_bench import open_small_porch
from tests.fakes import in_a_loop, number_id


@dataclass(frozen=True, slots=True)
class Bench:
    """A publisher at work, and how to look at what it did."""

    publisher: Publisher
    effect: Callable[[Target], int | None]
    """The replicas that a target has been brought to; None when nothing was delivered."""


MakeBench = Callable[[Path], AbstractAsyncContextManager[Bench]]


def read(body: bytes) -> Intent | Fault:
    intent = read_intent(body, IntakeRules(lambda _: ()))
    return intent.faults[0] if isinstance(intent, Unreadable) else intent


@asynccontextmanager
async def builtin_bench(folder: Path) -> AsyncIterator[Bench]:
    with closing(PackageFolder.open(folder / "out")) as packages:
        publisher = BuiltinPublisher(read, packages, Mode.DIRECT, SystemClock())
        yield Bench(publisher, _patched_in(folder / "out"))


@asynccontextmanager
async def porch_bench(folder: Path) -> AsyncIterator[Bench]:
    async with open_small_porch(folder) as publisher:
        yield Bench(publisher, _patched_in(folder / "out"))


def _patched_in(out: Path) -> Callable[[Target], int | None]:
    def effect(target: Target) -> int | None:
        patch = out / target.namespace / target.name / "scaling-patch.yaml"
        if not patch.exists():
            return None
        return int(patch.read_text().split("replicas: ")[1])

    return effect


BENCHES: dict[str, MakeBench] = {"builtin": builtin_bench, "porch": porch_bench}


@pytest.fixture(params=BENCHES)
def make_bench(request: pytest.FixtureRequest) -> MakeBench:
    return BENCHES[request.param]


def lease(number: int, target: Target, replicas: int, **fields: object) -> Lease:
    document = {
        "intent_type": "scaling",
        "target": target.name,
        "namespace": target.namespace,
        "replicas": replicas,
        **fields,
    }
    name = b"intent-%d.json" % number
    body = json.dumps(document).encode()
    return Lease(number_id(number), name, 1, target, body, timedelta(seconds=20))


UPF, SMF = Target("oran-sim", "upf"), Target("oran-sim", "smf")


def _is_timed(outcome: Outcome) -> bool:
    assert isinstance(outcome, Delivered | Undelivered)
    return outcome.started_at.tzinfo is not None and outcome.duration >= timedelta(0)


def test_a_good_intent_is_delivered_and_its_effect_is_there(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    @in_a_loop
    async def story() -> None:
        async with make_bench(tmp_path) as bench:
            assert bench.effect(UPF) is None
            assert bench.publisher.replacement() == ""
            outcome = await bench.publisher.publish(lease(1, UPF, 3))
            assert isinstance(outcome, Delivered)
            assert _is_timed(outcome)
            assert (outcome.outputs is None) == bool(outcome.outputs_unknown)
            await bench.publisher.settle_output()
            assert bench.effect(UPF) == 3

    story()


def test_delivering_twice_has_the_effect_of_once(make_bench: MakeBench, tmp_path: Path) -> None:
    @in_a_loop
    async def story() -> None:
        async with make_bench(tmp_path) as bench:
            first = await bench.publisher.publish(lease(1, UPF, 3))
            again = await bench.publisher.publish(lease(1, UPF, 3))
            assert isinstance(first, Delivered)
            assert isinstance(again, Delivered)
            assert again.outputs == first.outputs
            assert bench.effect(UPF) == 3

    story()


def test_the_last_one_delivered_counts(make_bench: MakeBench, tmp_path: Path) -> None:
    @in_a_loop
    async def story() -> None:
        async with make_bench(tmp_path) as bench:
            for number, replicas in enumerate((3, 5, 3)):
                outcome = await bench.publisher.publish(lease(number, UPF, replicas))
                assert isinstance(outcome, Delivered)
                assert bench.effect(UPF) == replicas

    story()


def test_different_targets_may_run_side_by_side(make_bench: MakeBench, tmp_path: Path) -> None:
    @in_a_loop
    async def story() -> None:
        async with make_bench(tmp_path) as bench:
            leases = [lease(1, UPF, 3), lease(2, SMF, 7)]
            outcomes = await asyncio.gather(*map(bench.publisher.publish, leases))
            assert all(isinstance(outcome, Delivered) for outcome in outcomes)
            await bench.publisher.settle_output()
            assert (bench.effect(UPF), bench.effect(SMF)) == (3, 7)

    story()


def test_an_intent_that_cannot_be_is_a_permanent_failure_in_words(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    @in_a_loop
    async def story() -> None:
        async with make_bench(tmp_path) as bench:
            bad = lease(1, UPF, 3, intent_type="configuration")
            outcome = await bench.publisher.publish(bad)
            assert isinstance(outcome, Undelivered)
            assert _is_timed(outcome)
            failure = outcome.failure
            assert failure.kind is FailureKind.PERMANENT
            assert failure.code
            assert failure.message
            assert bench.effect(UPF) is None

    story()


def test_there_may_be_nothing_to_settle_or_stop(make_bench: MakeBench, tmp_path: Path) -> None:
    @in_a_loop
    async def story() -> None:
        async with make_bench(tmp_path) as bench:
            await bench.publisher.settle_output()
            await bench.publisher.stop(number_id(9))
            outcome = await bench.publisher.publish(lease(1, UPF, 3))
            await bench.publisher.stop(number_id(1))
            assert isinstance(outcome, Delivered)

    story()
