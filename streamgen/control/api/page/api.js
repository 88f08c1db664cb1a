// Requests to this coordinator, with the token that the user gave.

import { Problem, ask } from "./asking.js";

export { Problem };

let key = ""; // in memory only: a reload forgets it

export function useKey(text) {
  key = text;
}

// JSON of the API. Throws `Problem`.
export async function json(method, path, signal) {
  const answer = await ask(path, { method, signal }, key);
  try {
    return await answer.json();
  } catch {
    throw new Problem(0, "The connection to the coordinator was lost.");
  }
}
