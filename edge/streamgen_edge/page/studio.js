// `Studio`: the panel that publishes the camera or the sample.

import { Problem } from "./api.js";
import { byId } from "./dom.js";
import { Publisher } from "./publisher.js";
import { Sample } from "./sample.js";

const FPS = 30;
const SIZES = {
  240: { width: 426, height: 240, bitrateBps: 800_000 },
  480: { width: 854, height: 480, bitrateBps: 2_500_000 },
  720: { width: 1280, height: 720, bitrateBps: 4_000_000 },
};
const REFUSALS = {
  NotAllowedError: "The browser was not allowed to use the camera.",
  NotFoundError: "There is no camera or microphone here.",
  NotReadableError: "Another program has the camera.",
};

export class Studio {
  #publisher = new Publisher((text) => this.#stopped(text));
  #sample = null;
  #media = null;
  #busy = false;

  // `started(name)` is called when a stream of ours is on its way.
  constructor(picture, started) {
    this.picture = picture;
    this.started = started;
    byId("publish").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#busy) this.stop();
      else this.publish(new FormData(event.currentTarget).get("from"));
    });
  }

  get busy() {
    return this.#busy;
  }

  async publish(from) {
    if (this.#busy) return;
    this.#busy = true;
    byId("publish").elements.from.value = from;
    this.#show("Starting …");
    const name = byId("name").value;
    const size = SIZES[byId("size").value];
    try {
      const media = await this.#open(from, size);
      await this.picture.apply(name);
      await this.#publisher.start(name, media, { bitrateBps: size.bitrateBps, fps: FPS });
    } catch (error) {
      this.#stopped(REFUSALS[error.name] ?? error.message);
      if (!(error instanceof Problem) && !(error instanceof DOMException)) throw error;
      return;
    }
    byId("preview").srcObject = this.#media;
    byId("inset").hidden = false;
    this.#show(`Live as “${name}”.`);
    this.started(name);
  }

  async stop() {
    await this.#publisher.stop();
    this.#stopped("");
  }

  async #open(from, { width, height }) {
    if (from === "sample") {
      this.#sample = new Sample(width, height, FPS);
      this.#media = this.#sample.start();
      return this.#media;
    }
    if (!navigator.mediaDevices) {
      throw new Problem(0, "Cameras need a secure page: https, or this machine itself.");
    }
    this.#media = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: FPS } },
      audio: true,
    });
    return this.#media;
  }

  #stopped(text) {
    for (const track of this.#media?.getTracks() ?? []) track.stop();
    this.#sample?.stop();
    this.#media = this.#sample = null;
    this.#busy = false;
    byId("preview").srcObject = null;
    byId("inset").hidden = true;
    this.#show(text);
  }

  #show(text) {
    byId("publish-told").textContent = text;
    byId("go").textContent = this.#busy ? "Stop" : "Go live";
    byId("go").classList.toggle("stop", this.#busy);
    for (const one of ["name", "size", "from"]) {
      for (const input of document.getElementsByName(one)) input.disabled = this.#busy;
    }
  }
}
