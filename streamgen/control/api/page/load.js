// How full the cluster is, in each dimension, now and over the last minutes that the page was open.

import { byId, element } from "./dom.js";
import { say } from "./table.js";
import { DIMENSIONS, amount, level, percent, share } from "./words.js";

const KEPT = 240; // looks, of which there is one each second
const LEAST = 30; // that the picture has room for
const SVG = "http://www.w3.org/2000/svg";
const past = new Map();
const gauges = new Map();

export function showLoad(load) {
  const place = byId("load");
  for (const dimension of Object.keys(DIMENSIONS)) {
    const one = load[dimension];
    let gauge = gauges.get(dimension);
    if (!one) {
      gauge?.line.remove();
      gauges.delete(dimension);
      past.delete(dimension);
      continue;
    }
    if (!gauge) gauges.set(dimension, (gauge = made(dimension)));
    if (!gauge.line.isConnected) place.append(gauge.line);
    fill(gauge, dimension, one);
  }
}

function made(dimension) {
  const figure = element("b");
  const exact = element("small");
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true");
  const [area, curve] = ["path", "path"].map((tag) => document.createElementNS(SVG, tag));
  area.setAttribute("class", "area");
  curve.setAttribute("class", "curve");
  picture.append(area, curve);
  const title = element("span", { className: "quiet" }, DIMENSIONS[dimension][0]);
  const words = element("div", {}, title, figure, exact);
  return { line: element("li", {}, words, picture), picture, figure, exact, area, curve };
}

function fill(gauge, dimension, load) {
  const part = share(load);
  const history = past.get(dimension) ?? [];
  past.set(dimension, history);
  history.push(part);
  if (history.length > KEPT) history.shift();
  gauge.line.dataset.is = level(part);
  say(gauge.figure, percent(part));
  say(gauge.exact, amount(dimension, load));
  const width = Math.max(history.length - 1, LEAST);
  const from = width - history.length + 1;
  const points = history.map((one, number) => `${from + number},${98 - 94 * Math.min(one, 1)}`);
  const curve = `M${points.join("L")}`;
  gauge.picture.setAttribute("viewBox", `0 0 ${width} 100`);
  gauge.curve.setAttribute("d", curve);
  gauge.area.setAttribute("d", `${curve}V100H${from}Z`);
}
