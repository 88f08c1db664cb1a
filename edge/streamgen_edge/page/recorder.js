// `Recorder`: whether the stream is kept in a file, and the button for it.

import { Problem, json } from "./api.js";
import { byId } from "./dom.js";
import { bytes } from "./words.js";

const WORDS = { waiting: "waits for a key frame", full: "the disk is full", failed: "cannot be written" };
const ON = ["waiting", "recording", "full", "failed"];

export class Recorder {
  #row = null;
  #busy = false;

  constructor(told) {
    this.told = told;
    byId("record").addEventListener("click", () => this.#toggle());
  }

  follow(row) {
    this.#row = row && ["live", "gap"].includes(row.state) ? row : null;
    const recording = this.#row?.recording;
    const on = ON.includes(recording?.state);
    const button = byId("record");
    button.disabled = !this.#row || this.#busy;
    button.setAttribute("aria-pressed", String(on));
    button.dataset.state = on ? recording.state : "";
    button.title = recording?.file ? `${recording.file} on the server` : "";
    const words = WORDS[recording?.state] ?? (on ? bytes(recording.bytes) : "");
    button.lastElementChild.textContent = on ? `Recording · ${words}` : "Record";
  }

  async #toggle() {
    const row = this.#row;
    if (!row) return;
    const on = ON.includes(row.recording?.state);
    this.#busy = byId("record").disabled = true;
    try {
      await json(on ? "DELETE" : "PUT", `/v1/streams/${row.name}/recording`);
      this.told(on && row.recording.file ? `Kept as ${row.recording.file} on the server.` : "");
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.told(problem.message);
    } finally {
      this.#busy = byId("record").disabled = false;
    }
  }
}
