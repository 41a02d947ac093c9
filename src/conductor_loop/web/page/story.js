// One intent's whole story, in a dialog; the address carries its id, so it can be passed on.

import { ask } from "./asking.js";
import { badge, byId, clock, make, stateWords } from "./words.js";

export class Story {
  constructor() {
    this.dialog = byId("story");
    this.shownId = "";
    byId("close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => {
      this.shownId = "";
      history.replaceState(null, "", location.pathname);
    });
    addEventListener("hashchange", () => this.follow());
  }

  follow() {
    const id = location.hash.slice(1).toUpperCase();
    if (/^[0-9A-HJKMNP-TV-Z]{26}$/.test(id)) this.open(id);
  }

  async open(id) {
    history.replaceState(null, "", `#${id}`);
    this.shownId = id;
    const { told, why } = await ask(`/api/intents/${id}`);
    if (this.shownId !== id) return;
    if (told) this.show(told);
    else {
      byId("story-title").textContent = "This intent cannot be shown";
      byId("story-body").replaceChildren(make("p", {}, why));
    }
    if (!this.dialog.open) this.dialog.showModal();
  }

  changed(ids) {
    if (ids.includes(this.shownId)) this.again();
  }

  again() {
    if (this.shownId) this.open(this.shownId);
  }

  show(intent) {
    byId("story-title").textContent = intent.intent_file;
    const facts = make("dl", { className: "facts" });
    const fact = (label, ...what) => facts.append(make("dt", {}, label), make("dd", { className: "mono" }, ...what));
    facts.append(make("dt", {}, "now"), make("dd", {}, badge(intent.state)));
    fact("id", intent.intent_id);
    for (const [label, text] of intent.facts) fact(label, text);
    if (intent.trace_id) fact("trace", intent.trace_id);
    for (const other of intent.same_name) {
      const link = make("a", { href: `#${other.intent_id}` }, other.intent_id);
      fact("same name", link, ` (${stateWords[other.state]})`);
    }
    const parts = [facts];
    if (intent.remedy) parts.push(make("h3", {}, "What to do"), this.remedy(intent));
    parts.push(make("h3", {}, "What happened"), this.steps(intent.steps));
    if (intent.outputs.length) parts.push(make("h3", {}, "Package"), this.outputs(intent));
    parts.push(make("h3", {}, "The same in a terminal"), this.command(intent.why));
    byId("story-body").replaceChildren(...parts);
  }

  remedy(intent) {
    return intent.retry ? this.command(intent.retry) : make("p", {}, intent.remedy);
  }

  steps(steps) {
    const list = make("ol", { className: "steps" });
    for (const step of steps) {
      const item = make("li", {}, make("time", { dateTime: step.at }, `${clock(step.at)} · entry ${step.seq}`), step.headline);
      if (step.evidence.length) item.append(make("pre", {}, step.evidence.join("\n")));
      list.append(item);
    }
    return list;
  }

  outputs({ outputs, outputs_notes }) {
    const files = outputs.map((each) => {
      const head = make("summary", {}, make("span", { className: "mono" }, each.path), ` ${each.state}`);
      const body = make("pre", {}, each.text || `(${each.state})`);
      const digest = make("p", { className: "digest mono" }, `SHA-256 as delivered: ${each.sha256}`);
      return make("details", { className: "file" }, head, digest, body);
    });
    const notes = outputs_notes.map((note) => make("p", { className: "note" }, note));
    return make("div", {}, ...files, ...notes);
  }

  command(text) {
    const copy = make("button", { type: "button" }, "Copy");
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    });
    // Browsers offer the clipboard to secure pages only.
    copy.hidden = !navigator.clipboard;
    return make("div", { className: "command" }, make("pre", {}, text), copy);
  }
}
