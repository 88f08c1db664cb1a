// Requests to the server that the page is from, and its errors in words.

export class Problem extends Error {
  constructor(status, text, retryAfterS) {
    super(text);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

// The answer to `fetch(path, options)`, asked with a key if there is one. Throws `Problem`.
export async function ask(path, options, key) {
  const headers = { ...options.headers };
  if (key) headers.authorization = `Bearer ${key}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch {
    throw new Problem(0, "The server does not answer.", 2);
  }
  if (answer.ok) return answer;
  throw new Problem(answer.status, await words(answer), Number(answer.headers.get("retry-after")));
}

async function words(answer) {
  const text = await answer.text();
  let told = text.trim();
  if (answer.headers.get("content-type")?.includes("json")) {
    try {
      told = JSON.parse(text).detail ?? "";
    } catch {
      told = "";
    }
  }
  if (!told) return `The server refused (${answer.status}).`;
  const sentence = told[0].toUpperCase() + told.slice(1);
  return /[.!?)]$/.test(sentence) ? sentence : `${sentence}.`;
}
