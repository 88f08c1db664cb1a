// `Pushes`: the servers that a stream is sent on to, how that goes, and one more. A key is never
// shown: the server does not tell it, and what was typed here stays in this page's memory.

import { Problem, json } from "./api.js";
import { byId, element } from "./dom.js";
import { bytes } from "./words.js";

const BEHIND = 250_000; // bytes; less is what is just on its way
const BY_KEY = /^(rtmps?:\/\/[^/]+\/[^/?]+)\/([^/]+.*)$/; // server and application, then the key

export class Pushes {
  #name = "";
  #session = null; // whose `#rows` are; null while it is not live
  #may = false;
  #rows = [];
  #mine = new Map(); // by stream and id, what was asked for here: {url, token, rung}
  #entries = new Map();
  #nothing = element("li", { className: "quiet" }, "It is sent nowhere else.");

  constructor() {
    byId("push").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add();
    });
    byId("push-url").addEventListener("change", hideKey);
    byId("push-url").addEventListener("paste", () => setTimeout(hideKey));
  }

  // The stream under this name; `row` is null while it is not live, `may` false where the server
  // tells us nothing.
  follow(name, row, may) {
    const session = row?.session ?? null;
    const changed = name !== this.#name || session !== this.#session || may !== this.#may;
    if (name !== this.#name || !may) this.#rows = [];
    [this.#name, this.#session, this.#may] = [name, session, may];
    byId("pushes-of").textContent = name;
    byId("push-add").hidden = !may;
    if (row) {
      this.#rows = row.pushes;
      offer((row.tracks ?? []).filter((one) => one.startsWith("video/")).map((one) => one.slice(6)));
    } else if (may && changed) this.#ask();
    this.#show();
  }

  // A stream that is not live is not told of by itself.
  async #ask() {
    const name = this.#name;
    const rows = await this.#try("GET", `/v1/streams/${name}/pushes`);
    if (name !== this.#name || !Array.isArray(rows)) return;
    this.#rows = rows;
    this.#show();
  }

  // What was answered, true where that is nothing; null when it was refused.
  async #try(method, path, body) {
    try {
      const told = await json(method, path, body);
      if (method !== "GET") say("");
      return told ?? true;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status !== 404 || method === "PUT") say(problem.message);
      return null;
    }
  }

  async #add() {
    const [url, key] = [byId("push-url").value.trim(), byId("push-key").value.trim()];
    const wish = /^rtmps?:/.test(url)
      ? { url: key ? `${url.replace(/\/$/, "")}/${key}` : url }
      : { url, token: key || null };
    wish.rung = byId("push-rung").value || null;
    const host = /^\w+:\/\/(?:[^/@]*@)?(\[[^\]]*\]|[^/:]*)/.exec(url)?.[1] || "there";
    if (!(await this.#put(this.#free(host), wish))) return;
    byId("push").reset();
    byId("push-add").open = false;
  }

  // An id that no other target has.
  #free(host) {
    const plain = host.replace(/[^A-Za-z0-9._-]/g, "-").slice(0, 60);
    const taken = this.#all().map((one) => one.id);
    let number = 1;
    let id = plain;
    while (taken.includes(id)) id = `${plain}-${++number}`;
    return id;
  }

  async #put(id, wish) {
    const name = this.#name;
    const told = await this.#try("PUT", `/v1/streams/${name}/pushes/${id}`, wish);
    if (told === null) return false;
    this.#mine.set(`${name} ${id}`, { id, target: told.target, wish });
    if (name === this.#name) this.#rows = [...this.#rows.filter((one) => one.id !== id), told];
    this.#show();
    return true;
  }

  async #stop(id) {
    const name = this.#name;
    await this.#try("DELETE", `/v1/streams/${name}/pushes/${id}`);
    if (name === this.#name) this.#ask();
  }

  // Those of the server, and those that were stopped here and can start again.
  #all() {
    const there = new Set(this.#rows.map((one) => one.id));
    const stopped = [...this.#mine].filter(
      ([place, { id }]) => place === `${this.#name} ${id}` && !there.has(id),
    );
    return [...this.#rows, ...stopped.map(([, one]) => ({ ...one, state: "stopped" }))];
  }

  // Entries stay where they are: one may have the focus.
  #show() {
    const all = this.#all();
    const entries = all.map((one) => {
      const key = `${this.#name} ${one.id}`;
      const entry = this.#entries.get(key) ?? this.#entry(one);
      this.#entries.set(key, entry);
      fill(entry, one);
      return entry.item;
    });
    const wanted = entries.length ? entries : [this.#nothing];
    const { children } = byId("pushes");
    const same = wanted.length === children.length && wanted.every((one, at) => one === children[at]);
    if (!same) byId("pushes").replaceChildren(...wanted);
  }

  #entry({ id }) {
    const words = element("p", { className: "state" });
    const why = element("small");
    const title = element("b", {});
    const toggle = element("button", { type: "button", className: "plain" });
    const remove = element("button", { type: "button", className: "plain" }, "Remove");
    remove.setAttribute("aria-label", `Remove: ${id}`);
    toggle.addEventListener("click", () => {
      const mine = this.#mine.get(`${this.#name} ${id}`);
      if (toggle.dataset.does === "start") this.#put(id, mine.wish);
      else this.#stop(id);
    });
    remove.addEventListener("click", () => {
      this.#mine.delete(`${this.#name} ${id}`);
      this.#show();
    });
    const item = element("li", {}, element("div", {}, title, words, why), remove, toggle);
    item.dataset.push = id;
    return { item, title, words, why, toggle, remove };
  }
}

