// Figures in words.

export function milliseconds(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

export function rate(bps) {
  if (!bps) return "";
  return bps >= 1e6 ? `${(bps / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bps / 1e3)} kbit/s`;
}

export function bytes(number) {
  if (number < 1e6) return `${Math.round(number / 1e3)} kB`;
  return number < 1e9 ? `${(number / 1e6).toFixed(1)} MB` : `${(number / 1e9).toFixed(2)} GB`;
}

// [reason, number] of what there is of it, the largest first.
export function reasons(counts) {
  const some = Object.entries(counts ?? {}).filter(([, number]) => number);
  return some.sort(([, one], [, other]) => other - one);
}

export const plain = (name) => name.replaceAll("_", " ");
