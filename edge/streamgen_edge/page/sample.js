// The built-in sample: an evening with balloons, drawn here, and a quiet tune.

import { balloon, clouds, flower, hsl, pine, ridge, sheet } from "./scenery.js";

const NOTES = [220, 277.18, 329.63, 369.99, 440, 369.99, 329.63, 277.18];
const NOTE_S = 0.45;
const AHEAD_S = 0.6;

export class Sample {
  #timer = null;
  #sound = null;
  #next = 0;
  #count = 0;

  constructor(width, height, fps) {
    [this.canvas, this.g] = sheet(width, height);
    this.fps = fps;
    this.landscape = new Landscape(width, height);
  }

  // Picture and sound as a stream; after a click, or the sound stays still.
  start() {
    const began = performance.now();
    const draw = () => {
      this.landscape.draw(this.g, (performance.now() - began) / 1000);
      this.#play();
    };
    draw();
    this.#timer = setInterval(draw, 1000 / this.fps);
    const media = this.canvas.captureStream(this.fps);
    this.#sound = new AudioContext();
    this.#sound.resume();
    this.out = this.#sound.createMediaStreamDestination();
    this.#next = this.#sound.currentTime + 0.1;
    for (const track of this.out.stream.getAudioTracks()) media.addTrack(track);
    return media;
  }

