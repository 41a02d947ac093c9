"""The live page in a real browser: what it shows, that it keeps up, and that nothing runs in it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, chromium
from tests.otlp_receiver import receiving
from tests.system.daemon import Site, intent, wait_until
from tests.system.test_http import Server, serving
from tests.system.test_tampering import damage

pytestmark = pytest.mark.needs("chromium")
SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>"
SHOWN_FILES = "[...document.querySelectorAll('#sheet .row')].map((r) => r.children[1].textContent)"

# Milliseconds from a keystroke or a jump to the next frame, at worst.
LONGEST_FRAME = """(async () => {
  const search = document.querySelector('#search'), view = document.querySelector('#window');
  const type = (words) => { search.value = words; search.dispatchEvent(new Event('input')); };
  const jump = (top) => { view.scrollTop = top; view.dispatchEvent(new Event('scroll')); };
  let longest = 0;
  for (const step of [() => type('49'), () => type(''), () => jump(1e9), () => jump(0)]) {
    const began = performance.now();
    step();
    await new Promise(requestAnimationFrame);
    longest = Math.max(longest, performance.now() - began);
  }
  return longest;
})()"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@contextlib.contextmanager
def opened(server: Server, tmp_path: Path) -> Iterator[Browser]:
    """A browser that shows the page, connected."""
    with chromium(tmp_path / "profile") as browser:
        browser.resize(1280, 1000)
        browser.open(f"http://127.0.0.1:{server.port}/")
        browser.wait_for("document.querySelector('#link')?.textContent === 'live'", "it is live")
        yield browser
        assert browser.complaints == []


