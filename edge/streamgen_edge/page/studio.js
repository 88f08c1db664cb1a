// `Studio`: the panel that publishes the sample, a camera or a screen, with sound.

import { Problem } from "./api.js";
import { byId } from "./dom.js";
import { Microphones } from "./microphones.js";
import { Publisher } from "./publisher.js";
import { Sample } from "./sample.js";

const FPS = 30;
const SIZES = {
  240: { width: 426, height: 240, bitrateBps: 800_000 },
  480: { width: 854, height: 480, bitrateBps: 2_500_000 },
  720: { width: 1280, height: 720, bitrateBps: 4_000_000 },
};
const REFUSALS = {
  NotAllowedError: "The browser was not allowed to.",
  NotFoundError: "There is no such camera or microphone here.",
  NotReadableError: "Another program has the camera or the microphone.",
  OverconstrainedError: "That microphone is gone.",
  AbortError: "The browser gave up.",
};

export class Studio {
  #publisher = new Publisher((text) => this.#stopped(text));
  #microphones = new Microphones(byId("microphone"));
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
    for (const input of document.getElementsByName("from")) {
      input.addEventListener("change", () => this.#microphones.offer(input.value));
    }
    this.#microphones.offer("sample");
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

  async #open(from, size) {
    const sound = this.#microphones.chosen;
    if (from === "sample") {
      this.#sample = new Sample(size.width, size.height, FPS);
      this.#media = this.#sample.start();
      if (sound !== "own") for (const track of this.#media.getAudioTracks()) this.#drop(track);
    } else {
      this.#media = await picturesFrom(from, size, sound === "own");
    }
    if (!["own", "none"].includes(sound)) {
      const tracks = (await this.#microphones.open(sound)).getAudioTracks();
      for (const track of tracks) this.#media.addTrack(track);
    }
    const [pictures] = this.#media.getVideoTracks();
    pictures.addEventListener("ended", () => this.stop()); // the browser's own "stop sharing"
    return this.#media;
  }

  #drop(track) {
    track.stop();
    this.#media.removeTrack(track);
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
    for (const one of ["name", "size", "from", "microphone"]) {
      for (const input of document.getElementsByName(one)) input.disabled = this.#busy;
    }
  }
}

// A camera's or a screen's pictures; of a screen with its sound, where the browser gives it.
function picturesFrom(from, { width, height }, withSound) {
  const wanted = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: FPS } };
  if (!navigator.mediaDevices) {
    throw new Problem(0, "Cameras and screens need a secure page: https, or this machine itself.");
  }
  if (from === "camera") return navigator.mediaDevices.getUserMedia({ video: wanted });
  if (!navigator.mediaDevices.getDisplayMedia) {
    throw new Problem(0, "This browser shares no screens.");
  }
  const most = { width: { max: width }, height: { max: height }, frameRate: { ideal: FPS } };
  return navigator.mediaDevices.getDisplayMedia({ video: most, audio: withSound });
}
