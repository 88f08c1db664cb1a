// The page: what is published from here, what is watched, and how it is going.

import { Problem, json, useKeys } from "./api.js";
import { byId, element } from "./dom.js";
import { Figures, latencies } from "./figures.js";
import { Health } from "./health.js";
import { showLines } from "./lines.js";
import { News } from "./news.js";
import { Picture } from "./picture.js";
import { Pushes } from "./pushes.js";
import { Recorder } from "./recorder.js";
import { Landscape } from "./sample.js";
import { Screen } from "./screen.js";
import { Split } from "./split.js";
import { Studio } from "./studio.js";
import { Waterfall } from "./waterfall.js";
import { milliseconds } from "./words.js";

const POSTER_S = 3.2; // this moment of the sample stands behind an empty screen
const NAME = /^[A-Za-z0-9_-]{1,64}$/;
const CALLED = { whep: "WebRTC", hls: "HLS" };

const picture = new Picture();
const figures = new Figures(byId("figures"));
const waterfall = new Waterfall();
const health = new Health();
const news = new News(heard, refused);
const screen = new Screen(show, live, () => news.serverMs);
const studio = new Studio(picture, (name) => watch(name));
const split = new Split((...turned) => picture.turn(...turned), tell);
const pushes = new Pushes();
const recorder = new Recorder(tell);
let name = ""; // of the stream that is watched
let rows = null; // of all streams, in a few words; null while the server does not tell
let row = null; // all there is to know of the stream that is watched; null when it is not there
let server = null; // what it says of itself
let opening = false;
let refusedLook = false; // the server tells us nothing of its streams, but is there
let begun = false;

// Watching.

function watch(wanted) {
  name = wanted;
  row = null;
  begun = true;
  history.replaceState(null, "", `#${name}`);
  showLines(byId("lines"), name, server);
  news.about(name);
  screen.play(name);
  show();
}

const find = (wanted) => rows?.find((one) => one.name === wanted) ?? null;

// A server that tells nothing is asked all the same: it may let watch those who may not look.
function live(wanted) {
  if (!rows) return refusedLook ? undefined : false;
  const one = find(wanted);
  return Boolean(one?.plays) && one.state !== "ending";
}

function show() {
  if (!begun) return;
  const [state, told] = screen.state;
  const stage = byId("stage");
  stage.dataset.state = state;
  const playing = state === "playing";
  const nobody = state === "waiting" && rows !== null && !find(name) && !studio.busy;
  const moment = playing ? "" : rows || refusedLook ? "One moment …" : "The server does not answer.";
  say(byId("veil-text"), nobody ? `Nobody is live as “${name}”.` : told || moment);
  byId("veil-try").hidden = !nobody;
  const badge = byId("badge");
  badge.hidden = !playing;
  say(badge, row ? `${row.pipeline.name} · ${name}` : name);
  const seen = screen.figures;
  const late = latencies(row, seen);
  for (const way of Object.keys(CALLED)) {
    byId(`late-${way}`).hidden = !seen[way];
    say(byId(`late-${way}`), late[way] ? `${CALLED[way]} ${milliseconds(late[way])}` : CALLED[way]);
  }
  figures.show(row, seen);
  waterfall.show(row, seen);
  health.show(row);
  split.follow(row, playing);
  recorder.follow(row);
  pushes.follow(name, row, rows !== null);
}

function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

function tell(text) {
  say(byId("deck-told"), text);
}

// The server.

function heard(event) {
  rows = event.streams;
  row = event.watched?.name === name && event.watched.state !== "ended" ? event.watched : null;
  refusedLook = false;
  byId("server").classList.remove("wrong");
  if (server === null) open();
  else say(byId("server"), `version ${server.version}`);
  if (!begun) {
    const first = rows.find((one) => one.state === "live");
    watch(first?.name ?? byId("name").value);
    return;
  }
  list();
  picture.follow(name, row);
  show();
}

async function open() {
  if (opening) return;
  opening = true;
  try {
    const told = await json("GET", "/v1/server");
    await picture.open(told.pipeline);
    say(byId("server"), `version ${told.version}`);
    server = told;
  } catch (problem) {
    refused(problem);
  } finally {
    opening = false;
  }
  if (begun) showLines(byId("lines"), name, server);
}

function refused(problem) {
  if (!(problem instanceof Problem)) throw problem;
  rows = row = null;
  refusedLook = [401, 403].includes(problem.status);
  say(byId("server"), problem.status === 401 ? "This server asks for a key." : problem.message);
  byId("server").classList.add("wrong");
  if (!begun) watch(byId("name").value);
  list();
  show();
}

// The list of streams. A button that has the focus keeps it.
function list() {
  const held = document.activeElement?.closest?.("#streams li")?.dataset.name;
  const entries = (rows ?? []).map(entry);
  const nothing = element("li", { className: "quiet" }, "Nothing is live yet.");
  byId("streams").replaceChildren(...(entries.length ? entries : [nothing]));
  entries.find((one) => one.dataset.name === held)?.firstChild.focus();
}

function entry(one) {
  const button = element(
    "button",
    { type: "button" },
    element("b", {}, one.name),
    element("span", { className: "quiet" }, `${one.pipeline} · ${one.state}`),
    element("span", { className: "quiet" }, `${one.viewers} watching`),
  );
  button.setAttribute("aria-current", String(one.name === name));
  button.addEventListener("click", () => watch(one.name));
  const item = element("li", {}, button);
  item.dataset.name = one.name;
  return item;
}

// What the user does.

for (const input of document.getElementsByName("way")) {
  input.addEventListener("change", () => {
    tell("");
    screen.use(input.value);
    split.place();
  });
}
byId("veil-try").addEventListener("click", () => studio.publish("sample"));
byId("sound").addEventListener("click", ({ currentTarget }) => {
  const on = currentTarget.getAttribute("aria-pressed") !== "true";
  currentTarget.setAttribute("aria-pressed", String(on));
  screen.hear(on);
});
byId("full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (byId("stage").requestFullscreen) byId("stage").requestFullscreen();
  else byId("video").webkitEnterFullscreen?.();
});
byId("keys-open").addEventListener("click", () => byId("keys").showModal());
byId("keys").addEventListener("close", () => {
  useKeys(byId("key-stream").value.trim(), byId("key-api").value.trim());
  server = null;
  watch(name);
});
byId("name").addEventListener("change", ({ currentTarget }) => {
  if (currentTarget.checkValidity() && !find(name)) watch(currentTarget.value);
});
addEventListener("hashchange", () => {
  const wanted = location.hash.slice(1);
  if (NAME.test(wanted) && wanted !== name) watch(wanted);
});

const poster = byId("poster");
new Landscape(poster.width, poster.height).draw(poster.getContext("2d"), POSTER_S);
const wanted = location.hash.slice(1);
if (NAME.test(wanted)) watch(wanted);
else news.about(byId("name").value);
