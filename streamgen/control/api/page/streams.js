// Streams: who carries them, who waits and why.

import { byId, element } from "./dom.js";
import { Table, say } from "./table.js";
import { duration, epoch, epochTitle, reason, sentence } from "./words.js";

const STATES = {
  waiting: ["wrong", "Waiting"],
  starting: ["some", "Starting"],
  moving: ["some", "Moving"],
  running: ["good", "Running"],
};
const STANDINGS = {
  live_paid: "",
  live_free: "free",
  batch_paid: "batch",
  batch_free: "batch, free",
};
const COLUMNS = [
  ["name", "Stream"],
  ["pipeline", "Pipeline"],
  ["standing", "State"],
  ["place", "Node"],
  ["edge", "Edge"],
  ["epoch", "Epoch"],
  ["since", "Since"],
];
const table = new Table(byId("streams-table"), { make, fill });

export function showStreams(streams, find) {
  byId("streams-table").hidden = streams.rows.length === 0;
  byId("streams-none").hidden = streams.rows.length > 0;
  say(byId("streams-none"), find ? "No stream is found by that." : "Nobody wants a stream.");
  table.show(COLUMNS, streams.rows);
}

function make(row, cells) {
  cells.name.append(element("b", {}, row.name));
  cells.pipeline.append(element("span"), element("small"));
  cells.standing.append(element("span", { className: "state" }), element("small"));
}

function fill(cells, row, line) {
  const [is, word] = STATES[row.state];
  const owner = row.owner;
  const [profile, standing] = cells.pipeline.children;
  say(profile, row.profile);
  say(standing, STANDINGS[row.standing] ?? row.standing);
  const [state, why] = cells.standing.children;
  state.dataset.is = is;
  say(state, word);
  say(why, owner ? given(owner) : waits(row));
  const next = row.next ? ` → ${row.next.node}` : "";
  const number = owner && (row.next ?? owner).epoch;
  put(cells.place, owner && owner.node + next);
  put(cells.edge, row.edge);
  put(cells.epoch, owner && epoch(number));
  put(cells.since, owner && duration(owner.for_ms));
  cells.epoch.title = owner ? epochTitle(number) : "";
  line.dataset.is = row.state;
}

function put(cell, text) {
  say(cell, text || "–");
  cell.classList.toggle("none", !text);
}

function given(owner) {
  return owner.given_up === "nothing" ? "" : `without ${owner.given_up}`;
}

function waits(row) {
  if (row.reason === null) return "";
  const soon = row.earliest_in_ms;
  return sentence(reason(row.reason)) + (soon === null ? "" : `; room in ${duration(soon)} at the earliest`);
}
