// Figures and states in words.

export const DIMENSIONS = {
  cpu_ms: ["CPU", 1000, "cores"],
  gpu_ms: ["GPU", 1000, "GPUs"],
  memory_mb: ["Memory", 1000, "GB"],
  gpu_memory_mb: ["GPU memory", 1000, "GB"],
  decoder_ms: ["Decoders", 1000, "engines"],
  encoder_ms: ["Encoders", 1000, "engines"],
};
const FULL = 0.95;

export const share = (load) => (load?.limit ? load.used / load.limit : 0);

// Full is not wrong: it is what the scheduler is for. But there is no room any more.
export const level = (part) => (part > FULL ? "some" : "good");

export const percent = (part) => `${Math.round(part * 100)} %`;

// "1.5 of 3.6 cores"
export function amount(dimension, load) {
  const [, unit, word] = DIMENSIONS[dimension];
  return `${short(load.used / unit)} of ${short(load.limit / unit)} ${word}`;
}

function short(number) {
  if (number >= 1e4) return `${Math.round(number / 1e3).toLocaleString("en")} k`;
  return number >= 100 ? Math.round(number).toLocaleString("en") : String(+number.toFixed(1));
}

export const count = (number) => number.toLocaleString("en");

export const some = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

// How long, roughly: "4 s", "12 min", "3 h", "5 d".
export function duration(ms) {
  const seconds = Math.max(0, ms / 1000);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129_600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}

// An owner's number: which leader gave it, and which of that leader's it is.
export function epoch(number) {
  return `${Math.floor(number / 2 ** 32)}.${number % 2 ** 32}`;
}

export const epochTitle = (number) =>
  `Epoch ${number}: owner ${number % 2 ** 32} of leader ${Math.floor(number / 2 ** 32)}`;

// The scheduler's reasons name dimensions as the API does.
export const reason = (text) =>
  Object.entries(DIMENSIONS).reduce((said, [name, [word]]) => said.replaceAll(name, word), text);

export const sentence = (text) => text && text[0].toUpperCase() + text.slice(1);

export const file = (path) => path.replace(/\/+$/, "").split("/").pop();
