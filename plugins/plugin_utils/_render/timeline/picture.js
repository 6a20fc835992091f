// The lines: a row for each function, with a scale of its own, so that a step is seen in small functions as well.

const WIDE = 1000;
const HIGH = 100;

class Lines {
  /** `onPick(slice, second)` is told what a person clicked, `onPoint(slice, event)` where the pointer is (or null). */
  constructor(box, versions, axis, { onPick, onPoint }) {
    Object.assign(this, { box, versions, axis });
    box.addEventListener("click", (event) => {
      const slice = this.nearest(event);
      if (slice) onPick(slice, event.shiftKey);
    });
    box.addEventListener("pointermove", (event) => onPoint(this.nearest(event), event));
    box.addEventListener("pointerleave", (event) => onPoint(null, event));
  }

  /** Draw the slices between two times. */
  show(line, from, until) {
    Object.assign(this, { line, from, until });
    this.shown = line.slices.filter(({ began }) => began >= from && began <= until);
    this.rows = line.functions.map(([name, file], place) =>
      this.row(
        [element("code", {}, name), element("span", { className: "soft" }, ` ${shortPlace(file, 0)}`)],
        [(slice) => shareOf(line, slice.index, place, 0)],
        0.01,
        percent,
        line.drifts.filter(([drifted]) => drifted === place),
      ),
    );
    this.rows.push(
      this.row(
        ["Workers", element("span", { className: "soft" }, " (dotted: hosts)")],
        [(slice) => slice.workers, (slice) => slice.hosts],
        1,
        (value) => `${Number(value.toPrecision(3))}`,
        [],
      ),
    );
    this.box.replaceChildren(...this.rows.map(({ element: row }) => row));
    this.label();
  }

  row(title, values, least, words, drifts) {
    const most = this.shown.reduce((top, slice) => Math.max(top, ...values.map((value) => value(slice))), least);
    const top = roundTop(most);
    const y = (value) => HIGH * (1 - value / top);
    const picture = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    picture.append(svg("path", { class: "base", d: `M0 ${HIGH}H${WIDE}` }), svg("path", { class: "release", d: this.releases() }));
    for (const mark of this.held()) picture.append(mark);
    values.forEach((value, number) => {
      for (const [turn, d] of this.paths((slice) => y(value(slice)))) {
        picture.append(svg("path", { class: number ? "line hosts" : `line turn${turn % 2}`, d }));
      }
    });
    const found = drifts.map(([, index, text]) => [this.line.slices[index], text]).filter(([slice]) => this.shown.includes(slice));
    const spots = found.map(([slice]) => `M${this.x(slice.began)} ${y(values[0](slice))}h.01`).join("");
    if (spots) picture.append(svg("path", { class: "drift", d: spots }));
    const figure = element("span", { className: "value" });
    const scale = element("span", { className: "soft" }, `0 to ${words === percent ? `${Number((100 * top).toPrecision(3))} %` : words(top)}`);
    const head = element("div", { className: "head" }, element("span", { className: "title" }, ...title), figure, scale);
    const notes = found.map(([, text]) => element("div", { className: "bad" }, `● ${text}`));
    const row = element("div", { className: "row" }, head, ...notes, picture);
    return { element: row, figure, picture, values, words };
  }

  *held() {
    yield svg("path", { class: "second", d: "" });
    yield svg("path", { class: "cursor", d: "" });
  }

  /** A path for each version: a line through its rounds, with gaps; a round alone is a dot. */
  paths(y) {
    const found = new Map();
    for (const slice of this.shown) {
      const path = found.get(slice.turn) || { d: "", before: -Infinity };
      const distance = slice.began - path.before;
      const place = `${this.x(slice.began)} ${y(slice).toFixed(1)}`;
      path.d += distance >= 0 && distance <= this.line.gap ? `L${place}` : `M${place}h.01`;
      path.before = slice.began;
      found.set(slice.turn, path);
    }
    return [...found].map(([turn, { d }]) => [turn, d]);
  }

  releases() {
    return this.starts().map((slice) => `M${this.x(slice.began)} 0V${HIGH}`).join("");
  }

  starts() {
    return versionStarts(this.line).slice(1).filter((slice) => this.shown.includes(slice));
  }

  x(time) {
    const length = this.until - this.from;
    return (length ? (WIDE * (time - this.from)) / length : WIDE / 2).toFixed(2);
  }

  /** Times below the rows; above them the names of versions, where there is room for them. */
  label() {
    const length = this.until - this.from;
    const times = length ? [0, 0.25, 0.5, 0.75, 1].map((part) => this.from + part * length) : [this.from];
    this.axis.replaceChildren(...times.map((time) => element("span", {}, utc(time).slice(0, 16))));
    let free = Infinity;
    const labels = [];
    for (const slice of this.starts().reverse()) {
      const place = Number(this.x(slice.began)) / WIDE;
      if (free - place < 0.16) continue;
      free = place;
      const label = element("span", { className: place > 0.8 ? "left" : "" }, versionName(slice.version));
      if (place > 0.8) label.style.right = `${100 * (1 - place)}%`;
      else label.style.left = `${100 * place}%`;
      labels.push(label);
    }
    this.versions.replaceChildren(...labels);
    this.versions.hidden = !labels.length;
  }

  /** Where the chosen round is, and the one it is compared with. */
  mark(slice, second) {
    for (const { figure, picture, values, words } of this.rows) {
      for (const [name, one] of [["cursor", slice], ["second", second]]) {
        const inside = one && one.began >= this.from && one.began <= this.until;
        picture.querySelector(`.${name}`).setAttribute("d", inside ? `M${this.x(one.began)} 0V${HIGH}` : "");
      }
      figure.textContent = slice ? values.map((value) => words(value(slice))).join(", ") : "";
    }
  }

  nearest(event) {
    const { left, width } = this.rows[0].picture.getBoundingClientRect();
    const time = this.from + ((event.clientX - left) / (width || 1)) * (this.until - this.from);
    let best = null;
    for (const slice of this.shown) {
      if (!best || Math.abs(slice.began - time) <= Math.abs(best.began - time)) best = slice;
    }
    return best;
  }
}

/** A round number above. */
function roundTop(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 6, 8, 10].map((step) => step * power).find((top) => top >= most * (1 - 1e-9));
}

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
