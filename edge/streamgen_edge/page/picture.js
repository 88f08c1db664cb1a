// The pipeline of a stream, and the knobs of its nodes.

import { Problem, json } from "./api.js";
import { byId, element } from "./dom.js";
import { field } from "./fields.js";

const SETTLE_MS = 120; // a slider that moves is sent this often at most
const FOLLOWS_HAND = "compare"; // this stage's slider lies over the picture itself
const COLORS = {
  starry: ["#1b3a7a", "#f2c14e"],
  "starry-calm": ["#23487e", "#d9c27a"],
  "starry-to-wave": ["#1b3a7a", "#e8dcc0"],
  wave: ["#24407c", "#efe4cb"],
  ink: ["#15171c", "#e9e6df"],
  "stained-glass": ["#b3262e", "#2c6fbb"],
  "painted-motion": ["#5b6472", "#f2c14e"],
};

export class Picture {
  #name = "";
  #row = null;
  #pipeline = "";
  #shown = ""; // which form is on the page
  #held = new Map(); // by node, what the user turned before the stream was live
  #nodes = new Map();
  #descriptions = new Map();

  async open(fallback) {
    const rows = await json("GET", "/v1/pipelines");
    const rank = (row) => (row.name === fallback ? 0 : row.stages.includes("style") ? 1 : 2);
    rows.sort((one, other) => rank(one) - rank(other));
    this.#descriptions = new Map(rows.map((row) => [row.name, row.description]));
    byId("pipelines").replaceChildren(...rows.map((row) => this.#card(row)));
    if (!this.#pipeline) this.#pipeline = rows.some((r) => r.name === fallback) ? fallback : "";
    this.#mark();
  }

  get pipeline() {
    return this.#pipeline;
  }

  #card(row) {
    const input = element("input", { type: "radio", name: "pipeline", value: row.name });
    input.addEventListener("change", () => this.#choose(row.name));
    const swatch = element("i");
    const [one, other] = COLORS[row.name] ?? ["#323a49", "#7d8899"];
    swatch.style.setProperty("--one", one);
    swatch.style.setProperty("--other", other);
    const card = element("label", { className: "card" }, input, swatch, row.name);
    card.title = row.description;
    return card;
  }

  #mark() {
    for (const input of byId("pipelines").querySelectorAll("input")) {
      input.checked = input.value === this.#pipeline;
    }
    byId("pipeline-is").textContent = this.#descriptions.get(this.#pipeline) ?? "";
  }

  // The stream under this name; `row` is null while it is not live.
  async follow(name, row) {
    if (row && row.session === this.#row?.session && row.version < this.#row.version) return;
    const begun = row && row.session !== this.#row?.session;
    if (name !== this.#name) this.#held.clear();
    this.#name = name;
    this.#row = row;
    byId("picture-of").textContent = name;
    if (row && row.pipeline.name !== this.#pipeline) {
      this.#pipeline = row.pipeline.name;
      this.#mark();
    }
    const wanted = row ? `${row.session} ${row.version}` : `pipeline ${this.#pipeline}`;
    if (wanted !== this.#shown && this.#pipeline && !this.#busy()) {
      this.#shown = wanted;
      await this.#show(row);
    }
    if (row?.state === "live" && (begun || this.#held.size)) this.#sendHeld();
  }

  #busy() {
    return [...this.#nodes.values()].some((node) => node.timer || node.sending);
  }

  async #show(row) {
    try {
      const path = row
        ? `/v1/streams/${this.#name}/params`
        : `/v1/pipelines/${encodeURIComponent(this.#pipeline)}`;
      const told = await json("GET", path);
      this.#fill(told.nodes);
    } catch (problem) {
      this.#tell(problem);
    }
  }

  // Fields stay where they are when only values have changed: the user may hold one.
  #fill(nodes) {
    const same = nodes.every((node) => this.#nodes.get(node.node)?.stage === node.stage);
    if (same && nodes.length === this.#nodes.size) {
      for (const node of nodes) {
        for (const [name, value] of Object.entries(node.values)) {
          const one = this.#nodes.get(node.node).fields.get(name);
          if (one && one.input !== document.activeElement) one.set(value);
        }
      }
      return;
    }
    this.#nodes.clear();
    const none = element("p", { className: "quiet" }, "Nothing is redrawn: there are no knobs.");
    byId("over-row").hidden = !nodes.length;
    byId("knobs").replaceChildren(...(nodes.length ? nodes.map((node) => this.#form(node)) : [none]));
  }

  #form(node) {
    const fields = new Map();
    const when = element("small", { className: "when" });
    const kept = { stage: node.stage, fields, when, values: {}, timer: null, sending: false };
    this.#nodes.set(node.node, kept);
    const title = node.node === node.stage ? node.node : `${node.node} · ${node.stage}`;
    const form = element("fieldset", {}, element("legend", {}, title, when));
    form.dataset.node = node.node;
    for (const [name, schema] of Object.entries(node.schema.properties ?? {})) {
      const one = field(name, schema, node.values[name], (value) =>
        this.turn(node.node, name, value),
      );
      if (one === null) continue;
      fields.set(name, one);
      form.append(one.row);
    }
    return form;
  }

  // The user wants another value; it is sent soon, with what else is turned until then.
  turn(node, name, value) {
    const kept = this.#nodes.get(node);
    if (!kept) return;
    kept.fields.get(name)?.set(value);
    kept.values[name] = value;
    if (this.#row?.state !== "live") {
      this.#held.set(node, { ...this.#held.get(node), [name]: value });
      kept.when.textContent = "when it is live";
      kept.values = {};
      return;
    }
    kept.timer ??= setTimeout(() => this.#send(node), SETTLE_MS);
  }

  #sendHeld() {
    for (const [node, values] of this.#held) {
      const kept = this.#nodes.get(node);
      if (!kept) continue;
      Object.assign(kept.values, values);
      kept.timer ??= setTimeout(() => this.#send(node), SETTLE_MS);
    }
    this.#held.clear();
  }

  async #send(node) {
    const kept = this.#nodes.get(node);
    if (!kept) return;
    kept.timer = null;
    if (kept.sending) {
      kept.timer = setTimeout(() => this.#send(node), SETTLE_MS);
      return;
    }
    const values = kept.values;
    kept.values = {};
    kept.sending = true;
    try {
      const over = kept.stage === FOLLOWS_HAND ? "0s" : byId("over").value;
      const path = `/v1/streams/${this.#name}/params`;
      const told = await json("PATCH", path, { node, values, over });
      this.#tell(null);
      kept.when.textContent =
        told.time_s === null ? "with the next picture" : `since ${clock(told.time_s)}`;
      kept.when.dataset.pts = told.pts ?? "";
    } catch (problem) {
      this.#tell(problem);
      this.#shown = ""; // back to what holds
    } finally {
      kept.sending = false;
    }
  }

  async #choose(pipeline) {
    this.#pipeline = pipeline;
    this.#mark();
    this.#held.clear();
    this.#shown = "";
    const told = await this.apply(this.#name);
    await this.follow(this.#name, told?.state ? told : null);
  }

  // Say which pipeline the stream has from now on, or from its next beginning: the
  // stream as it is then, or null when refused.
  async apply(name) {
    if (!this.#pipeline) return null;
    try {
      const told = await json("PUT", `/v1/streams/${name}`, { pipeline: this.#pipeline });
      this.#tell(null);
      return told;
    } catch (problem) {
      this.#tell(problem);
      return null;
    }
  }

  #tell(problem) {
    if (problem && !(problem instanceof Problem)) throw problem;
    byId("picture-told").textContent = problem?.message ?? "";
  }
}

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds % 60).toFixed(2).padStart(5, "0")}`;
}
