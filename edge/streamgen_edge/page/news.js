// `News`: how all streams do, as the server tells it, again and again until the page is closed.

import { Problem, lines } from "./api.js";
import { pause } from "./dom.js";

const FIRST_WAIT_S = 0.5;
const LONGEST_WAIT_S = 5;
const SILENT_MS = 6000; // an event comes every second
const HIDDEN_MS = 20_000; // a page that nobody looks at hears nothing after this
const REFUSED = [401, 403];

export class News {
  #run = null;
  #watched = "";
  #asleep = 0;
  #offset = Infinity;

  // `told(event)` hears each event's data, `wrong(problem)` why none come.
  constructor(told, wrong) {
    this.told = told;
    this.wrong = wrong;
    document.addEventListener("visibilitychange", () => this.#look());
  }

  // From now on, with all there is to know of this stream.
  about(name) {
    this.#watched = name;
    this.#run?.abort();
    const run = (this.#run = new AbortController());
    this.#listen(run.signal);
  }

  // The server's clock now, in milliseconds; NaN until it has told it.
  get serverMs() {
    return Date.now() - this.#offset;
  }

  async #listen(signal) {
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.#once(signal, () => (failures = 0));
      } catch (problem) {
        if (signal.aborted) return;
        if (!(problem instanceof Problem)) throw problem;
        failures += 1;
        this.wrong(problem);
        if (REFUSED.includes(problem.status)) return; // until there are other keys
      }
      const wait = Math.min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** failures);
      await pause(wait * 1000 * (0.75 + Math.random() / 2), signal);
    }
  }

  async #once(signal, heard) {
    const one = new AbortController();
    const stop = () => one.abort();
    signal.addEventListener("abort", stop);
    let silent = setTimeout(stop, SILENT_MS);
    let kind = "";
    try {
      const path = `/v1/events?stream=${encodeURIComponent(this.#watched)}`;
      for await (const line of lines(path, one.signal)) {
        clearTimeout(silent);
        silent = setTimeout(stop, SILENT_MS);
        if (line.startsWith("event: ")) kind = line.slice(7);
        if (!line.startsWith("data: ")) continue;
        const data = JSON.parse(line.slice(6));
        if (kind === "refused") throw new Problem(data.status, "This key may not listen any more.");
        if (kind !== "streams" || signal.aborted) continue;
        heard();
        // The event that came fastest says best how the clocks differ.
        this.#offset = Math.min(this.#offset, Date.now() - data.unix_ms);
        this.told(data);
      }
      if (!signal.aborted) throw new Problem(0, "The server does not answer.");
    } finally {
      clearTimeout(silent);
      signal.removeEventListener("abort", stop);
    }
  }

  #look() {
    clearTimeout(this.#asleep);
    if (!document.hidden && this.#run?.signal.aborted) this.about(this.#watched);
    else if (document.hidden) this.#asleep = setTimeout(() => this.#run?.abort(), HIDDEN_MS);
  }
}
