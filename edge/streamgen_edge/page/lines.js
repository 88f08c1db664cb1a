// Links to share and lines to copy into encoders and players, each with its QR code.

import { Problem, picture } from "./api.js";
import { byId, element } from "./dom.js";

const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];
const COPIED_MS = 1500;

export function showLines(place, name, server) {
  const host = location.hostname;
  const origin = location.origin;
  const rows = [
    ["This page", `${origin}/#${name}`, true],
    ["HLS", `${origin}/hls/${name}/index.m3u8`, true],
    ["WHEP", `${origin}/whep/${name}`, true],
  ];
  if (server) {
    const rtmp = `${server.rtmp.scheme}://${host}:${server.rtmp.port}/live`;
    const key = server.keys ? `${name}?token=KEY` : name;
    rows.push(["OBS: server", rtmp], ["OBS: stream key", key]);
    rows.push(["ffmpeg", `ffmpeg -re -i clip.mp4 -c copy -f flv '${rtmp}/${key}'`]);
  }
  rows.push(["WHIP", `${origin}/whip/${name}`, true]);
  place.replaceChildren(...rows.map((row) => line(...row)));
  byId("lines-told").textContent = LOOPBACK.includes(host)
    ? "This address is this machine's own: others reach the server where http.listen lets them."
    : "";
}

function line(label, text, shared = false) {
  const copy = element("button", { type: "button", className: "plain" }, "Copy");
  copy.setAttribute("aria-label", `Copy: ${label}`);
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Select it";
    }
    setTimeout(() => (copy.textContent = "Copy"), COPIED_MS);
  });
  const code = element("button", { type: "button", className: "plain", hidden: !shared }, "QR");
  code.setAttribute("aria-label", `QR code: ${label}`);
  code.addEventListener("click", () => showCode(label, text));
  return element(
    "div",
    { className: "line" },
    element("span", { className: "quiet" }, label),
    element("code", { tabIndex: 0 }, text),
    code,
    copy,
  );
}

async function showCode(label, text) {
  byId("code-title").textContent = label;
  byId("code-text").textContent = text;
  byId("code-picture").replaceChildren();
  byId("code").showModal();
  try {
    const url = await picture(`/v1/qr.svg?text=${encodeURIComponent(text)}`);
    const image = element("img", { src: url, alt: `QR code of ${text}` });
    image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    byId("code-picture").replaceChildren(image);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    byId("code-picture").textContent = problem.message;
  }
}
