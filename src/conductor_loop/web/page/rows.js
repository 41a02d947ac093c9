// The list of intents: filter, search, and only as many rows in the page as can be seen.

import { ask } from "./asking.js";
import { badge, byId, clock, count, make, seconds } from "./words.js";

const HEIGHT = 36, SPARE = 8, MOST = 5000;
const FILTERS = {
  all: null,
  open: ["waiting", "running", "backing_off"],
  succeeded: ["published"],
  failed: ["failed", "timed_out", "rejected", "quarantined"],
  "not run": ["duplicate", "skipped"],
};

export class Rows {
  constructor(open) {
    this.open = open;
    this.intents = new Map();
    this.shown = [];
    this.chosen = -1;
    this.filter = "all";
    this.view = byId("window");
    this.sheet = byId("sheet");
    this.search = byId("search");
    this.drawn = new Map();
    this.buildFilters();
    this.search.addEventListener("input", () => this.refresh());
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !this.shown.length) this.find(this.search.value.trim());
    });
    this.view.addEventListener("scroll", () => this.draw(), { passive: true });
    this.view.addEventListener("keydown", (event) => this.move(event));
    new ResizeObserver(() => this.draw()).observe(this.view);
  }

  buildFilters() {
    for (const name of Object.keys(FILTERS)) {
      const button = make("button", { type: "button", "aria-pressed": name === "all" }, name);
      button.addEventListener("click", () => {
        this.filter = name;
        for (const each of byId("filters").children) each.setAttribute("aria-pressed", each === button);
        this.refresh();
      });
      byId("filters").append(button);
    }
  }

  take(intents) {
    for (const intent of intents) {
      intent.words = [intent.intent_file, intent.target ?? "", intent.intent_id, intent.submitted_by, intent.correlation_id ?? ""]
        .join("\n").toLowerCase();
      this.intents.set(intent.intent_id, intent);
    }
    if (this.intents.size > MOST + 500) {
      const kept = [...this.intents.values()].sort((a, b) => b.seq - a.seq).slice(0, MOST);
      this.intents = new Map(kept.map((each) => [each.intent_id, each]));
    }
    this.refresh();
  }

  refresh() {
    const states = FILTERS[this.filter];
    const words = this.search.value.trim().toLowerCase();
    const chosen = this.shown[this.chosen]?.intent_id;
    this.shown = [...this.intents.values()]
      .filter((each) => (!states || states.includes(each.state)) && each.words.includes(words))
      .sort((a, b) => b.seq - a.seq);
    this.chosen = chosen ? this.shown.findIndex((each) => each.intent_id === chosen) : -1;
    this.sheet.style.height = `${this.shown.length * HEIGHT}px`;
    this.view.setAttribute("aria-rowcount", this.shown.length + 1);
    const all = this.intents.size;
    const hint = words && !this.shown.length ? "; Enter looks for an older file of exactly this name" : "";
    byId("found").textContent = this.shown.length === all
      ? `${count(all)} ${all === 1 ? "intent" : "intents"}`
      : `${count(this.shown.length)} of the newest ${count(all)} match${hint}`;
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.view.scrollTop / HEIGHT) - SPARE);
    const last = Math.min(this.shown.length, Math.ceil((this.view.scrollTop + this.room) / HEIGHT) + SPARE);
    const wanted = new Map();
    for (let index = first; index < last; index += 1) {
      const intent = this.shown[index];
      const old = this.drawn.get(intent.intent_id);
      const row = old?.intent === intent ? old.row : this.row(intent);
      row.style.top = `${index * HEIGHT}px`;
      row.setAttribute("aria-rowindex", index + 2);
      row.setAttribute("aria-selected", index === this.chosen);
      wanted.set(intent.intent_id, { intent, row });
    }
    for (const [id, { row }] of this.drawn) if (wanted.get(id)?.row !== row) row.remove();
    this.drawn = wanted;
    this.arrange([...wanted.values()].map(({ row }) => row));
    this.point();
  }

  // A screen reader reads in the order of the document, wherever a row stands on the screen.
  arrange(inOrder) {
    inOrder.forEach((row, index) => {
      const there = this.sheet.children[index] ?? null;
      if (there !== row) this.sheet.insertBefore(row, there);
    });
  }

  // Focus stays on the grid, which names its active row, as long as that one is drawn.
  point() {
    const id = this.shown[this.chosen]?.intent_id;
    if (this.drawn.has(id)) this.view.setAttribute("aria-activedescendant", `row-${id}`);
    else this.view.removeAttribute("aria-activedescendant");
  }

  // The head lies over the first row's height.
  get room() {
    return this.view.clientHeight - HEIGHT;
  }

  row(intent) {
    const cell = (className, ...children) => make("span", { role: "gridcell", className }, ...children);
    const took = intent.final_at ? (new Date(intent.final_at) - new Date(intent.received_at)) / 1000 : null;
    const row = make("div", { role: "row", className: "row", id: `row-${intent.intent_id}` },
      cell("", badge(intent.state)),
      cell("mono", intent.intent_file),
      cell("mono faint", intent.target ?? "–"),
      cell("num faint", clock(intent.received_at)),
      cell("num faint", seconds(took)));
    row.title = intent.intent_file;
    row.addEventListener("click", () => this.choose(intent.intent_id));
    return row;
  }

  choose(id) {
    this.chosen = this.shown.findIndex((each) => each.intent_id === id);
    this.draw();
    this.open(id);
  }

  move(event) {
    const page = Math.max(1, Math.floor(this.room / HEIGHT) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" && this.shown[this.chosen]) this.open(this.shown[this.chosen].intent_id);
    if (!(event.key in steps) || !this.shown.length) return;
    event.preventDefault();
    this.chosen = Math.min(Math.max(this.chosen + steps[event.key], 0), this.shown.length - 1);
    const top = this.chosen * HEIGHT;
    if (top < this.view.scrollTop) this.view.scrollTop = top;
    if (top + HEIGHT > this.view.scrollTop + this.room) this.view.scrollTop = top + HEIGHT - this.room;
    this.draw();
  }

  async find(name) {
    const { told, status, why } = await ask(`/api/find?${new URLSearchParams({ name })}`);
    if (told) this.open(told.intent_id);
    else byId("found").textContent = status === 404 ? `no intent was ever handed over as ${name}` : why;
  }
}