function fill({ item, title, words, why, toggle, remove }, one) {
  const [state, told, reason] = facts(one);
  const stopped = one.state === "stopped";
  set(title, one.target);
  title.title = one.id;
  set(words, told);
  words.dataset.is = state;
  set(why, reason);
  set(toggle, stopped ? "Start" : "Stop");
  toggle.dataset.does = stopped ? "start" : "stop";
  toggle.setAttribute("aria-label", `${stopped ? "Start" : "Stop"}: ${one.id}`);
  remove.hidden = !stopped;
  item.dataset.state = one.state ?? "later";
}

// How it looks, what it does, and why.
function facts(one) {
  switch (one.state) {
    case "live":
      return ["good", ["Sending", one.rung, bytes(one.bytes)].filter(Boolean).join(" · "), lag(one)];
    case "connecting":
      return ["some", "Connecting", sentence(one.reason)];
    case "waiting": {
      const soon = one.next_try_s === null ? "Waiting" : `Retrying in ${Math.ceil(one.next_try_s)} s`;
      return ["some", soon, sentence(one.reason)];
    }
    case "unfit":
      return ["wrong", "Cannot be sent", sentence(one.reason)];
    case "stopped":
      return ["off", "Stopped", ""];
    default:
      return ["off", "Waits for the stream", ""];
  }
}

function lag({ dropped, behind_bytes }) {
  const found = [];
  if (behind_bytes > BEHIND) found.push(`${bytes(behind_bytes)} behind`);
  if (dropped) found.push(`${dropped} pictures left out: it is too slow`);
  return found.join(" · ");
}

const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "");

function set(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

function say(text) {
  set(byId("push-told"), text);
}

// Which rungs may be asked for.
function offer(rungs) {
  const select = byId("push-rung");
  const wanted = ["", ...rungs];
  if ([...select.options].map((one) => one.value).join() === wanted.join()) return;
  const chosen = select.value;
  const options = wanted.map((one) => element("option", { value: one }, one || "Largest"));
  select.replaceChildren(...options);
  if (wanted.includes(chosen)) select.value = chosen;
}

// An address of RTMP that was pasted whole: its key is hidden.
function hideKey() {
  const [url, key] = [byId("push-url"), byId("push-key")];
  const found = BY_KEY.exec(url.value.trim());
  if (found && !key.value) [, url.value, key.value] = found;
}
