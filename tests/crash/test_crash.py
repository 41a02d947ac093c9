"""A sample of the sweep that `make crash` makes in full."""

from __future__ import annotations

import pytest

from tests.crash.injection import KILL, Usage, usages
from tests.crash.invariants import Expected, expect
from tests.crash.scene import Scene, With
from tests.crash.survivors import orphans_adopted
from tests.crash.sweep import sample

# About a second each on an idle machine.
SAMPLES = {KILL: 16, "error=EIO": 6, "error=ENOSPC": 4, "error=EXDEV": 2, "error=EINTR": 2}

Story = tuple[Scene, Expected, list[Usage]]


@pytest.fixture(scope="module", params=With)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A scene, how it ends undisturbed, and which calls that takes."""
    scene = Scene(tmp_path_factory.mktemp("crash") / "scene", request.param)
    scene.prepare()
    return scene, expect(scene), usages(scene)


@pytest.mark.crash
@pytest.mark.needs("strace")
@pytest.mark.parametrize("fault", SAMPLES)
def test_row_38_nothing_is_lost_or_doubled_when_a_system_call_fails_or_never_happens(
    story: Story, fault: str
) -> None:
    scene, expected, used = story

    with orphans_adopted():
        blows = list(sample(scene, expected, used, fault, SAMPLES[fault]))

    assert [blow for blow in blows if blow.wrong] == []
    assert len(blows) >= SAMPLES[fault] // 2
