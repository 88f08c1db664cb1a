"""Chromium publishes a canvas by WHIP and plays by WHEP; pictures are really shown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.edge.webrtc.serving import Served
from tests.edge.webrtc.studio import RelayHub, Rung, Studio

pytestmark = pytest.mark.browser
PLAY = """async ([path, kinds]) => {
  const pc = window.pc = new RTCPeerConnection();
  for (const kind of kinds) pc.addTransceiver(kind, {direction: 'recvonly'});
  const v = document.getElementById('v'), stream = new MediaStream();
  window.seen = {times: [], widths: [], began: performance.now()};
  pc.ontrack = e => { stream.addTrack(e.track); v.srcObject = stream; };
  const shown = (now, meta) => {
    seen.times.push(now - seen.began); seen.widths.push(v.videoWidth);
    v.requestVideoFrameCallback(shown);
  };
  v.requestVideoFrameCallback(shown);
  await pc.setLocalDescription(await pc.createOffer());
  const answer = await fetch(path, {method: 'POST', body: pc.localDescription.sdp,
                                    headers: {'content-type': 'application/sdp'}});
  const text = await answer.text();
  if (answer.status != 201) return [answer.status, text];
  window.place = answer.headers.get('location');
  await pc.setRemoteDescription({type: 'answer', sdp: text});
  return [answer.status, place];
}"""
PUBLISH = """async ([path, width, height]) => {
  const c = document.getElementById('c'); c.width = width; c.height = height;
  const g = c.getContext('2d'); let n = 0;
  setInterval(() => { n++;
    for (let i = 0; i < 12; i++) {
      g.fillStyle = `hsl(${(n * 7 + i * 30) % 360} 90% 50%)`;
      g.fillRect((i * 61 + n * 5) % width, (i * 37) % height, 80, 60);
    } }, 40);
  const stream = c.captureStream(25);
  const sound = new AudioContext(), wave = sound.createOscillator();
  const out = sound.createMediaStreamDestination(); wave.connect(out); wave.start();
  const pc = window.pub = new RTCPeerConnection();
  pc.addTransceiver(stream.getVideoTracks()[0], {direction: 'sendonly'});
  pc.addTransceiver(out.stream.getAudioTracks()[0], {direction: 'sendonly'});
  await pc.setLocalDescription(await pc.createOffer());
  const answer = await fetch(path, {method: 'POST', body: pc.localDescription.sdp,
                                    headers: {'content-type': 'application/sdp'}});
  const text = await answer.text();
  if (answer.status != 201) return [answer.status, text];
  window.pubPlace = answer.headers.get('location');
  await pc.setRemoteDescription({type: 'answer', sdp: text});
  return [answer.status, pubPlace];
}"""
STATS = """async () => {
  const out = {};
  (await pc.getStats()).forEach(r => { if (r.type == 'inbound-rtp') out[r.kind] = {
    decoded: r.framesDecoded, dropped: r.framesDropped, frozen: r.freezeCount,
    lost: r.packetsLost, pli: r.pliCount, width: r.frameWidth,
    heard: r.totalSamplesReceived, energy: r.totalAudioEnergy,
    concealed: r.concealedSamples, silent: r.silentConcealedSamples}; });
  return out;
}"""


def test_chromium_plays_sound_and_moving_pictures(page: Any) -> None:
    with Served(lambda: [Studio(Rung(360, 800_000), Rung(180, 200_000))]) as served:
        page.goto(f"http://127.0.0.1:{served.port}/")
        status, place = page.evaluate(PLAY, ["/whep/show?rung=180p", ["video", "audio"]])
        assert status == 201, place
        page.wait_for_function("seen.times.length > 50", timeout=15_000, polling=50)
        seen, stats = page.evaluate("seen"), page.evaluate(STATS)
        print("first picture", seen["times"][0], stats)
        assert set(seen["widths"]) == {320}
        gaps = [b - a for a, b in zip(seen["times"][5:], seen["times"][6:], strict=False)]
        assert max(gaps) < 1000
        assert stats["video"]["lost"] == 0 and stats["audio"]["lost"] == 0
        assert stats["audio"]["energy"] > 0.01
        assert page.evaluate("fetch(place, {method: 'DELETE'}).then(r => r.status)") == 200
        served.until(lambda: not served.app.sessions, "end of the session")
        page.evaluate("pc.close()")


def test_chromium_publishes_a_canvas_and_another_page_plays_it(page: Any, browser: Any) -> None:
    with Served(hub=RelayHub) as served:
        page.goto(f"http://127.0.0.1:{served.port}/")
        status, place = page.evaluate(PUBLISH, ["/whip/canvas", 640, 360])
        assert status == 201, place
        basket = served.hub.baskets["canvas"]
        served.until(lambda: len(basket.of("video/0")) > 20, "pictures")
        viewer = browser.new_page()
        viewer.goto(f"http://127.0.0.1:{served.port}/")
        status, place = viewer.evaluate(PLAY, ["/whep/canvas", ["audio", "video"]])
        assert status == 201, place
        viewer.wait_for_function("seen.times.length > 40", timeout=15_000, polling=50)
        seen, stats = viewer.evaluate("seen"), viewer.evaluate(STATS)
        print("first picture", seen["times"][0], stats)
        viewer.evaluate("pc.close()")
        viewer.close()
        assert seen["widths"][-1] > 0
        assert stats["audio"]["energy"] > 0.001
        pictures, sounds = basket.of("video/0"), basket.of("audio/0")
        assert pictures[0].keyframe and basket.asked >= 1
        ends = [float(some[-1].pts * some[-1].time_base) for some in (pictures, sounds)]
        assert abs(ends[0] - ends[1]) < 0.3
        page.evaluate("fetch(pubPlace, {method: 'DELETE'})")
        served.until(lambda: basket.end is not None, "end of the publisher")
        assert basket.end.explicit
        page.evaluate("pub.close()")
