// One session of HLS: by hls.js where the server has it and the browser lets it, else by the
// browser itself, which is seconds behind.

import { Problem, streamKey } from "./api.js";
import { pause } from "./dom.js";

const LOOK_MS = 500;
const STALLED_MS = 8000;
const AHEAD_S = 30; // more than a live stream's window is never loaded
const BEHIND_S = 10; // what was shown is kept so long
const NATIVE = "application/vnd.apple.mpegurl";

// True when pictures came. `serverMs()` is the server's clock. Figures: fps, width, height, and
// latencyMs from the server's door to this screen, null where nobody can say.
export async function playHls(name, video, signal, seen, serverMs) {
  const token = streamKey();
  const query = token ? `?token=${encodeURIComponent(token)}` : "";
  const path = `/hls/${name}/index.m3u8${query}`;
  const { default: Hls } = await import("./hls.mjs");
  if (signal.aborted) return false;
  const engine = Hls?.isSupported() ? lowLatency(Hls) : null;
  if (!engine && !video.canPlayType(NATIVE)) throw new Error("it plays no HLS");
  let problem = null;
  try {
    if (engine) {
      engine.on(Hls.Events.ERROR, (_, error) => {
        if (error.fatal) problem = refusal(error);
      });
      engine.loadSource(path);
      engine.attachMedia(video);
    } else {
      video.src = path;
    }
    video.play().catch(() => null); // a click will do it
    const date = () => (engine ? engine.playingDate : startDate(video));
    return await watch(video, date, () => problem, signal, seen, serverMs);
  } finally {
    engine?.destroy();
  }
}

const lowLatency = (Hls) =>
  new Hls({
    lowLatencyMode: true,
    enableWorker: false, // nothing is remuxed, and a worker of a blob is not allowed here
    backBufferLength: BEHIND_S,
    maxBufferLength: AHEAD_S,
    maxLiveSyncPlaybackRate: 1.1, // catches up unheard
  });

function refusal(error) {
  const status = error.response?.code ?? 0;
  const words = { 401: "This stream asks for a key.", 403: "This key may not watch.", 404: "" };
  return new Problem(status, words[status] ?? "HLS broke off.");
}

async function watch(video, date, broken, signal, seen, serverMs) {
  let shown = 0;
  let at = video.currentTime;
  let moved = performance.now();
  let looked = moved;
  while (!signal.aborted) {
    await pause(LOOK_MS, signal);
    if (broken()) throw broken();
    const now = performance.now();
    const frames = video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
    if (video.currentTime > at && video.videoWidth) {
      const playing = date();
      seen({
        fps: Math.max(0, ((frames - shown) * 1000) / (now - looked)),
        width: video.videoWidth,
        height: video.videoHeight,
        latencyMs: playing && Number.isFinite(serverMs()) ? serverMs() - playing.getTime() : null,
      });
      at = video.currentTime;
      moved = now;
    }
    shown = frames;
    looked = now;
    if (now - moved > STALLED_MS || video.ended) break;
  }
  return at > 0;
}

function startDate(video) {
  const start = video.getStartDate?.().getTime(); // Safari
  return Number.isFinite(start) ? new Date(start + video.currentTime * 1000) : null;
}
