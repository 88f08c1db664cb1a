// Nodes: how they stand, how full they are, and emptying one.

import { Problem, json } from "./api.js";
import { byId, element } from "./dom.js";
import { Table, say } from "./table.js";
import { DIMENSIONS, amount, duration, level, percent, share, some } from "./words.js";

const SILENT_MS = 1500;
const STATES = {
  up: ["good", "Up", ""],
  draining: ["some", "Draining", "Its streams leave, one at a time."],
  drained: ["off", "Drained", "It is empty and may be stopped."],
  resting: ["some", "Resting", "It failed of late, and is given time."],
  suspect: ["wrong", "Suspect", "An edge hears nothing from it."],
};

const table = new Table(byId("nodes"), { make, fill });
let changed = () => {};

// `then()` is called when something was asked of the coordinator.
export function watchNodes(then) {
  changed = then;
}

export function showNodes(nodes, find) {
  const shown = Object.keys(DIMENSIONS).filter((one) => nodes.rows.some((row) => row.load[one]));
  const loads = shown.map((one) => [one, DIMENSIONS[one][0]]);
  const columns = [["name", "Node"], ["standing", "State"], ...loads];
  columns.push(["number", "Streams"], ["act", "Drain", "unseen"]);
  byId("nodes").hidden = nodes.rows.length === 0;
  byId("nodes-none").hidden = nodes.rows.length > 0;
  say(byId("nodes-none"), find ? "No node has that in its name." : "No node has come in.");
  table.show(columns, nodes.rows);
}

function make(row, cells) {
  cells.name.append(element("b", {}, row.name), element("small"));
  cells.standing.append(element("span", { className: "state" }));
  for (const dimension of Object.keys(DIMENSIONS)) {
    if (!cells[dimension]) continue;
    cells[dimension].classList.add("meter");
    cells[dimension].append(element("span"), element("i", { ariaHidden: "true" }));
  }
  cells.number.append(element("span"), element("small"));
  const button = element("button", { type: "button", className: "plain" });
  button.addEventListener("click", () => act(row.name, button.dataset));
  cells.act.append(button);
}

function fill(cells, row) {
  const [is, word, why] = STATES[row.state];
  const [state] = cells.standing.children;
  const silent = row.silent_ms > SILENT_MS;
  state.dataset.is = silent && is === "good" ? "some" : is;
  say(state, word);
  state.title = why;
  say(cells.name.lastChild, silent ? `not heard for ${duration(row.silent_ms)}` : row.models.join(", "));
  for (const dimension of Object.keys(DIMENSIONS)) {
    if (cells[dimension]) fillLoad(cells[dimension], dimension, row.load[dimension]);
  }
  const [streams, pieces] = cells.number.children;
  say(streams, String(row.streams.length));
  say(pieces, row.pieces ? some(row.pieces, "piece", "pieces") : "");
  pieces.title = "Of jobs, made in what streams leave";
  const [button] = cells.act.children;
  button.dataset.draining = row.draining ? "yes" : "";
  button.dataset.streams = row.streams.length;
  say(button, row.draining ? "Use again" : "Drain");
  button.setAttribute("aria-label", `${button.textContent}: ${row.name}`);
}

function fillLoad(cell, dimension, load) {
  const [text, bar] = cell.children;
  bar.hidden = !load;
  cell.title = load ? amount(dimension, load) : "";
  if (!load) return say(text, "–");
  bar.dataset.is = level(share(load));
  bar.style.setProperty("--share", Math.min(share(load), 1));
  say(text, percent(share(load)));
}

async function act(name, { draining, streams }) {
  if (!draining && !(await sure(name, Number(streams)))) return;
  const path = `/v1/nodes/${encodeURIComponent(name)}/drain`;
  try {
    await json(draining ? "DELETE" : "POST", path);
    say(byId("nodes-told"), draining ? `${name} is used again.` : `${name} drains.`);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    say(byId("nodes-told"), problem.message);
  }
  changed();
}

function sure(name, streams) {
  const dialog = byId("drain");
  byId("drain-title").textContent = `Drain ${name}?`;
  const moving = streams
    ? `${some(streams, "stream moves", "streams move")} away, one at a time, at key frames.`
    : "It carries nothing now.";
  byId("drain-text").textContent = `Nothing new comes to it. ${moving}`;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "ok"), { once: true });
  });
}
