// The cluster's page: one question each second while somebody looks, and what its answer shows.

import { Problem, json, useKey } from "./api.js";
import { byId, pause } from "./dom.js";
import { leading, showFigures, showNotice, title } from "./glance.js";
import { showLoad } from "./load.js";
import { showEdges, showJobs, showNews } from "./news.js";
import { showNodes, watchNodes } from "./nodes.js";
import { showStreams } from "./streams.js";
import { say } from "./table.js";
import { count } from "./words.js";

const EVERY_MS = 1000;
const LONGEST_WAIT_MS = 5000;
const PATIENCE_MS = 8000;
const STEP = 100;
const TYPED_MS = 200;
const REFUSED = [401, 403];
const LEADERS = "#find, #figures, .load, .nodes, .streams, .of-edges"; // a standby has none

let most = STEP;
let failures = 0;
let asking = new AbortController(); // ends the pause: there is something to ask at once

async function look() {
  for (;;) {
    if (!document.hidden) await once();
    const waits = Math.min(EVERY_MS * 2 ** Math.min(failures, 4), LONGEST_WAIT_MS);
    asking = new AbortController();
    await pause(document.hidden ? 2 ** 30 : waits, asking.signal);
  }
}

const now = () => asking.abort();

async function once() {
  const find = byId("find").value.trim();
  const path = `/v1/cluster?most=${most}&find=${encodeURIComponent(find)}`;
  try {
    show(await json("GET", path, AbortSignal.timeout(PATIENCE_MS)), find);
    failures = 0;
    delete document.body.dataset.stale;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    failures += 1;
    wrong(problem);
  }
}

function wrong(problem) {
  document.body.dataset.stale = "";
  byId("server").className = "wrong";
  say(byId("server"), problem.message);
  if (!REFUSED.includes(problem.status)) return;
  failures = 4; // until there is another token
  if (problem.status === 401 && byId("key-open").hidden) byId("key").showModal();
  byId("key-open").hidden = false;
}

function show(told, find) {
  byId("server").className = "quiet";
  say(byId("server"), leading(told));
  showNotice(told);
  document.querySelector("main").dataset.is = told.leads ? "leads" : "stands by";
  for (const part of document.querySelectorAll(LEADERS)) part.hidden = !told.leads;
  showNews(told.events);
  showJobs(told.jobs);
  showEdges(told.edges ?? []);
  document.title = title(told);
  if (!told.leads) return;
  showFigures(told);
  showLoad(told.load);
  showNodes(told.nodes, find);
  showStreams(told.streams, find);
  more("nodes", told.nodes);
  more("streams", told.streams);
}

function more(kind, { found, rows }) {
  say(byId(`${kind}-of`), rows.length < found ? `${count(rows.length)} of ${count(found)}` : "");
  const button = byId(`${kind}-more`);
  button.hidden = rows.length >= found || most >= 1000;
  say(button, `Show ${STEP} more`);
}

for (const kind of ["nodes", "streams"]) {
  byId(`${kind}-more`).addEventListener("click", () => ((most += STEP), now()));
}
let typed = 0;
byId("find").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(now, TYPED_MS);
});
byId("key-open").addEventListener("click", () => byId("key").showModal());
byId("key").addEventListener("close", () => {
  if (byId("key").returnValue !== "ok") return;
  useKey(byId("key-text").value.trim());
  byId("key-text").value = "";
  now();
});
document.addEventListener("visibilitychange", now);
watchNodes(now);
look();
