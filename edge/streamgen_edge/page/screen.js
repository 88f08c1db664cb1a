// `Screen`: one stream by WebRTC, by low-latency HLS, or by both side by side, with their latencies.

import { byId } from "./dom.js";
import { Player } from "./player.js";
import { playHls } from "./playlists.js";
import { playWhep } from "./whep.js";

const BY_WAY = { whep: ["whep"], hls: ["hls"], both: ["whep", "hls"] };
const RANK = ["playing", "connecting", "failing", "waiting", "refused"]; // best first

export class Screen {
  #name = "";
  #way = "whep";
  #heard = false;
  #players = {};
  #told = { whep: ["waiting", ""], hls: ["waiting", ""] };

  // `changed()` is called when `state` or `text` may differ; `live` as the players want it;
  // `serverMs()` is the server's clock.
  constructor(changed, live, serverMs) {
    this.changed = changed;
    const hls = (...given) => playHls(...given, serverMs);
    for (const [way, id, open] of [["whep", "video", playWhep], ["hls", "video-hls", hls]]) {
      const tell = (state, text) => this.#tell(way, state, text);
      this.#players[way] = new Player(byId(id), open, tell, live);
    }
    for (const { video } of Object.values(this.#players)) {
      video.addEventListener("resize", () => fit(video));
    }
  }

  play(name) {
    this.#name = name;
    for (const player of Object.values(this.#players)) player.stop();
    this.use(this.#way);
  }

  // "whep", "hls" or "both" from now on.
  use(way) {
    this.#way = way;
    byId("stage").dataset.way = way;
    for (const input of document.getElementsByName("way")) input.checked = input.value === way;
    for (const [one, player] of Object.entries(this.#players)) {
      const used = BY_WAY[way].includes(one);
      if (!used) player.stop();
      else if (!player.playing(this.#name)) player.play(this.#name);
    }
    this.hear(this.#heard);
    this.changed();
  }

  // Of two players that show the same, one is heard.
  hear(on) {
    this.#heard = on;
    const [first] = BY_WAY[this.#way];
    for (const [way, { video }] of Object.entries(this.#players)) {
      video.muted = !on || way !== first;
      if (BY_WAY[this.#way].includes(way)) video.play().catch(() => null);
    }
  }

  // The best that one of the players in use does, with its words.
  get state() {
    const told = BY_WAY[this.#way].map((way) => this.#told[way]);
    return told.reduce((best, one) => (RANK.indexOf(one[0]) < RANK.indexOf(best[0]) ? one : best));
  }

  // What the players read, by way; null while nothing plays.
  get figures() {
    const { whep, hls } = this.#players;
    return { whep: whep.figures, hls: hls.figures };
  }

  #tell(way, state, text) {
    this.#told[way] = [state, text];
    byId(`screen-${way}`).dataset.state = state;
    if (way === "whep" && state === "failing" && this.#way === "whep") {
      this.use("hls");
      byId("deck-told").textContent = "WebRTC did not get through; this is HLS.";
    }
    this.changed();
  }
}

function fit({ videoWidth, videoHeight, dataset }) {
  dataset.fills = Math.abs((videoWidth * 9) / (videoHeight * 16) - 1) < 0.01; // up to rounding
}
