// `Waterfall`: one picture's way from the server's door to this screen, step by step.

import { byId, element } from "./dom.js";
import { latencies } from "./figures.js";
import { milliseconds } from "./words.js";

// The row of a step: its name, and its half and worst times in milliseconds.
const step = (name, p50, p99, kind) => ({ name, p50, p99, kind });

// The steps in their order. What the whole took more than its parts is spent between them.
export function steps(stats, whep) {
  const times = stats?.steps ?? {};
  if (!times.latency?.p50) return [];
  const top = stats.rungs?.[0]?.name;
  const found = [];
  const add = (name, key, kind) => {
    if (times[key]?.p50) found.push(step(name, times[key].p50, times[key].p99, kind));
  };
  add("Decode", "decode", "codec");
  for (const { name, p50_ms, p99_ms, frames } of stats.stages ?? []) {
    if (frames) found.push(step(name, p50_ms, p99_ms, "stage"));
  }
  add("Scale", "scale", "codec");
  add("Encode", `encode/video/${top}`, "codec");
  add("Deliver", "deliver", "codec");
  const parts = found.reduce((sum, one) => sum + one.p50, 0);
  const between = Math.max(0, times.latency.p50 - parts);
  found.unshift(step("Link and queues", between, null, "wait"));
  if (whep?.playerMs) {
    if (whep.roundTripMs) found.push(step("Network", whep.roundTripMs / 2, null, "wait"));
    found.push(step("Player", whep.playerMs, null, "player"));
  }
  return found;
}

export class Waterfall {
  #rows = new Map();
  #shown = "";

  show(row, seen) {
    const found = row?.state === "live" ? steps(row.stats, seen.whep) : [];
    const names = found.map((one) => one.name).join();
    if (names !== this.#shown) this.#lay(found);
    this.#shown = names;
    byId("times-none").hidden = found.length > 0;
    byId("times").hidden = found.length === 0;
    const whole = latencies(row, seen).whep ?? row?.stats?.latency_ms?.p50;
    const worst = row?.stats?.latency_ms?.p99;
    byId("times-sum").textContent = found.length
      ? `${milliseconds(whole)}${worst ? `, in the server 99 of 100 within ${milliseconds(worst)}` : ""}`
      : "";
    const span = Math.max(1, found.reduce((sum, one) => sum + one.p50, 0), ...ends(found));
    let begin = 0;
    for (const one of found) {
      const { bar, half, tail } = this.#rows.get(one.name);
      bar.style.setProperty("--from", begin / span);
      bar.style.setProperty("--half", one.p50 / span);
      bar.style.setProperty("--worst", Math.max(one.p50, one.p99 ?? 0) / span);
      half.textContent = milliseconds(one.p50);
      tail.textContent = one.p99 === null ? "" : milliseconds(one.p99);
      begin += one.p50;
    }
  }

  #lay(found) {
    this.#rows.clear();
    const head = element("tr", {}, ...["Step", "", "half within", "99 of 100"].map(header));
    const body = found.map((one) => {
      const bar = element("i", { ariaHidden: "true" });
      bar.dataset.kind = one.kind;
      const [half, tail] = [element("td"), element("td", { className: "quiet" })];
      this.#rows.set(one.name, { bar, half, tail });
      const name = element("th", { scope: "row" }, one.name);
      return element("tr", {}, name, element("td", { className: "lane" }, bar), half, tail);
    });
    byId("times").replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
  }
}

const header = (text) => (text ? element("th", { scope: "col" }, text) : element("td"));

function ends(found) {
  let begin = 0;
  return found.map((one) => {
    const end = begin + Math.max(one.p50, one.p99 ?? 0);
    begin += one.p50;
    return end;
  });
}
