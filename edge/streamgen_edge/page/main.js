// The page: what is published from here, what is watched, and how it is going.

import { Problem, json, useKeys } from "./api.js";
import { byId, element } from "./dom.js";
import { Figures } from "./figures.js";
import { showLines } from "./lines.js";
import { Picture } from "./picture.js";
import { Player } from "./player.js";
import { Studio } from "./studio.js";

const POLL_MS = 1000;
const NAME = /^[A-Za-z0-9_-]{1,64}$/;

const picture = new Picture();
const figures = new Figures(byId("figures"));
const player = new Player(byId("video"), watched);
const studio = new Studio(picture, (name) => watch(name));
let name = ""; // of the stream that is watched
let rows = [];
let server = null;

// Watching.

function watch(wanted) {
  name = wanted;
  history.replaceState(null, "", `#${name}`);
  showLines(byId("lines"), name, server);
  player.play(name);
  show();
}

function watched(state, text) {
  byId("stage").dataset.state = state;
  byId("veil-text").textContent =
    state === "waiting" && !studio.busy ? `Nobody publishes “${name}” now.` : text || "One moment …";
  byId("veil-try").hidden = state !== "waiting" || studio.busy;
  show();
}

function show() {
  const row = rows.find((one) => one.name === name && one.state !== "ended") ?? null;
  const badge = byId("badge");
  const playing = ["playing", "hls"].includes(byId("stage").dataset.state);
  badge.hidden = !playing;
  badge.textContent = row ? `${row.pipeline.name} · ${name}` : name;
  figures.show(row, player.figures);
  byId("streams").replaceChildren(...(rows.length ? rows.map(entry) : [nothing()]));
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

async function poll() {
  if (!document.hidden) {
    try {
      rows = await json("GET", "/v1/streams");
      if (server === null) await open();
      byId("server").classList.remove("wrong");
      show();
    } catch (problem) {
      refused(problem);
    }
  }
  setTimeout(poll, POLL_MS);
}

function refused(problem) {
  if (!(problem instanceof Problem)) throw problem;
  byId("server").textContent = problem.message;
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
  const live = rows.some((row) => row.name === name && row.state !== "ended");
  if (currentTarget.checkValidity() && !live) watch(currentTarget.value);
});
addEventListener("hashchange", () => {
  const wanted = location.hash.slice(1);
  if (NAME.test(wanted) && wanted !== name) watch(wanted);
});

const wanted = location.hash.slice(1);
await open();
rows = await json("GET", "/v1/streams").catch(() => []);
const first = rows.find((row) => row.state === "live");
watch(NAME.test(wanted) ? wanted : (first?.name ?? byId("name").value));
poll();
