// At a glance: who leads, what is wrong, and a few figures.

import { byId, element } from "./dom.js";
import { say } from "./table.js";
import { count, duration, some } from "./words.js";

export function leading({ leads, leader, name }) {
  if (leads) return `${name} leads, epoch ${leader.epoch}, for ${duration(leader.for_ms)}`;
  return leader ? `${leader.name} leads, epoch ${leader.epoch}` : "Nobody leads";
}

export function title(told) {
  if (!told.leads) return "streamgen cluster: stands by";
  const { waiting } = told.streams.states;
  return waiting ? `(${waiting} waiting) streamgen cluster` : "streamgen cluster";
}

export function showNotice({ leads, leader, store }) {
  const words = [];
  if (!leads) words.push(leader ? standby(leader) : NOBODY);
  if (!store.answers) words.push("The store does not answer.");
  byId("notice").hidden = words.length === 0;
  say(byId("notice"), words.join(" "));
}

const NOBODY = "Nobody leads. Streams run on; new ones, and those whose node dies, wait.";
const standby = ({ name }) =>
  `This coordinator stands by. ${name} leads: its page shows the cluster.`;

export function showFigures({ nodes, streams, jobs, edges, store }) {
  const { running, starting, moving, waiting } = streams.states;
  const unwritten = store.unwritten_rows;
  const rows = {
    Nodes: [count(nodes.states.up ?? 0), notUp(nodes.states)],
    "Streams running": [count(running + moving), moving ? `${count(moving)} moving` : ""],
    Starting: [count(starting), ""],
    Waiting: [count(waiting), waiting ? "for room, or for nodes" : ""],
    Edges: [count(edges.length), unwritten ? `${some(unwritten, "row", "rows")} unwritten` : ""],
    Jobs: [jobs ? count(jobs.states.waiting ?? 0) : "–", jobs ? "open" : "none"],
  };
  const place = byId("figures");
  if (place.childElementCount === 0) place.append(...Object.keys(rows).map(figure));
  Object.entries(rows).forEach(([name, [number, words]], at) => {
    const [, told] = place.children[at].children;
    say(told.children[0], number);
    say(told.children[1], words);
    place.children[at].dataset.is = name === "Waiting" && waiting ? "wrong" : "";
  });
}

function figure(name) {
  const told = element("dd", {}, element("b"), element("small"));
  return element("div", {}, element("dt", {}, name), told);
}

function notUp({ draining = 0, drained = 0, resting = 0, suspect = 0 }) {
  const kinds = { draining: draining + drained, resting, suspect };
  const there = Object.entries(kinds).filter(([, number]) => number);
  return there.map(([word, number]) => `${count(number)} ${word}`).join(", ") || "all up";
}
