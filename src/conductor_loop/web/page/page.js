// The page: follows the daemon by server-sent events and hands what it hears to its parts.

import { ask, at } from "./asking.js";
import { drawLatency, drawThroughput } from "./charts.js";
import { Rows } from "./rows.js";
import { Story } from "./story.js";
import { byId, count, make, rate, seconds } from "./words.js";

const FIRST_ROWS = 5000;
const story = new Story();
const rows = new Rows((id) => story.open(id));

const FAILED = ["failed", "timed_out", "rejected", "quarantined"];
const total = (ended, names) => names.reduce((sum, name) => sum + (ended[name] ?? 0), 0);

function mood({ vitals, live }, sample) {
  const stuck = Object.keys(live).filter((name) => !live[name]);
  if (stuck.length) return ["bad", `Stuck: ${stuck.join(", ")}`, "A loop of the daemon makes no progress. Look at its log, then restart it."];
  if (vitals.is_breaker_open) return ["bad", "Porch does not work", "Attempts wait and nothing is failed for it. One intent at a time is tried."];
  if (vitals.is_paused) return ["warn", "Paused", "An operator paused everything. To go on: conductor-loop resume"];
  const bad = (vitals.checks ?? []).find((check) => !check.ok);
  if (bad) return ["bad", "Not ready", `${bad.name}: ${bad.message ?? ""}`];
  const waiting = (vitals.waiting ?? 0) + (vitals.in_folder ?? 0);
  const speed = sample ? sample.succeeded + sample.failed : 0;
  if (vitals.running?.length || waiting || speed) {
    return ["good", "Intents flow", `${rate(speed)} a second end; ${count(waiting)} wait.`];
  }
  return ["good", "Ready and idle", "Nothing waits. Drop an intent-*.json into the handoff folder."];
}

function tile(label, text, { small = "", bad = false } = {}) {
  const value = make("dd", { className: bad ? "bad" : "" }, text);
  if (small) value.append(make("small", {}, ` ${small}`));
  return make("div", {}, make("dt", {}, label), value);
}

function showTiles({ vitals, minute, oldest_seconds: oldest }, sample) {
  const ended = vitals.counts.ended ?? {};
  const failed = total(ended, FAILED);
  const running = vitals.running?.length ?? 0;
  byId("tiles").replaceChildren(
    tile("Waiting", count((vitals.waiting ?? 0) + (vitals.in_folder ?? 0))),
    tile("Running", String(running), { small: `of ${vitals.workers ?? 0}` }),
    tile("Oldest", oldest ? seconds(oldest) : "–"),
    tile("Ended a second", rate(sample ? sample.succeeded + sample.failed : 0)),
    tile("95 % took less than", seconds(minute?.p95)),
    tile("Succeeded so far", count(ended.published ?? 0)),
    tile("Failed so far", count(failed), { bad: failed > 0 }),
  );
}

function list(id, items, none) {
  // Whoever is in there with the keyboard keeps their place.
  if (byId(id).contains(document.activeElement)) return;
  byId(id).replaceChildren(...(items.length ? items : [make("li", { className: "none" }, none)]));
}

const opener = (id, ...what) => {
  const button = make("button", { type: "button", title: what[0] }, ...what);
  button.addEventListener("click", () => story.open(id));
  return button;
};

function showRunning(attempts, now) {
  list("running", attempts.map((each) => {
    const name = opener(each.intent_id, each.name);
    name.append(make("span", { className: "why" }, each.target));
    // Also when the clock was set back; a daemon that is older than this page does not tell.
    const past = each.started_at ? Math.max(0, now - each.started_at) : null;
    return make("li", {}, name, make("span", { className: "num" }, `attempt ${each.attempt} · ${seconds(past)}`));
  }), "Nothing runs.");
}

function showNow(now) {
  const { vitals } = now;
  const sample = now.history.at(-1);
  const [kind, headline, reason] = mood(now, sample);
  byId("state").dataset.mood = kind;
  if (byId("headline").textContent !== headline) byId("headline").textContent = headline;
  byId("reason").textContent = reason;
  document.title = `${headline} · Conductor Loop`;
  showTiles(now, sample);
  drawThroughput(byId("throughput"), now.history);
  drawLatency(byId("latency"), now.history);
  showRunning(vitals.running ?? [], vitals.at);
  list("queue", now.queue.map(([target, number]) => make("li", {},
    make("span", { className: "mono", title: target }, target), make("span", { className: "num" }, count(number)))), "Nothing waits.");
  list("causes", now.causes.map((cause) => {
    const name = opener(cause.intent_id, cause.code);
    name.append(make("span", { className: "why" }, `${cause.intent_file}: ${cause.message}`));
    return make("li", {}, name, make("span", { className: "num" }, `${count(cause.count)} ×`));
  }), "Nothing failed.");
}

async function loadRows() {
  const { told, why } = await ask(`/api/intents?limit=${FIRST_ROWS}`);
  if (told) rows.take(told.intents);
  else byId("found").textContent = why;
}

function connected(is) {
  byId("link").textContent = is ? "live" : "not connected";
  byId("link").dataset.on = is ? "yes" : "no";
  if (!is) {
    byId("state").dataset.mood = "unknown";
    byId("headline").textContent = "No word from the daemon";
    byId("reason").textContent = "What stands below is what was heard last.";
  }
}

function follow() {
  const events = new EventSource(at("/api/events"));
  events.addEventListener("open", () => { connected(true); loadRows(); story.again(); });
  events.addEventListener("now", (event) => showNow(JSON.parse(event.data)));
  events.addEventListener("intents", (event) => {
    const { intents, missed } = JSON.parse(event.data);
    if (missed) loadRows();
    rows.take(intents);
    story.changed(intents.map((each) => each.intent_id));
  });
  events.addEventListener("error", () => {
    connected(false);
    // A browser gives up on its own after a refusal; we do not.
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
  });
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("theme", theme); } catch { /* private windows have none */ }
}

function beginTheme() {
  let kept = null;
  try { kept = localStorage.getItem("theme"); } catch { /* as above */ }
  const preferred = matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
  document.documentElement.dataset.theme = kept ?? preferred;
  byId("theme").addEventListener("click", () => {
    setTheme(document.documentElement.dataset.theme === "light" ? "dark" : "light");
  });
}

beginTheme();
ask("/api/about").then(({ told }) => {
  if (told) byId("place").textContent = `${told.handoff} · ${told.version}`;
});
follow();
story.follow();
