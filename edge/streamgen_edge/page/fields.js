// One form field for one parameter, as its JSON schema describes it.

import { element } from "./dom.js";

const STEPS = 100; // of a slider over real numbers

// The field's row, and `set(value)` for values from elsewhere. `changed(value)` hears the user.
// Null for what a page cannot set, such as a path on the server.
export function field(name, schema, value, changed) {
  const kinds = (schema.anyOf ?? [schema]).filter((kind) => kind.type !== "null");
  const empty = kinds.length < (schema.anyOf ?? [schema]).length;
  const kind = { ...schema, ...kinds[0] };
  if (kind.format === "path") return null;
  const control = fitting(kind, value, empty, changed);
  const label = name.replaceAll("_", " ");
  const title = element("span", { className: "name" }, label, control.shown ?? "");
  const help = (schema.description ?? "").replaceAll("`", "");
  const row = element(
    "label",
    { className: `knob ${control.className}` },
    title,
    control.input,
    element("small", {}, help),
  );
  row.dataset.parameter = name;
  return { row, set: control.set, input: control.input };
}

function fitting(kind, value, empty, changed) {
  const names = kind.enum ?? (kind.examples?.includes(value) ? kind.examples : null);
  if (names) return choice(names, value, changed);
  if (kind.type === "boolean") return tick(value, changed);
  const number = (kind.type === "number" || kind.type === "integer") && kind["x-unit"] !== "ns";
  const most = kind.maximum ?? kind.exclusiveMaximum;
  const least = kind.minimum ?? kind.exclusiveMinimum;
  if (number && !empty && most !== undefined && least !== undefined) {
    return slider(kind, least, most, value, changed);
  }
  return line(number, value, empty, changed);
}

function slider(kind, least, most, value, changed) {
  const step = kind.multipleOf ?? (kind.type === "integer" ? 1 : (most - least) / STEPS);
  const input = element("input", { type: "range", min: least, max: most, step });
  const shown = element("output");
  const places = kind.type === "integer" ? 0 : Math.max(0, 2 - Math.floor(Math.log10(most - least)));
  const show = () => {
    shown.textContent = Number(input.value).toFixed(places);
    input.style.setProperty("--share", (input.value - least) / (most - least));
  };
  const set = (given) => {
    input.value = given;
    show();
  };
  set(value);
  input.addEventListener("input", () => {
    show();
    changed(Number(input.value));
  });
  return { input, shown, set, className: "slider" };
}

function tick(value, changed) {
  const input = element("input", { type: "checkbox", checked: value, role: "switch" });
  input.addEventListener("change", () => changed(input.checked));
  return { input, set: (given) => (input.checked = given), className: "tick" };
}

function choice(names, value, changed) {
  const input = element("select", {}, ...names.map((name) => element("option", {}, String(name))));
  input.value = value;
  input.addEventListener("change", () => changed(input.value));
  return { input, set: (given) => (input.value = given), className: "choose" };
}

function line(number, value, empty, changed) {
  const input = element("input", { type: number ? "number" : "text", step: "any" });
  input.placeholder = empty ? "default" : "";
  const set = (given) => (input.value = given ?? "");
  set(typeof value === "object" && value ? JSON.stringify(value) : value);
  input.addEventListener("change", () => {
    const text = input.value.trim();
    changed(text === "" && empty ? null : number ? Number(text) : text);
  });
  return { input, set, className: "text" };
}
