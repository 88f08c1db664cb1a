// `Publisher`: a camera's or the sample's tracks to this server by WHIP.

import { end, offer } from "./api.js";

const GATHER_MS = 1000;

export class Publisher {
  #peer = null;
  #place = null;

  // `lost(text)` is called when the connection breaks off by itself.
  constructor(lost) {
    this.lost = lost;
    addEventListener("pagehide", () => this.stop());
  }

  // Throws `Problem`, or what the browser throws.
  async start(name, media, { bitrateBps, fps }) {
    await this.stop();
    const peer = (this.#peer = new RTCPeerConnection());
    try {
      for (const track of media.getTracks()) {
        const line = peer.addTransceiver(track, {
          direction: "sendonly",
          streams: [media],
          sendEncodings:
            track.kind === "video" ? [{ maxBitrate: bitrateBps, maxFramerate: fps }] : undefined,
        });
        if (track.kind === "video") {
          preferH264(line);
          await keepSize(line.sender);
        }
      }
      await peer.setLocalDescription(await peer.createOffer());
      await gathered(peer);
      const answer = await offer(`/whip/${name}`, peer.localDescription.sdp);
      this.#place = answer.place;
      await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
      peer.onconnectionstatechange = () => {
        if (peer === this.#peer && ["failed", "closed"].includes(peer.connectionState)) {
          this.stop();
          this.lost("The connection to the server was lost.");
        }
      };
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  // Says goodbye, so that the stream ends at once instead of waiting for us.
  async stop() {
    const [peer, place] = [this.#peer, this.#place];
    this.#peer = this.#place = null;
    if (place) await end(place);
    peer?.close();
  }

}

// What the worker decodes best; the rest stays in the offer for browsers without it.
function preferH264(line) {
  const codecs = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  const rank = (codec) => (codec.mimeType.toLowerCase() === "video/h264" ? 0 : 1);
  line.setCodecPreferences?.([...codecs].sort((a, b) => rank(a) - rank(b)));
}

// The ladder is built for the first picture: a browser must not begin with a small one and grow.
function keepSize(sender) {
  const wanted = { ...sender.getParameters(), degradationPreference: "maintain-resolution" };
  return sender.setParameters(wanted).catch(() => null); // a wish; not every browser has it
}

function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((done) => {
    setTimeout(done, GATHER_MS);
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState === "complete") done();
    });
  });
}
