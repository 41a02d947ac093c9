// Two small charts over time, drawn as SVG.

import { rate, seconds } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 46, RIGHT = 6, TOP = 6, BOTTOM = 20, LONGEST = 900, SHORTEST = 120;
// Samples are five seconds apart; where two are further, nobody knows what was between.
const GAP_SECONDS = 12;

function shape(tag, attributes, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

function niceTop(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most);
}

class Plane {
  constructor(svg, most, samples, label) {
    this.svg = svg;
    this.width = svg.clientWidth || 600;
    this.height = svg.clientHeight || 150;
    this.top = niceTop(most);
    this.until = newest(samples);
    this.span = Math.min(LONGEST, Math.max(SHORTEST, this.until - (samples[0]?.at ?? this.until)));
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    for (const share of [0, 0.5, 1]) this.line(share * this.top, label);
    this.moment(Math.round(this.span / 60), "start");
    this.moment(0, "end");
  }
  x(at) { return LEFT + (this.width - LEFT - RIGHT) * (1 - (this.until - at) / this.span); }
  y(value) { return TOP + (this.height - TOP - BOTTOM) * (1 - Math.min(value / this.top, 1)); }
  line(value, label) {
    const y = this.y(value);
    this.svg.append(shape("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }));
    this.svg.append(shape("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, label(value)));
  }
  moment(minutes, anchor) {
    const x = minutes ? LEFT : this.width - RIGHT;
    const text = minutes ? `${minutes} min ago` : "now";
    this.svg.append(shape("text", { x, y: this.height - 4, "text-anchor": anchor }, text));
  }
  /** Points of moment and value, which is null where nothing was measured. */
  path(points, className, { filled = false } = {}) {
    for (const run of unbroken(points)) {
      if (run.length === 1) this.dot(run[0], className);
      else this.stroke(run, className, filled);
    }
  }
  dot([at, value], className) {
    this.svg.append(shape("circle", { class: className, cx: this.x(at).toFixed(1), cy: this.y(value).toFixed(1), r: 2.5 }));
  }
  stroke(points, className, filled) {
    const dots = points.map(([at, value]) => `${this.x(at).toFixed(1)},${this.y(value).toFixed(1)}`);
    const floor = this.y(0);
    const [first, last] = [this.x(points[0][0]), this.x(points.at(-1)[0])];
    const d = filled ? `M${first},${floor}L${dots.join("L")}L${last},${floor}Z` : `M${dots.join("L")}`;
    this.svg.append(shape("path", { class: className, d }));
  }
}

/** Runs of points between which nothing is missing. */
function unbroken(points) {
  const runs = [];
  let before = null;
  for (const point of points) {
    const [at, value] = point;
    if (value === null) {
      before = null;
      continue;
    }
    if (before === null || at - before > GAP_SECONDS) runs.push([]);
    runs.at(-1).push(point);
    before = at;
  }
  return runs;
}

const newest = (samples) => samples.at(-1)?.at ?? Date.now() / 1000;

export function drawThroughput(svg, samples) {
  const most = Math.max(1, ...samples.map((s) => s.succeeded + s.failed));
  const plane = new Plane(svg, most, samples, rate);
  plane.path(samples.map((s) => [s.at, s.succeeded + s.failed]), "good", { filled: true });
  if (samples.some((s) => s.failed)) plane.path(samples.map((s) => [s.at, s.failed]), "bad", { filled: true });
  const last = samples.at(-1);
  svg.setAttribute("aria-label", last
    ? `Now ${rate(last.succeeded)} a second succeed and ${rate(last.failed)} fail; at most ${rate(most)} ended a second`
    : "No figures yet");
}

export function drawLatency(svg, samples) {
  const known = samples.filter((s) => s.p95 !== null);
  const most = Math.max(0.01, ...known.map((s) => s.p95));
  const plane = new Plane(svg, most, samples, (value) => (value ? seconds(value) : "0"));
  plane.path(samples.map((s) => [s.at, s.p95]), "two");
  plane.path(samples.map((s) => [s.at, s.p50]), "one");
  const last = known.at(-1);
  svg.setAttribute("aria-label", last
    ? `Half took less than ${seconds(last.p50)}, 95 percent less than ${seconds(last.p95)}`
    : "No figures yet");
}
