// One session of WHEP: from its offer to its end, and what the browser tells of it.

import { end, offer } from "./api.js";
import { pause } from "./dom.js";

const STALLED_MS = 5000; // no new picture for so long: begin anew
const OVER = ["failed", "closed"]; // so the server knows, too
const LOOK_MS = 500;
const MOST_WAITS = 120; // pictures whose way through this browser is remembered

// True when pictures came. Figures: fps, width, height, roundTripMs, and playerMs from the last
// packet of a picture to the screen.
export async function playWhep(name, video, signal, seen) {
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
    video.srcObject = media;
    video.play().catch(() => null); // a click will do it
    return await watch(peer, waits(video, signal), signal, seen);
  } finally {
    removeEventListener("pagehide", leave);
    leave();
    peer.close();
  }
}

// Until nothing comes any more.
async function watch(peer, shown, signal, seen) {
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
      decoded = figures.decoded;
      moved = performance.now();
      figures.playerMs = shown() ?? (figures.bufferMs ? figures.bufferMs + figures.decodeMs : null);
      seen(figures);
    }
    if (performance.now() - moved > STALLED_MS) break;
  }
  return decoded > 0;
}

// How long pictures took lately from their last packet to the screen, as the browser says of each;
// null where it does not.
function waits(video, signal) {
  const lately = [];
  const note = (_, { receiveTime, expectedDisplayTime }) => {
    if (signal.aborted) return;
    if (receiveTime) lately.push(expectedDisplayTime - receiveTime);
    if (lately.length > MOST_WAITS) lately.shift();
    video.requestVideoFrameCallback(note);
  };
  video.requestVideoFrameCallback?.(note);
  return () => {
    const sorted = lately.toSorted((one, other) => one - other);
    return sorted.length ? sorted[sorted.length >> 1] : null;
  };
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
