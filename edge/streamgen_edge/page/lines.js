// Lines to copy into encoders and players.

import { element } from "./dom.js";

export function showLines(place, name, server) {
  const host = location.hostname;
  const origin = location.origin;
  const rows = [];
  if (server) {
    const rtmp = `${server.rtmp.scheme}://${host}:${server.rtmp.port}/live`;
    const key = server.keys ? `${name}?token=KEY` : name;
    rows.push(["OBS: server", rtmp], ["OBS: stream key", key]);
    rows.push(["ffmpeg", `ffmpeg -re -i clip.mp4 -c copy -f flv '${rtmp}/${key}'`]);
  }
  rows.push(["WHIP", `${origin}/whip/${name}`], ["WHEP", `${origin}/whep/${name}`]);
  rows.push(["HLS", `${origin}/hls/${name}/index.m3u8`]);
  place.replaceChildren(...rows.map(([label, text]) => line(label, text)));
}

function line(label, text) {
  const copy = element("button", { type: "button", className: "plain" }, "Copy");
  copy.setAttribute("aria-label", `Copy: ${label}`);
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Select it";
    }
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  return element(
    "div",
    { className: "line" },
    element("span", { className: "quiet" }, label),
    element("code", { tabIndex: 0 }, text),
    copy,
  );
}
