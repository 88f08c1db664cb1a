// `Player`: one stream by WHEP, again and again until it is told to stop.

import { Problem, end, offer, streamKey } from "./api.js";

const STALLED_MS = 5000; // no new picture for so long: begin anew
const OVER = ["failed", "closed"]; // so the server knows, too
const LOOK_MS = 500;
const LISTEN_MS = 100;
const RETRY_S = 1.5;

export class Player {
  #run = null;

  // `tell(state, text)` hears of: connecting, playing, waiting, refused, hls. `live(name)` is false
  // for a stream that is known not to play: then nobody is asked; `look()` brings that up to date.
  constructor(video, tell, live, look) {
    this.video = video;
    this.tell = tell;
    this.live = live;
    this.look = look;
    this.figures = null;
  }

  play(name) {
    this.stop();
    const run = (this.#run = new AbortController());
    this.#keepPlaying(name, run.signal);
  }

  stop() {
    this.#run?.abort();
    this.#run = null;
    this.figures = null;
    this.video.srcObject = null;
    this.video.removeAttribute("src");
  }

  async #keepPlaying(name, signal) {
    let failures = 0;
    while (!signal.aborted) {
      await this.look();
      if (signal.aborted) return;
      if (this.live(name) === false) {
        this.tell("waiting", "");
        while (this.live(name) === false && !signal.aborted) await pause(LISTEN_MS, signal);
        if (signal.aborted) return;
      }
      this.tell("connecting", "");
      try {
        const played = await this.#once(name, signal);
        failures = played ? 0 : failures + 1;
        if (failures >= 2 && this.#byHls(name)) return;
        if (!signal.aborted) this.tell("waiting", "");
      } catch (problem) {
        if (signal.aborted) return;
        if (!(problem instanceof Problem)) {
          if (this.#byHls(name)) return;
          this.tell("refused", `This browser cannot play it: ${problem.message}`);
          return;
        }
        if ([401, 403, 406].includes(problem.status)) {
          this.tell("refused", problem.message);
          return;
        }
        this.tell("waiting", problem.message);
        await pause((problem.retryAfterS || RETRY_S) * 1000, signal);
        continue;
      }
      await pause(300, signal);
    }
  }

  // One session from its offer to its end; true when pictures came.
  async #once(name, signal) {
    const peer = new RTCPeerConnection();
    const media = new MediaStream();
    let place = null;
    const leave = () => {
      if (place && !OVER.includes(peer.connectionState)) end(place);
      place = null;
    };
    addEventListener("pagehide", leave);
    try {
      for (const kind of ["video", "audio"]) peer.addTransceiver(kind, { direction: "recvonly" });
      peer.ontrack = ({ track, receiver }) => {
        receiver.jitterBufferTarget = 0; // as little as the network allows
        media.addTrack(track);
      };
      await peer.setLocalDescription(await peer.createOffer());
      const answer = await offer(`/whep/${name}`, peer.localDescription.sdp, signal);
      place = answer.place;
      await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
      this.video.srcObject = media;
      this.video.play().catch(() => null); // a click will do it
      return await this.#watch(peer, signal);
    } finally {
      removeEventListener("pagehide", leave);
      leave();
      peer.close();
      this.figures = null;
    }
  }

  // Until nothing comes any more.
  async #watch(peer, signal) {
    let decoded = 0;
    let moved = performance.now();
    let past = await read(peer);
    while (!signal.aborted) {
      await pause(LOOK_MS, signal);
      if (OVER.includes(peer.connectionState)) break;
      const figures = await read(peer);
      since(figures, past);
      past = figures;
      if (figures.decoded > decoded) {
        if (!decoded) this.tell("playing", "");
        decoded = figures.decoded;
        moved = performance.now();
      }
      this.figures = figures;
      if (performance.now() - moved > STALLED_MS) break;
    }
    return decoded > 0;
  }

  // Where WebRTC does not get through, and the browser plays HLS by itself.
  #byHls(name) {
    if (!this.video.canPlayType("application/vnd.apple.mpegurl")) return false;
    const token = streamKey();
    const query = token ? `?token=${encodeURIComponent(token)}` : "";
    this.video.srcObject = null;
    this.video.src = `/hls/${name}/index.m3u8${query}`;
    this.video.play().catch(() => null);
    this.tell("hls", "By HLS, a few seconds behind: WebRTC did not get through.");
    return true;
  }
}

async function read(peer) {
  const figures = { decoded: 0, fps: 0, width: 0, height: 0, roundTripMs: 0 };
  Object.assign(figures, { heldS: 0, emitted: 0, decodeS: 0, bufferMs: 0, decodeMs: 0 });
  for (const row of (await peer.getStats()).values()) {
    if (row.type === "inbound-rtp" && row.kind === "video") {
      figures.decoded = row.framesDecoded ?? 0;
      figures.fps = row.framesPerSecond ?? 0;
      figures.width = row.frameWidth ?? 0;
      figures.height = row.frameHeight ?? 0;
      figures.heldS = row.jitterBufferDelay ?? 0;
      figures.emitted = row.jitterBufferEmittedCount ?? 0;
      figures.decodeS = row.totalDecodeTime ?? 0;
    } else if (row.type === "candidate-pair" && row.nominated && row.currentRoundTripTime) {
      figures.roundTripMs = row.currentRoundTripTime * 1000;
    }
  }
  return figures;
}

// How long pictures were held and decoded since the last look; the rows have sums only.
function since(figures, past) {
  const emitted = figures.emitted - past.emitted;
  const decoded = figures.decoded - past.decoded;
  if (emitted > 0) figures.bufferMs = ((figures.heldS - past.heldS) / emitted) * 1000;
  if (decoded > 0) figures.decodeMs = ((figures.decodeS - past.decodeS) / decoded) * 1000;
}

export function pause(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}
