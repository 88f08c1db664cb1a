// Requests to this server, with the keys that the user gave.

import { Problem, ask } from "./asking.js";

export { Problem };

const keys = { stream: "", api: "" }; // in memory only: a reload forgets them

export function useKeys(stream, api) {
  keys.stream = stream;
  keys.api = api;
}

export const streamKey = () => keys.stream;

// JSON to and from the API. Throws `Problem`.
export async function json(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "content-type": "application/json" };
  }
  const answer = await ask(path, options, keys.api);
  return answer.status === 204 ? null : answer.json();
}

// The address of a picture of the API, for an element; whoever has shown it revokes it. Throws
// `Problem`.
export async function picture(path) {
  const answer = await ask(path, {}, keys.api);
  return URL.createObjectURL(await answer.blob());
}

// The lines of an event stream as they come, until it ends. Throws `Problem`; ends quietly when the
// signal says so.
export async function* lines(path, signal) {
  const options = { headers: { accept: "text/event-stream" }, signal };
  const answer = await ask(path, options, keys.api);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const some = (rest + value).split("\n");
      rest = some.pop();
      yield* some;
    }
  } catch (error) {
    if (!signal.aborted) throw new Problem(0, "The connection to the server was lost.");
  } finally {
    reader.cancel().catch(() => null);
  }
}

// An offer to WHIP or WHEP: the answer's SDP, and where the session is. Throws `Problem`.
export async function offer(path, sdp, signal) {
  const headers = { "content-type": "application/sdp" };
  const answer = await ask(path, { method: "POST", body: sdp, headers, signal }, keys.stream);
  return { sdp: await answer.text(), place: answer.headers.get("location") };
}

// The end of a WHIP or WHEP session; also while the page goes away.
export function end(place) {
  const headers = keys.stream ? { authorization: `Bearer ${keys.stream}` } : {};
  return fetch(place, { method: "DELETE", headers, keepalive: true }).catch(() => null);
}
