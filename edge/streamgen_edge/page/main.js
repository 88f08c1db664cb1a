// The page: what is published from here, what is watched, and how it is going.

import { Problem, json, useKeys } from "./api.js";
import { byId, element } from "./dom.js";
import { Figures } from "./figures.js";
import { showLines } from "./lines.js";
import { Picture } from "./picture.js";
import { Player } from "./player.js";
import { Landscape } from "./sample.js";
import { Studio } from "./studio.js";

const POLL_MS = 1000;
const REFUSED_MS = 3000;
const SOON_MS = 200; // while a stream of ours is expected
const POSTER_S = 3.2; // this moment of the sample stands behind an empty screen
const NAME = /^[A-Za-z0-9_-]{1,64}$/;

const picture = new Picture();
const figures = new Figures(byId("figures"));
const player = new Player(byId("video"), watched, live, look);
const studio = new Studio(picture, (name) => watch(name));
let name = ""; // of the stream that is watched
let rows = null; // as the API lists them; null while it does not
let server = null;
let told = ""; // by the player

// Watching.

function watch(wanted) {
  name = wanted;
  history.replaceState(null, "", `#${name}`);
  showLines(byId("lines"), name, server);
  player.play(name);
  show();
}

const find = (wanted) => rows?.find((one) => one.name === wanted && one.state !== "ended") ?? null;

function live(wanted) {
  return rows && Boolean(find(wanted)?.tracks.length) && find(wanted).state !== "ending";
}

function watched(state, text) {
  byId("stage").dataset.state = state;
  told = text;
  show();
}

function show() {
  const row = find(name);
  const state = byId("stage").dataset.state;
  const nobody = state === "waiting" && !row && !studio.busy;
  const moment = ["playing", "hls"].includes(state) ? "" : "One moment …";
  byId("veil-text").textContent = nobody ? `Nobody is live as “${name}”.` : told || moment;
  byId("veil-try").hidden = !nobody;
  const badge = byId("badge");
  badge.hidden = !["playing", "hls"].includes(state);
  badge.textContent = row ? `${row.pipeline.name} · ${name}` : name;
  figures.show(row, player.figures);
  byId("streams").replaceChildren(...(rows?.length ? rows.map(entry) : [nothing()]));
  picture.follow(name, row);
}

function entry(row) {
  const button = element(
    "button",
    { type: "button" },
    element("b", {}, row.name),
    element("span", { className: "quiet" }, `${row.pipeline.name} · ${row.state}`),
    element("span", { className: "quiet" }, `${row.viewers} watching`),
  );
  button.setAttribute("aria-current", String(row.name === name));
  button.addEventListener("click", () => watch(row.name));
  return element("li", {}, button);
}

const nothing = () => element("li", { className: "quiet" }, "Nothing is live yet.");

// The server.

async function open() {
  try {
    server = await json("GET", "/v1/server");
    await picture.open(server.pipeline);
    byId("server").textContent = `version ${server.version}`;
  } catch (problem) {
    refused(problem);
  }
  showLines(byId("lines"), name, server);
}

async function look() {
  try {
    rows = await json("GET", "/v1/streams");
    if (server === null) await open();
    byId("server").classList.remove("wrong");
  } catch (problem) {
    rows = null;
    refused(problem);
  }
}

async function poll() {
  if (!document.hidden) {
    await look();
    show();
  }
  const expected = studio.busy && byId("stage").dataset.state !== "playing";
  setTimeout(poll, !rows ? REFUSED_MS : expected ? SOON_MS : POLL_MS);
}

function refused(problem) {
  if (!(problem instanceof Problem)) throw problem;
  byId("server").textContent =
    problem.status === 401 ? "This server asks for a key." : problem.message;
  byId("server").classList.add("wrong");
}

// What the user does.

byId("veil-try").addEventListener("click", () => studio.publish("sample"));
byId("sound").addEventListener("click", ({ currentTarget }) => {
  const video = byId("video");
  video.muted = !video.muted;
  currentTarget.setAttribute("aria-pressed", String(!video.muted));
  video.play().catch(() => null);
});
byId("video").addEventListener("resize", ({ currentTarget: { videoWidth, videoHeight, dataset } }) => {
  dataset.fills = Math.abs((videoWidth * 9) / (videoHeight * 16) - 1) < 0.01; // up to rounding
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
await look();
const first = rows?.find((row) => row.state === "live");
watch(NAME.test(wanted) ? wanted : (first?.name ?? byId("name").value));
poll();
