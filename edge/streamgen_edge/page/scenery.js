// The parts of the sample's landscape, drawn once: ridges, clouds, balloons.

// A small generator with a seed: the landscape is the same everywhere.
export function dice(seed) {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}

export function sheet(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return [canvas, canvas.getContext("2d")];
}

// A height for every x that repeats after `period`.
function skyline(period, base, waves, roll) {
  const parts = waves.map(([times, size]) => [times, size, roll() * Math.PI * 2]);
  return (x) =>
    parts.reduce(
      (y, [times, size, phase]) => y + size * Math.sin((x / period) * Math.PI * 2 * times + phase),
      base,
    );
}

// A ridge, `period` wide: a body from light to dark with strokes over it, and `grow(g, x, y)` here
// and there on its line.
export function ridge(period, height, { base, waves, light, dark, strokes, seed, growth, grow }) {
  const [canvas, g] = sheet(period, height);
  const roll = dice(seed);
  const top = skyline(period, base * height, waves.map(([n, size]) => [n, size * height]), roll);
  for (let n = 0; n < growth; n++) {
    const x = roll() * period;
    for (const shift of [-period, 0, period]) grow(g, x + shift, top(x), roll);
  }
  g.beginPath();
  g.moveTo(0, height);
  for (let x = 0; x <= period; x += 3) g.lineTo(x, top(x));
  g.lineTo(period, height);
  g.closePath();
  const body = g.createLinearGradient(0, base * height * 0.75, 0, height);
  body.addColorStop(0, hsl(light));
  body.addColorStop(1, hsl(dark));
  g.fillStyle = body;
  g.fill();
  g.save();
  g.clip();
  g.lineCap = "round";
  for (let n = 0; n < strokes; n++) {
    const x = roll() * period;
    const y = top(x) + roll() ** 1.6 * (height - top(x));
    const [hue, full, bright] = roll() < 0.5 ? light : dark;
    g.strokeStyle = hsl([hue + 36 * (roll() - 0.5), full + 14, bright + 26 * (roll() - 0.4)]);
    g.globalAlpha = 0.25 + 0.5 * roll();
    g.lineWidth = (0.002 + 0.006 * roll()) * height;
    const long = (0.012 + 0.04 * roll()) * height;
    const turn = (top(x + 4) - top(x - 4)) / 8 + 0.5 * (roll() - 0.5);
    g.beginPath();
    g.moveTo(x, y);
    g.quadraticCurveTo(x + long / 2, y + turn * long - long * 0.25, x + long, y + turn * long);
    g.stroke();
  }
  g.restore();
  return { canvas, top };
}

export const hsl = ([hue, full, bright], alpha = 1) => `hsl(${hue} ${full}% ${bright}% / ${alpha})`;

export function pine(g, x, y, roll) {
  const tall = 16 + 22 * roll();
  g.fillStyle = hsl([150 + 25 * roll(), 38, 17 + 12 * roll()]);
  for (let step = 0; step < 3; step++) {
    const wide = tall * (0.42 - 0.1 * step);
    const foot = y + 3 - tall * 0.28 * step;
    g.beginPath();
    g.moveTo(x - wide / 2, foot);
    g.lineTo(x, foot - tall * 0.48);
    g.lineTo(x + wide / 2, foot);
    g.fill();
  }
}

export function flower(g, x, y, roll) {
  const deep = y - 6 + roll() * 10;
  g.fillStyle = hsl([[48, 340, 12, 285, 205][Math.floor(roll() * 5)], 85, 62 + 14 * roll()]);
  g.beginPath();
  g.arc(x, deep, 2 + 3.2 * roll(), 0, 7);
  g.fill();
}

export function clouds(period, height, seed) {
  const [canvas, g] = sheet(period, height);
  const roll = dice(seed);
  for (let n = 0; n < 9; n++) {
    const [x, y] = [roll() * period, (0.08 + 0.3 * roll()) * height];
    const wide = (0.14 + 0.2 * roll()) * height;
    for (let puff = 0; puff < 16; puff++) {
      const [dx, dy] = [(roll() - 0.5) * wide * 2.6, (roll() - 0.6) * wide * 0.5];
      const r = wide * (0.16 + 0.3 * roll()) * (1 - Math.abs(dx) / (wide * 1.7));
      for (const shift of [-period, 0, period]) {
        const [cx, cy] = [x + dx + shift, y + dy];
        const soft = g.createRadialGradient(cx, cy - r * 0.3, r * 0.1, cx, cy, Math.max(1, r));
        soft.addColorStop(0, hsl([32 + 14 * roll(), 90, 90], 0.55));
        soft.addColorStop(0.6, hsl([345, 60, 78], 0.28));
        soft.addColorStop(1, hsl([265, 45, 62], 0));
        g.fillStyle = soft;
        g.fillRect(cx - r, cy - r, r * 2, r * 2);
      }
    }
  }
  return canvas;
}

// A hot-air balloon with stripes of these hues.
export function balloon(size, hues) {
  const [canvas, g] = sheet(Math.ceil(size * 1.1), Math.ceil(size * 1.6));
  const [x, y, r] = [canvas.width / 2, size * 0.54, size / 2];
  const skin = () => {
    g.beginPath();
    g.arc(x, y, r, Math.PI * 0.86, Math.PI * 2.14);
    g.quadraticCurveTo(x + r * 0.5, y + r * 1.05, x + r * 0.2, y + r * 1.36);
    g.lineTo(x - r * 0.2, y + r * 1.36);
    g.quadraticCurveTo(x - r * 0.5, y + r * 1.05, x - r * 0.91, y + r * 0.43);
    g.closePath();
  };
  g.strokeStyle = "#3a2b22";
  g.lineWidth = Math.max(1, size * 0.012);
  for (const side of [-1, 1]) {
    g.beginPath();
    g.moveTo(x + side * r * 0.19, y + r * 1.34);
    g.lineTo(x + side * r * 0.15, y + r * 1.75);
    g.stroke();
  }
  g.fillStyle = "#8a5a33";
  g.fillRect(x - r * 0.17, y + r * 1.7, r * 0.34, r * 0.26);
  g.save();
  skin();
  g.clip();
  const stripes = 9;
  for (let n = 0; n < stripes; n++) {
    g.fillStyle = hsl(hues[n % hues.length]);
    g.beginPath();
    const wide = r * 1.06 * Math.cos((n / stripes) * (Math.PI / 2));
    g.ellipse(x, y + r * 0.2, wide, r * 1.6, 0, 0, 7);
    g.fill();
  }
  const shade = g.createRadialGradient(x - r * 0.4, y - r * 0.45, r * 0.1, x, y, r * 1.5);
  shade.addColorStop(0, "rgb(255 244 214 / 0.55)");
  shade.addColorStop(0.45, "rgb(255 255 255 / 0)");
  shade.addColorStop(1, "rgb(30 10 50 / 0.6)");
  g.fillStyle = shade;
  g.fillRect(0, 0, canvas.width, canvas.height);
  g.restore();
  return canvas;
}
