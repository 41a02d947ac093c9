// Figures and moments in words, and elements from text. Nothing is ever put in as markup.

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "role") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.0995) return `${Math.round(value * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 99.5) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  if (value < 129600) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86400)} d`;
}

export function count(value) {
  return value.toLocaleString("en");
}

export function rate(value) {
  return value > 0 && value < 9.95 ? value.toFixed(1) : count(Math.round(value));
}

export function clock(iso) {
  if (!iso) return "–";
  const then = new Date(iso);
  const time = then.toLocaleTimeString("en-GB");
  const isToday = then.toDateString() === new Date().toDateString();
  return isToday ? time : `${then.toLocaleDateString("en-CA")} ${time}`;
}

export const stateWords = {
  waiting: "waiting", running: "running", backing_off: "backing off", published: "published",
  failed: "failed", timed_out: "timed out", rejected: "rejected", quarantined: "quarantined",
  duplicate: "duplicate", skipped: "skipped",
};

export function badge(state) {
  return make("span", { className: `badge ${state}` }, stateWords[state] ?? state);
}
