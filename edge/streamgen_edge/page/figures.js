// The line of figures under the picture.

import { element } from "./dom.js";

const NAMES = ["State", "Frames", "Latency", "Picture", "Viewers", "Dropped"];
const HINTS = {
  Frames: "Shown here; below it what the first stage takes for one.",
  Latency: "From the server's door to this screen. What the publisher takes cannot be seen here.",
  Viewers: "By WebRTC. Nobody can count HLS players.",
  Dropped: "Pictures that came to the server and did not leave it, with the reason.",
};

export class Figures {
  #cells = {};

  constructor(list) {
    for (const name of NAMES) {
      const value = element("b", {}, "–");
      const note = element("small");
      const cell = element("div", { title: HINTS[name] ?? "" });
      cell.append(element("dt", {}, name), element("dd", {}, value, note));
      list.append(cell);
      this.#cells[name] = { value, note };
    }
  }

  // `row` as the API tells of the stream, or null; `seen` as the player reads it, or null.
  show(row, seen) {
    this.#set("State", row ? row.state : "–", row?.error ?? sayPublisher(row));
    const server = row?.stats?.fps;
    const fps = seen?.fps || (row?.state === "live" ? server : 0);
    this.#set("Frames", fps ? `${Math.round(fps)}/s` : "–", told(row));
    this.#latency(row, seen);
    const rung = row?.stats?.rungs?.[0];
    const size = seen?.width ? seen : rung;
    this.#set("Picture", size ? `${size.width}×${size.height}` : "–", bitrate(rung));
    this.#set("Viewers", row ? String(row.viewers) : "–", "");
    const dropped = Object.entries(row?.stats?.dropped ?? {}).filter(([, number]) => number);
    const total = dropped.reduce((sum, [, number]) => sum + number, 0);
    const reasons = dropped.map(([reason, number]) => `${reason.replaceAll("_", " ")} ${number}`);
    this.#set("Dropped", row ? String(total) : "–", reasons.join(", "));
  }

  // What can be known here: the server's own time, and from there to the screen.
  #latency(row, seen) {
    const server = row?.stats?.latency_ms?.p50;
    if (!seen?.bufferMs || server === undefined) {
      this.#set("Latency", "–", "");
      return;
    }
    const way = seen.roundTripMs / 2 + seen.bufferMs + seen.decodeMs;
    this.#set(
      "Latency",
      `≈ ${Math.round(server + way)} ms`,
      `server ${Math.round(server)} + player ${Math.round(way)}`,
    );
  }

  #set(name, value, note) {
    const cell = this.#cells[name];
    if (cell.value.textContent !== value) cell.value.textContent = value;
    if (cell.note.textContent !== note) cell.note.textContent = note;
  }
}

const sayPublisher = (row) => row?.publisher?.protocol ?? "";

function told(row) {
  const stage = row?.stats?.stages?.[0];
  return stage ? `${stage.name} ${stage.p50_ms.toFixed(1)} ms` : "";
}

function bitrate(rung) {
  if (!rung?.bitrate_bps) return "";
  const rate = rung.bitrate_bps;
  return rate >= 1e6 ? `${(rate / 1e6).toFixed(1)} Mbit/s` : `${Math.round(rate / 1e3)} kbit/s`;
}
