// `Microphones`: what there is to hear beside a picture. Names come with the first permission.

import { Problem } from "./api.js";
import { element } from "./dom.js";

const OWN = { sample: "Its own tune", screen: "The screen's own" };
const USUAL = "usual"; // whichever microphone the browser takes

export class Microphones {
  #from = "sample";

  constructor(select) {
    this.select = select;
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.offer(this.#from));
  }

  // "own", "none", "usual" or a device's id.
  get chosen() {
    return this.select.value;
  }

  async offer(from) {
    const former = from === this.#from ? this.select.value : "";
    this.#from = from;
    const rows = [];
    if (OWN[from]) rows.push(["own", OWN[from]]);
    rows.push([USUAL, "Microphone"]);
    for (const { deviceId, label } of await named()) rows.push([deviceId, label]);
    rows.push(["none", "None"]);
    if (from !== this.#from) return;
    const options = rows.map(([value, label]) => element("option", { value }, label));
    this.select.replaceChildren(...options);
    if (rows.some(([value]) => value === former)) this.select.value = former;
  }

  async open(chosen) {
    if (!navigator.mediaDevices) {
      throw new Problem(0, "Microphones need a secure page: https, or this machine itself.");
    }
    const audio = chosen === USUAL ? true : { deviceId: { exact: chosen } };
    const media = await navigator.mediaDevices.getUserMedia({ audio });
    this.offer(this.#from); // now they have names
    return media;
  }
}

async function named() {
  try {
    const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    return all.filter(({ kind, label, deviceId }) => {
      return kind === "audioinput" && label && !["default", "communications"].includes(deviceId);
    });
  } catch {
    return [];
  }
}
