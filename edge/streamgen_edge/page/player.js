// `Player`: one stream on one screen, one way, again and again until it is told to stop.

import { Problem } from "./api.js";
import { pause } from "./dom.js";

const LISTEN_MS = 100;
const RETRY_S = 1.5;
const ENDED_MS = 300;
const FINAL = [401, 403, 406];

export class Player {
  #run = null;
  #name = "";

  // `open(name, video, signal, seen)` plays once: it calls `seen(figures)` now and then, and says
  // in the end whether pictures came; it throws `Problem`, or what the browser throws.
  // `tell(state, text)` hears of: connecting, playing, waiting, refused, failing (nothing came
  // twice). `live(name)` is false for a stream that is known not to play: then nobody is asked.
  constructor(video, open, tell, live) {
    this.video = video;
    this.open = open;
    this.tell = tell;
    this.live = live;
    this.figures = null;
  }

  // Whether it is at this stream already.
  playing(name) {
    return this.#run !== null && this.#name === name;
  }

  play(name) {
    this.stop();
    this.#name = name;
    const run = (this.#run = new AbortController());
    this.#keepPlaying(name, run.signal);
  }

  stop() {
    this.#run?.abort();
    this.#run = null;
    this.figures = null;
    this.video.srcObject = null;
    this.video.removeAttribute("src");
    this.video.load();
  }

  async #keepPlaying(name, signal) {
    let failures = 0;
    while (!signal.aborted) {
      if (this.live(name) === false) {
        this.tell("waiting", "");
        while (this.live(name) === false && !signal.aborted) await pause(LISTEN_MS, signal);
        if (signal.aborted) return;
      }
      this.tell("connecting", "");
      let waitMs = ENDED_MS;
      try {
        const played = await this.open(name, this.video, signal, (figures) => {
          if (signal.aborted) return;
          if (!this.figures) this.tell("playing", "");
          this.figures = figures;
        });
        if (signal.aborted) return;
        failures = played ? 0 : failures + 1;
        this.tell(failures >= 2 ? "failing" : "waiting", "");
      } catch (problem) {
        if (signal.aborted) return;
        if (!(problem instanceof Problem)) {
          this.tell("refused", `This browser cannot play it: ${problem.message}`);
          return;
        }
        if (FINAL.includes(problem.status)) {
          this.tell("refused", problem.message);
          return;
        }
        this.tell("waiting", problem.message);
        waitMs = (problem.retryAfterS || RETRY_S) * 1000;
      } finally {
        if (!signal.aborted) this.figures = null;
      }
      await pause(waitMs, signal);
    }
  }
}
