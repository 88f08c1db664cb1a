// `Table`: rows by name that stay the same elements while they are there, so that whoever has the
// focus in one, or reads it, is not thrown out each second.

import { element } from "./dom.js";

export class Table {
  #rows = new Map();
  #columns = "";

  // `make(row, cells)` is called once for each new row, `fill(cells, row)` each time.
  constructor(place, { make, fill }) {
    this.place = place;
    this.body = element("tbody", { role: "rowgroup" });
    this.make = make;
    this.fill = fill;
  }

  // `columns`: [class, title] of each, and the class of a title that is not to be seen; `rows` have
  // a `name`.
  show(columns, rows) {
    this.#heads(columns);
    const there = new Set(rows.map((row) => row.name));
    for (const [name, made] of this.#rows) {
      if (there.has(name)) continue;
      made.line.remove();
      this.#rows.delete(name);
    }
    let before = null;
    for (const row of rows) {
      const { line, cells } = this.#rows.get(row.name) ?? this.#made(columns, row);
      this.fill(cells, row, line);
      const next = before ? before.nextSibling : this.body.firstChild;
      if (next !== line) this.body.insertBefore(line, next);
      before = line;
    }
  }

  #heads(columns) {
    const known = columns.map(([name]) => name).join(" ");
    if (known === this.#columns) return;
    this.#columns = known;
    this.#rows.clear();
    this.body.replaceChildren();
    const heads = columns.map(([name, title, className = ""]) => {
      const words = element("span", { className }, title);
      return element("th", { role: "columnheader", scope: "col", className: name }, words);
    });
    const head = element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...heads));
    this.place.replaceChildren(head, this.body);
  }

  #made(columns, row) {
    const cells = {};
    const line = element("tr", { role: "row" });
    for (const [name, title] of columns) {
      const first = line.childElementCount === 0;
      const cell = first
        ? element("th", { role: "rowheader", scope: "row", className: name })
        : element("td", { role: "cell", className: name });
      cell.dataset.title = title;
      cells[name] = cell;
      line.append(cell);
    }
    this.make(row, cells);
    const made = { line, cells };
    this.#rows.set(row.name, made);
    return made;
  }
}

// Text that changes only where it is another one: what did not change is not read out again.
export function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}
