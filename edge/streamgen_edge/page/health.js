// `Health`: what the server gives up to be in time, what was lost and why, and the rungs.

import { byId, element } from "./dom.js";
import { plain, rate, reasons } from "./words.js";

const LEVELS = {
  full: "Full quality",
  passthrough: "The original is shown: there is no time to paint",
  slate: "A slate is shown: there is no time for pictures",
  drop_rung: "The largest size rests",
};

export class Health {
  #shown = "";

  show(row) {
    const parts = row ? facts(row) : [];
    const text = JSON.stringify(parts);
    if (text === this.#shown) return;
    this.#shown = text;
    const none = element("p", { className: "quiet" }, "Nothing is live.");
    byId("health").replaceChildren(...(parts.length ? parts.map(part) : [none]));
  }
}

// [title, state, [name, value]...] of each part.
function facts(row) {
  const stats = row.stats ?? {};
  const parts = [];
  const governor = stats.governor;
  if (governor) parts.push(["Quality", ...level(governor, stats.stages ?? [])]);
  const dropped = reasons(stats.dropped).map(([reason, number]) => [plain(reason), String(number)]);
  const share = stats.frames_in ? ((stats.frames_out / stats.frames_in) * 100).toFixed(1) : null;
  const lost = dropped.length ? `${share} % of the pictures came through` : "No picture was lost";
  parts.push(["Pictures", dropped.length ? "some" : "good", lost, dropped]);
  const rungs = (stats.rungs ?? []).map((rung) => [
    `${rung.width}×${rung.height}`,
    `${rate(rung.bitrate_bps)} · ${rung.frames} pictures`,
  ]);
  if (rungs.length) parts.push(["Sizes", "", "", rungs]);
  const more = [];
  const where = stats.environment;
  if (row.worker) more.push(["worker", row.worker]);
  if (where?.runtime) more.push(["networks", `${where.runtime}, ${where.precision}`]);
  if (where) more.push(["processor", `${where.cpu}, ${where.cores} cores`]);
  const over = reasons(row.takeovers).map(([why, number]) => `${plain(why)} ${number}`);
  if (over.length) more.push(["taken over", over.join(", ")]);
  for (const note of row.notes ?? []) more.push(["note", note]);
  if (more.length) parts.push(["Machine", "", "", more]);
  return parts;
}

function level(governor, stages) {
  const good = governor.level === "full";
  const words = LEVELS[governor.level] ?? `Short of time: ${plain(governor.level)}`;
  const rows = [];
  if (governor.reused) rows.push(["repeated pictures", String(governor.reused)]);
  for (const { name, bypassed, failed, breaker } of stages) {
    if (bypassed) rows.push([`pictures without ${name}`, String(bypassed)]);
    if (failed) rows.push([`${name} failed`, String(failed)]);
    if (breaker === "open") rows.push([name, "is switched off: it failed too often"]);
  }
  return [good ? "good" : "some", words, rows];
}

function part([title, state, words, rows]) {
  const head = element("h3", {}, title);
  const said = words ? [element("p", { className: "state" }, words)] : [];
  if (said.length) said[0].dataset.is = state;
  const list = element("dl", {});
  for (const [name, value] of rows) {
    list.append(element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  }
  return element("div", { className: "part" }, head, ...said, ...(rows.length ? [list] : []));
}
