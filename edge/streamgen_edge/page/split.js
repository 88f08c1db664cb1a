// `Split`: before and after in one picture, by the pipeline's own node, moved with a slider over it.

import { Problem, json } from "./api.js";
import { byId } from "./dom.js";
import { compared, comparing, paints, uncompared } from "./pipelines.js";

const HELD_MS = 1500; // the server's word counts again so long after the last move

export class Split {
  #row = null;
  #found = null;
  #movedAt = -Infinity;
  #busy = false;

  // `turned(node, name, value)` sends what the user moves; `told(text)` says what went wrong.
  constructor(turned, told) {
    this.told = told;
    const slider = byId("split-at");
    slider.addEventListener("input", () => {
      this.#movedAt = performance.now();
      this.#draw();
      if (this.#found) turned(this.#found.node, "split", Number(slider.value));
    });
    byId("compare").addEventListener("click", () => this.#toggle());
    const place = new ResizeObserver(() => this.place());
    place.observe(byId("stage"));
    for (const id of ["video", "video-hls"]) byId(id).addEventListener("resize", () => this.place());
  }

  follow(row, playing) {
    this.#row = row?.state === "live" ? row : null;
    this.#found = comparing(this.#row?.pipeline, this.#row?.params);
    const button = byId("compare");
    button.disabled = !this.#row || this.#busy || !paints(this.#row.pipeline);
    button.setAttribute("aria-pressed", String(this.#found !== null));
    byId("split").hidden = !this.#found || !playing || byId("stage").dataset.way === "both";
    if (this.#found && performance.now() - this.#movedAt > HELD_MS) {
      byId("split-at").value = this.#found.split;
      this.#draw();
    }
  }

  // Over the picture, which may be smaller than the screen.
  place() {
    const hls = byId("stage").dataset.way === "hls";
    const { videoWidth, videoHeight, dataset } = byId(hls ? "video-hls" : "video");
    const { clientWidth, clientHeight } = byId("stage");
    const fills = dataset.fills === "true" || !videoWidth;
    const wide = fills ? clientWidth : Math.min(clientWidth, (clientHeight * videoWidth) / videoHeight);
    const left = (clientWidth - wide) / 2;
    byId("split").style.setProperty("--left", `${left}px`);
    byId("split").style.setProperty("--wide", `${wide}px`);
  }

  #draw() {
    const at = Number(byId("split-at").value);
    byId("split").style.setProperty("--at", at);
    byId("split-at").setAttribute("aria-valuetext", `${Math.round(at * 100)} % original`);
  }

  async #toggle() {
    const row = this.#row;
    if (!row) return;
    const change = this.#found ? uncompared : compared;
    this.#busy = byId("compare").disabled = true;
    try {
      const pipeline = change(row.pipeline, row.params);
      await json("PUT", `/v1/streams/${row.name}`, { pipeline });
      this.told("");
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.told(problem.message);
    } finally {
      this.#busy = byId("compare").disabled = false;
    }
  }
}