  stop() {
    clearInterval(this.#timer);
    this.#sound?.close();
    this.#sound = null;
  }

  // The notes that are due soon.
  #play() {
    const sound = this.#sound;
    while (sound && this.#next < sound.currentTime + AHEAD_S) {
      const wave = sound.createOscillator();
      const loud = sound.createGain();
      wave.type = "triangle";
      wave.frequency.value = NOTES[this.#count++ % NOTES.length];
      loud.gain.setValueAtTime(0, this.#next);
      loud.gain.linearRampToValueAtTime(0.16, this.#next + 0.03);
      loud.gain.exponentialRampToValueAtTime(0.002, this.#next + NOTE_S * 1.8);
      wave.connect(loud).connect(this.out);
      wave.start(this.#next);
      wave.stop(this.#next + NOTE_S * 2);
      this.#next += NOTE_S;
    }
  }
}

// Draws itself as it is at any time, in seconds.
export class Landscape {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.period = Math.round(width * 1.6);
    const [w, h] = [this.period, height];
    const far = { base: 0.6, waves: [[2, 0.09], [5, 0.04], [11, 0.016]], seed: 7 };
    const mid = { base: 0.7, waves: [[1, 0.05], [4, 0.025], [9, 0.008]], seed: 21 };
    const near = { base: 0.85, waves: [[1, 0.045], [3, 0.02]], seed: 3 };
    const none = { growth: 0, grow: null };
    this.layers = [
      [9, ridge(w, h, { ...far, ...none, light: [262, 36, 60], dark: [232, 44, 38], strokes: 900 })],
      [20, ridge(w, h, { ...mid, growth: 90, grow: pine, light: [168, 34, 40], dark: [196, 48, 22], strokes: 1100 })],
      [44, ridge(w, h, { ...near, growth: 130, grow: flower, light: [92, 52, 42], dark: [128, 55, 16], strokes: 1500 })],
    ];
    this.clouds = clouds(w, h, 11);
    const warm = [[4, 82, 52], [40, 96, 60], [350, 75, 40], [48, 95, 72]];
    const cool = [[205, 80, 50], [190, 70, 72], [225, 70, 38], [42, 95, 66]];
    const bright = [[285, 55, 48], [45, 95, 62], [320, 70, 58], [170, 60, 48]];
    this.balloons = [
      { picture: balloon(h * 0.36, warm), x: 0.3, y: 0.1, speed: 7, sway: 0.7 },
      { picture: balloon(h * 0.22, cool), x: 0.68, y: 0.16, speed: 4.5, sway: 0.55 },
      { picture: balloon(h * 0.13, bright), x: 0.92, y: 0.3, speed: 3, sway: 0.9 },
    ];
  }

  draw(g, time) {
    this.#sky(g, time);
    this.#scroll(g, this.clouds, time * 6);
    this.#birds(g, time);
    const [far, mid, near] = this.layers;
    this.#scroll(g, far[1].canvas, time * far[0]);
    this.#fly(g, time, this.balloons.slice(1));
    this.#scroll(g, mid[1].canvas, time * mid[0]);
    this.#mill(g, time, near);
    this.#scroll(g, near[1].canvas, time * near[0]);
    this.#fly(g, time, this.balloons.slice(0, 1));
  }

  #sky(g, time) {
    const [w, h] = [this.width, this.height];
    const turn = Math.sin(time / 14);
    const sky = g.createLinearGradient(0, 0, 0, h * 0.8);
    sky.addColorStop(0, hsl([224 + 14 * turn, 62, 30 + 5 * turn]));
    sky.addColorStop(0.45, hsl([258 + 34 * turn, 44, 54]));
    sky.addColorStop(0.75, hsl([346 + 16 * turn, 74, 68]));
    sky.addColorStop(1, hsl([34 + 8 * turn, 94, 66]));
    g.fillStyle = sky;
    g.fillRect(0, 0, w, h);
    const [x, y, r] = [w * 0.52, h * (0.47 + 0.03 * turn), h * 0.075];
    const glow = g.createRadialGradient(x, y, r * 0.4, x, y, r * 6);
    glow.addColorStop(0, hsl([48, 100, 84], 0.95));
    glow.addColorStop(0.16, hsl([42, 100, 70], 0.6));
    glow.addColorStop(1, hsl([20, 95, 60], 0));
    g.fillStyle = glow;
    g.fillRect(0, 0, w, h);
    g.fillStyle = hsl([50, 100, 90]);
    g.beginPath();
    g.arc(x, y, r, 0, 7);
    g.fill();
  }

  #scroll(g, picture, way) {
    const x = -(way * (this.height / 480)) % this.period;
    g.drawImage(picture, x, 0);
    if (x + this.period < this.width) g.drawImage(picture, x + this.period, 0);
  }

  #fly(g, time, some) {
    for (const { picture, x, y, speed, sway } of some) {
      const room = this.width + picture.width;
      const at = (x * this.width + (time * speed * this.height) / 480) % room;
      const up = y * this.height + Math.sin(time * sway) * this.height * 0.025;
      g.save();
      g.translate(at - picture.width / 2, up);
      g.rotate(Math.sin(time * sway * 0.8) * 0.04);
      g.drawImage(picture, -picture.width / 2, 0);
      g.restore();
    }
  }

  // It stands on the near ridge and moves with it.
  #mill(g, time, [speed, { top }]) {
    const h = this.height;
    const spot = this.period * 0.62;
    const gone = (time * speed * h) / 480;
    let x = (spot - gone) % this.period;
    if (x < -h * 0.3) x += this.period;
    const foot = top(spot) + h * 0.02;
    const tall = h * 0.24;
    g.fillStyle = "#efe2cc";
    g.beginPath();
    g.moveTo(x - tall * 0.17, foot);
    g.lineTo(x - tall * 0.1, foot - tall);
    g.lineTo(x + tall * 0.1, foot - tall);
    g.lineTo(x + tall * 0.17, foot);
    g.fill();
    g.fillStyle = "rgb(70 40 60 / 0.28)";
    g.fillRect(x + tall * 0.02, foot - tall, tall * 0.08, tall);
    g.fillStyle = "#a4442f";
    g.beginPath();
    g.moveTo(x - tall * 0.14, foot - tall);
    g.lineTo(x, foot - tall * 1.24);
    g.lineTo(x + tall * 0.14, foot - tall);
    g.fill();
    g.save();
    g.translate(x, foot - tall);
    g.rotate(time * 0.9);
    for (let sail = 0; sail < 4; sail++) {
      g.rotate(Math.PI / 2);
      g.fillStyle = "#5a3b2a";
      g.fillRect(-tall * 0.015, 0, tall * 0.03, tall * 0.7);
      g.fillStyle = "#fbf3e2";
      g.fillRect(tall * 0.015, tall * 0.14, tall * 0.13, tall * 0.54);
    }
    g.restore();
  }

  #birds(g, time) {
    const h = this.height;
    g.strokeStyle = "rgb(38 28 54 / 0.85)";
    g.lineWidth = h * 0.005;
    for (let bird = 0; bird < 6; bird++) {
      const x = ((time * 26 + bird * 19 + (bird % 2) * 13) * (h / 480)) % (this.width * 1.3);
      const y = h * (0.2 + 0.02 * Math.abs(bird - 2.5) + 0.012 * Math.sin(time + bird));
      const flap = Math.sin(time * 7 + bird) * h * 0.011;
      g.beginPath();
      g.moveTo(x - h * 0.018, y - flap);
      g.quadraticCurveTo(x - h * 0.006, y - h * 0.008, x, y);
      g.quadraticCurveTo(x + h * 0.006, y - h * 0.008, x + h * 0.018, y - flap);
      g.stroke();
    }
  }
}
