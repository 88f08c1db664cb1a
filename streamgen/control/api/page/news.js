// What happened of late, newest first; jobs; edges.

import { byId, element } from "./dom.js";
import { say } from "./table.js";
import { count, duration, file, reason, some } from "./words.js";

const JOB_STATES = {
  waiting: ["some", "waits"],
  done: ["good", "done"],
  failed: ["wrong", "failed"],
  cancelled: ["off", "cancelled"],
};

// [how it is marked, words] of each kind.
const TOLD = {
  leads: (one) => ["good", one.name, "leads"],
  "leads no more": (one) => ["some", one.name, "leads no more"],
  "node came": (one) => ["good", one.name, "came in"],
  "node left": (one) => ["off", one.name, "left"],
  "node died": (one) => ["wrong", one.name, `died${one.reason && `: ${one.reason}`}`],
  drains: (one) => ["some", one.name, "drains"],
  "used again": (one) => ["good", one.name, "is used again"],
  drained: (one) => ["off", one.name, "is empty"],
  moves: (one) => ["move", one.name, `moves from ${one.source} to ${one.node}`],
  takeovers: (one) => ["some", one.name, `was taken over, from ${one.source} to ${one.node}`],
  waits: (one) => ["some", one.name, `waits: ${reason(one.reason)}`],
  refusals: (one) => ["wrong", one.name, `was refused: ${reason(one.reason)}`],
};
const known = new Map();

// Put `rows` as list items, made anew only where their words have changed.
function list(place, rows) {
  const said = JSON.stringify(rows.map((row) => row.words));
  if (known.get(place) === said) return;
  known.set(place, said);
  place.replaceChildren(...rows.map((row) => row.make(...row.words)));
}

export function showNews(events) {
  byId("news").hidden = events.length === 0;
  byId("news-none").hidden = events.length > 0;
  const rows = events.map((one) => {
    const [is, name, words] = (TOLD[one.kind] ?? (() => ["off", one.kind, one.name]))(one);
    return { words: [is, name, words, duration(one.ago_ms)], make: entry };
  });
  list(byId("news"), rows);
}

function entry(is, name, words, ago) {
  const text = element("span", {}, element("b", {}, name), words && ` ${words}`);
  const line = element("li", {}, text, element("small", {}, `${ago} ago`));
  line.dataset.is = is;
  return line;
}

export function showJobs(jobs) {
  byId("jobs-panel").hidden = jobs === null;
  if (jobs === null) return;
  const open = jobs.states.waiting ?? 0;
  const failed = jobs.states.failed ? `, ${count(jobs.states.failed)} failed` : "";
  say(byId("jobs-of"), `${count(open)} open, ${count(jobs.states.done ?? 0)} done${failed}`);
  const rows = jobs.rows.map((one) => {
    const at = one.pieces_under_way;
    const [is, word] = JOB_STATES[one.state] ?? ["off", one.state];
    const under = one.state === "waiting" && (at || one.pieces_done);
    const state = under ? `${one.pieces_done} of ${some(one.pieces, "piece", "pieces")}` : word;
    const part = one.pieces ? one.pieces_done / one.pieces : 0;
    const marks = [under ? "good" : is, one.state === "waiting" ? part : -1];
    return { words: [file(one.output) || one.name, state, one.error ?? "", ...marks], make: job };
  });
  list(byId("jobs"), rows);
}

function job(name, state, error, is, part) {
  const told = element("span", { className: "state" }, state);
  told.dataset.is = is;
  const line = element("li", {}, element("b", {}, name), told);
  if (part >= 0) {
    const bar = element("i", { role: "progressbar" });
    bar.setAttribute("aria-label", name);
    bar.setAttribute("aria-valuenow", Math.round(part * 100));
    bar.style.setProperty("--share", part);
    line.append(bar);
  }
  if (error) line.append(element("small", {}, error));
  return line;
}

export function showEdges(edges) {
  byId("edges").hidden = edges.length === 0;
  byId("edges-none").hidden = edges.length > 0;
  const rows = edges.map((one) => ({
    words: [one.name, one.place, some(one.streams, "stream", "streams")],
    make: edge,
  }));
  list(byId("edges"), rows);
}

function edge(name, place, streams) {
  return element("li", {}, element("b", {}, name), element("small", {}, streams), element("code", {}, place));
}
