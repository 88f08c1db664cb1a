// The line of figures under the picture.

import { element } from "./dom.js";
import { milliseconds, rate, reasons } from "./words.js";

const NAMES = ["State", "Pictures", "Latency", "Size", "Viewers", "Sound"];
const HINTS = {
  Pictures: "Shown here per second; below it how many were lost on their way through the server.",
  Latency: "From the server's door to this screen. What the publisher takes cannot be seen here.",
  Viewers: "By WebRTC, and by HLS in the last seconds.",
  Sound: "The largest distance between a sound's time in the source and in the output.",
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

  // `row` as the API tells of the stream, or null; `seen` as the players read it, by way.
  show(row, seen) {
    const stats = row?.stats;
    const one = seen.whep ?? seen.hls;
    this.#set("State", row?.state ?? "–", row?.error ?? row?.publisher?.protocol ?? "");
    const fps = one?.fps || (row?.state === "live" ? stats?.fps : 0);
    this.#set("Pictures", fps ? `${Math.round(fps)}/s` : "–", row ? lost(stats) : "");
    const late = latencies(row, seen);
    const [first, second] = [late.whep ?? late.hls, late.whep && late.hls];
    this.#set(
      "Latency",
      first ? milliseconds(first) : "–",
      second ? `HLS ${milliseconds(second)}` : stats?.latency_ms ? `server ${milliseconds(stats.latency_ms.p50)}` : "",
    );
    const rung = stats?.rungs?.[0];
    const size = one?.width ? one : rung;
    this.#set("Size", size ? `${size.width}×${size.height}` : "–", rate(rung?.bitrate_bps));
    this.#set("Viewers", row ? String(row.viewers) : "–", "");
    const offset = stats?.audio?.av_offset_ms;
    this.#set("Sound", offset === undefined ? "–" : `± ${offset.toFixed(1)} ms`, stats?.audio?.codec ?? "");
  }

  #set(name, value, note) {
    const cell = this.#cells[name];
    if (cell.value.textContent !== value) cell.value.textContent = value;
    if (cell.note.textContent !== note) cell.note.textContent = note;
  }
}

// From the server's door to the screen, by way; null where it is not known. By WebRTC that is the
// server's own time, half a round trip, and what the browser says of its pictures; by HLS the
// server's clock now, less the date of the picture that is shown.
export function latencies(row, { whep, hls }) {
  const server = row?.stats?.latency_ms?.p50;
  const way = whep?.playerMs ? whep.roundTripMs / 2 + whep.playerMs : null;
  return {
    whep: way !== null && server !== undefined ? server + way : null,
    hls: hls?.latencyMs ?? null,
  };
}

function lost(stats) {
  const number = reasons(stats?.dropped).reduce((sum, [, count]) => sum + count, 0);
  return number ? `${number} lost` : "none lost";
}