@pytest.fixture(scope="module")
def shown_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The page of a daemon to which nothing happens, for tests that only draw."""
    top = tmp_path_factory.mktemp("shown")
    with serving(Site(top)) as server, opened(server, top) as browser:
        yield browser


def text(browser: Browser, selector: str) -> str:
    return str(browser.run(f"document.querySelector({selector!r}).textContent"))


def test_the_page_shows_what_is_and_follows_what_happens(site: Site, tmp_path: Path) -> None:
    with serving(site) as server:
        site.hand_over_all({"intent-first.json": intent("amf")})
        site.wait_for_final(1)
        with opened(server, tmp_path) as browser:
            browser.wait_for("document.querySelector('#sheet .row')", "the first intent is shown")
            assert browser.run(SHOWN_FILES) == ["intent-first.json"]
            browser.wait_for("document.querySelectorAll('#tiles dd').length === 7", "figures")

            site.hand_over_all({f"intent-{n}.json": intent(f"t{n}") for n in range(20)})
            site.hand_over("intent-bad.json", b"{}")

            browser.wait_for(f"{SHOWN_FILES}.includes('intent-bad.json')", "the new ones came")
            browser.wait_for("document.querySelector('#causes button')", "the cause is shown")
            browser.wait_for("document.title.startsWith('Intents flow')", "it says that they flow")
            site.pause()
            browser.wait_for(
                "document.querySelector('#headline').textContent === 'Paused'", "pause"
            )
            site.resume()
            site.wait_for_final(22)


def test_row_25_what_was_altered_in_the_journal_does_not_stop_the_page(
    site: Site, tmp_path: Path
) -> None:
    with serving(site) as server:
        site.hand_over("intent-bad.json", b"{}")
        site.wait_for_final(1)
        damage(site.state, "event", "events", "intent IS NOT NULL")
        with opened(server, tmp_path) as browser:
            browser.wait_for(f"{SHOWN_FILES}.includes('intent-bad.json')", "the list was read")
            site.hand_over("intent-good.json", intent())
            browser.wait_for(f"{SHOWN_FILES}.includes('intent-good.json')", "it still follows")


def test_one_intents_story_is_opened_by_keyboard_and_has_its_package_and_remedy(
    site: Site, tmp_path: Path
) -> None:
    porch = site.porch('case "$name" in *b.json) echo "no such site" >&2; exit 2;; esac')
    with serving(site, "-porch", porch) as server:
        site.hand_over_all({"intent-a.json": intent("a")})
        site.wait_for_final(1)
        site.hand_over("intent-b.json", intent("b"))
        site.wait_for_final(2)
        with opened(server, tmp_path) as browser:
            browser.wait_for("document.querySelectorAll('#sheet .row').length === 2", "both")
            browser.run("document.querySelector('#window').focus()")
            browser.press("ArrowDown")
            browser.press("Enter")
            browser.wait_for("document.querySelector('#story').open", "its story is open")
            assert text(browser, "#story-title") == "intent-b.json"
            story = text(browser, "#story-body")
            assert f"conductor-loop retry {site.intent_id('intent-b.json')}" in story
            assert "no such site" in story
            browser.press("Escape")
            browser.wait_for("!document.querySelector('#story').open", "it is closed")


def test_who_comes_late_sees_how_long_an_attempt_has_run(site: Site, tmp_path: Path) -> None:
    porch = site.porch('until [ -e "$top/go" ]; do sleep 0.05; done')
    with serving(site, "-porch", porch) as server:
        site.hand_over("intent-slow.json", intent())

        def runs_long() -> bool:
            running = site.asked("top")["running"]
            return bool(running) and running[0]["running_seconds"] > 3

        wait_until(runs_long, "it has run for a while")
        with opened(server, tmp_path) as browser:
            browser.wait_for("document.querySelector('#running .num')", "it is shown to run")
            told = re.fullmatch(r"attempt 1 · (\d+(?:\.\d)?) s", text(browser, "#running .num"))
        (site.top / "go").touch()
        site.wait_for_final(1)
    assert told is not None
    assert float(told[1]) > 3


DRAWN = """(async (values) => {
  const { drawLatency } = await import('/page/charts.js');
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  drawLatency(svg, values.map(([at, p95]) => ({ at, p50: p95, p95 })));
  return ['circle', 'path'].map((tag) => svg.querySelectorAll(tag + '.two').length);
})"""


@pytest.mark.parametrize(
    ("measured", "dots", "lines"),
    [
        ([(0, 0.2)], 1, 0),
        ([(0, 0.2), (5, 0.3), (10, 0.2)], 0, 1),
        ([(0, 0.2), (5, None), (10, 0.2)], 2, 0),
        ([(0, 0.2), (5, 0.2), (10, None), (15, 0.2), (20, 0.2)], 0, 2),
        ([(0, 0.2), (5, 0.2), (300, 0.2)], 1, 1),
    ],
    ids=["a lone point", "a line", "between idle steps", "across an idle step", "after silence"],
)
def test_latency_is_a_line_only_where_nothing_is_missing(
    shown_page: Browser, measured: list[tuple[float, float | None]], dots: int, lines: int
) -> None:
    assert shown_page.run(f"{DRAWN}({json.dumps(measured)})") == [dots, lines]


NEXT_WORD = """new Promise((resolve) => {
  const events = new EventSource('/api/events');
  events.addEventListener('now', (event) => { events.close(); resolve(event.data); });
})"""


def test_of_a_lone_burst_the_latency_is_drawn_and_told_for_a_minute(
    site: Site, tmp_path: Path
) -> None:
    p95 = "[...document.querySelectorAll('#tiles dd')][4].textContent"
    with serving(site) as server, opened(server, tmp_path) as browser:
        site.hand_over_all({f"intent-{n}.json": intent(f"t{n}") for n in range(47)})
        site.wait_for_final(47)

        def has_rested() -> bool:
            steps = json.loads(browser.run(NEXT_WORD))["history"]
            return any(step["p95"] for step in steps) and steps[-1]["p95"] is None

        wait_until(has_rested, "a step without any end followed")
        browser.wait_for(f"!{p95}.startsWith('–')", "the minute is told")
        browser.wait_for("document.querySelector('#latency :is(circle, path).two')", "it is drawn")


def test_a_screen_reader_is_told_which_row_is_chosen_and_of_how_many(
    site: Site, tmp_path: Path
) -> None:
    with serving(site) as server:
        for name in ("intent-a.json", "intent-b.json"):
            site.hand_over(name, intent())
            site.verdict(name)
        with opened(server, tmp_path) as browser:
            browser.wait_for("document.querySelectorAll('#sheet .row').length === 2", "both")
            browser.run("document.querySelector('#window').focus()")
            assert not any(row.get("selected") for row in browser.accessible("row"))
            browser.press("ArrowDown")
            browser.press("ArrowDown")
            (grid,) = browser.accessible("grid")
            head, *rows = browser.accessible("row")
            active = browser.run(
                "document.getElementById(document.activeElement.getAttribute("
                "'aria-activedescendant')).textContent"
            )
            headings = [each["name"] for each in browser.accessible("columnheader")]
            cells = [each["name"] for each in browser.accessible("gridcell")]
    assert grid["focused"] is True
    assert "intent-a.json" in active
    assert [row["selected"] for row in rows] == [False, True]
    assert "selected" not in head
    assert headings == ["State", "File", "Target", "Received", "Took"]
    assert [cells[1], cells[6]] == ["intent-b.json", "intent-a.json"]


def test_rows_are_read_in_their_order_wherever_a_new_one_comes_in(
    site: Site, tmp_path: Path
) -> None:
    with serving(site) as server:
        site.hand_over("intent-old.json", intent())
        site.verdict("intent-old.json")
        with opened(server, tmp_path) as browser:
            browser.wait_for("document.querySelector('#sheet .row')", "the old one is shown")
            site.hand_over("intent-new.json", intent())
            browser.wait_for(f"{SHOWN_FILES}.includes('intent-new.json')", "the new one too")
            assert browser.run(SHOWN_FILES) == ["intent-new.json", "intent-old.json"]


def test_while_the_daemon_is_away_a_row_says_so_and_its_story_comes_when_it_is_back(
    site: Site, tmp_path: Path
) -> None:
    with chromium(tmp_path / "profile") as browser:
        with serving(site) as server:
            site.hand_over("intent-a.json", intent())
            site.verdict("intent-a.json")
            browser.open(f"http://127.0.0.1:{server.port}/")
            browser.wait_for("document.querySelector('#sheet .row')", "its row is shown")
        browser.wait_for(
            "document.querySelector('#link').textContent === 'not connected'", "it is away"
        )
        browser.run("document.querySelector('#sheet .row').click()")
        browser.wait_for("document.querySelector('#story').open", "something is said")
        assert "No word from the daemon" in text(browser, "#story-body")
        with serving(site, "-http", f"127.0.0.1:{server.port}"):
            browser.wait_for(
                "document.querySelector('#story-title').textContent === 'intent-a.json'",
                "it is told",
            )
    assert not [told for told in browser.complaints if "exceptionDetails" in told]


def test_an_address_with_the_token_in_it_shows_everything(site: Site, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a" * 32 + "\n")
    token.chmod(0o600)
    with (
        serving(site, "-http-token-file", str(token)) as server,
        chromium(tmp_path / "profile") as browser,
    ):
        site.hand_over("intent-a.json", intent())
        site.verdict("intent-a.json")
        browser.open(f"http://any:{'a' * 32}@127.0.0.1:{server.port}/")
        browser.wait_for("document.querySelector('#sheet .row')", "its row is shown")
        browser.run("document.querySelector('#sheet .row').click()")
        browser.wait_for(
            "document.querySelector('#story-title').textContent === 'intent-a.json'",
            "and its story",
        )
        browser.wait_for("document.querySelector('#place').textContent", "and the folder")
        assert browser.complaints == []


def test_a_story_tells_the_trace_where_there_are_traces(site: Site, tmp_path: Path) -> None:
    with receiving() as receiver:
        site.environment |= receiver.environment
        with serving(site, "-traces") as server:
            site.hand_over_all({"intent-a.json": intent("amf")})
            site.wait_for_final(1)
            with opened(server, tmp_path) as browser:
                browser.open(f"http://127.0.0.1:{server.port}/#{site.intent_id('intent-a.json')}")
                browser.reload()
                browser.wait_for("document.querySelector('#story')?.open", "the address opens it")
                facts = text(browser, "#story-body .facts")
    assert str(site.verdict("intent-a.json")["trace_id"]) in facts


def test_a_published_intents_story_lists_its_files(site: Site, tmp_path: Path) -> None:
    with serving(site) as server:
        site.hand_over_all({"intent-a.json": intent("amf")})
        site.wait_for_final(1)
        (output,) = site.verdict("intent-a.json")["outputs"][:1]
        with opened(server, tmp_path) as browser:
            browser.open(f"http://127.0.0.1:{server.port}/#{site.intent_id('intent-a.json')}")
            browser.reload()
            browser.wait_for("document.querySelector('#story')?.open", "the address opens it")
            assert output["sha256"] in text(browser, "#story-body")
            browser.run("document.querySelector('#story .file summary').click()")
            delivered = (site.out / output["path"]).read_text()
            assert delivered.strip() in text(browser, "#story .file pre")


def outputs(server: Server, story: str) -> list[dict[str, str]]:
    answer: list[dict[str, str]] = json.loads(server.get(story).body)["outputs"]
    return answer


def test_a_story_tells_what_became_of_its_package(site: Site) -> None:
    with serving(site) as server:
        site.hand_over_all({"intent-a.json": intent("amf")})
        site.wait_for_final(1)
        (output,) = site.verdict("intent-a.json")["outputs"][:1]
        file, story = site.out / output["path"], f"/api/intents/{site.intent_id('intent-a.json')}"
        told = [outputs(server, story)[0]]
        file.write_text("edited: \x1b[31mby hand\n")
        told.append(outputs(server, story)[0])
        file.unlink()
        file.symlink_to("/etc/passwd")
        told.append(outputs(server, story)[0])
        file.unlink()
        told.append(outputs(server, story)[0])

    states = ["as delivered", "changed since", "cannot be shown", "gone"]
    assert [each["state"] for each in told] == states
    assert told[1]["text"] == "edited: \\x1b[31mby hand\n"
    assert [each["text"] for each in told[2:]] == ["", ""]


def test_row_41_a_script_in_a_name_or_a_message_is_shown_as_text(
    site: Site, tmp_path: Path
) -> None:
    porch = site.porch(f"echo '{SCRIPT}' >&2; exit 2")
    name = "intent-<img src=x onerror=alert(1)>.json"
    with serving(site, "-porch", porch) as server:
        site.hand_over_all({name: intent("a")})
        site.wait_for_final(1)
        with opened(server, tmp_path) as browser:
            browser.wait_for("document.querySelector('#causes button')", "the cause is shown")
            browser.wait_for("document.querySelector('#sheet .row')", "its row is shown")
            browser.run("document.querySelector('#sheet .row').click()")
            browser.wait_for("document.querySelector('#story').open", "its story is open")
            assert text(browser, "#story-title") == name
            assert SCRIPT in text(browser, "#story-body")
            assert (
                browser.run("document.querySelectorAll('main img, dialog img, dialog b').length")
                == 0
            )


def test_row_41_the_page_may_run_no_script_but_its_own(site: Site, tmp_path: Path) -> None:
    with serving(site) as server, chromium(tmp_path / "profile") as browser:
        browser.open(f"http://127.0.0.1:{server.port}/")
        browser.wait_for("document.querySelector('#link')?.textContent === 'live'", "it is live")
        browser.run(
            "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
            "document.body.append(s); })()"
        )
        assert browser.run("window.ran ?? null") is None
        assert any("Content Security Policy" in told for told in browser.complaints)


def test_five_thousand_rows_do_not_stall_the_page(site: Site, tmp_path: Path) -> None:
    count = 5_000
    site.hand_over_all({f"intent-{n:04d}.json": b"{}" for n in range(count)})
    with serving(site) as server:
        site.wait_for_final(count)
        with opened(server, tmp_path) as browser:
            browser.wait_for(
                "document.querySelector('#found').textContent === '5,000 intents'", "all are there"
            )
            assert browser.run("document.querySelectorAll('#sheet .row').length") < 60
            longest = browser.run(LONGEST_FRAME)
            # What people feel as a stall; a loaded machine gets some room.
            assert longest < 500
            browser.run("document.querySelector('#window').focus()")
            browser.press("End")
            browser.wait_for(f"{SHOWN_FILES}.includes('intent-0000.json')", "the last row")


def test_nothing_sticks_out_at_any_width(site: Site, tmp_path: Path) -> None:
    with serving(site) as server:
        site.hand_over_all({f"intent-{'x' * 200}.json": intent("amf")})
        site.wait_for_final(1)
        with opened(server, tmp_path) as browser:
            browser.wait_for("document.querySelector('#sheet .row')", "it is shown")
            for width in (360, 768, 1280):
                browser.resize(width, 800)
                assert browser.run("document.documentElement.scrollWidth") <= width


def test_the_page_follows_the_systems_choice_of_dark_and_light(site: Site, tmp_path: Path) -> None:
    with serving(site) as server, chromium(tmp_path / "profile") as browser:
        grounds = []
        for scheme in ("dark", "light"):
            browser.prefer(scheme)
            browser.open(f"http://127.0.0.1:{server.port}/?{scheme}")
            browser.wait_for("document.documentElement?.dataset.theme", "a theme is chosen")
            assert browser.run("document.documentElement.dataset.theme") == scheme
            grounds.append(browser.run("getComputedStyle(document.body).backgroundColor"))
        assert grounds[0] != grounds[1]
