// The controls, the address that reopens a view, and what is said in words.

const DAY = 86400;
const SPANS = { day: DAY, week: 7 * DAY };
const MOST_VERSIONS = 12;

class TimelinePage {
  constructor() {
    Object.assign(this, readTimelines());
    const ids = ["service", "range", "earlier", "later", "round", "hold", "what", "said", "other", "tip", "versions", "list", "ways", "functions", "heading"];
    this.parts = Object.fromEntries(ids.map((id) => [id, document.getElementById(id)]));
    this.unpacked = new Map();
    this.lines = new Lines(document.getElementById("lines"), this.parts.versions, document.getElementById("axis"), {
      onPick: (slice, second) => this.go(second ? { with: keyOf(slice) } : { at: keyOf(slice) }),
      onPoint: (slice, event) => this.tell(slice, event),
    });
    this.graph = new Graph({ onZoom: (node) => this.go({ zoom: this.graph.name(node) }) });
    this.parts.service.append(
      ...this.services.map(({ service, kind, measure }, number) =>
        element("option", { value: String(number) }, `${service} (${measure || kind})`)),
    );
    this.listen();
    this.apply(location.hash.slice(1));
  }

  listen() {
    const { service, range, earlier, later, round, hold } = this.parts;
    service.addEventListener("change", () => {
      const chosen = this.services[Number(service.value)];
      this.go({ service: chosen.service, kind: chosen.kind, with: "", zoom: "" });
    });
    range.addEventListener("change", () => this.go({ range: range.value, until: "" }));
    earlier.addEventListener("click", () => this.move(-1));
    later.addEventListener("click", () => this.move(1));
    round.addEventListener("input", () => this.go({ at: keyOf(this.lines.shown[Number(round.value)]) }, true));
    hold.addEventListener("click", () => this.go({ at: keyOf(this.slice), with: this.second ? "" : keyOf(this.slice) }));
    this.graph.widths.addEventListener("change", (event) => this.go({ widths: event.target.value }));
    this.graph.out.addEventListener("click", () => this.go({ zoom: this.graph.above() }));
    window.addEventListener("hashchange", () => this.apply(location.hash.slice(1)));
  }

  /** Change the view. Moving along rounds replaces the address, all else adds to the history. */
  go(change, replaces = false) {
    const view = { ...this.view, ...change };
    const address = new URLSearchParams(Object.entries(view).filter(([, value]) => value)).toString();
    try {
      history[replaces ? "replaceState" : "pushState"](null, "", `#${address}`);
    } catch {
      // Where a viewer forbids it there is no link, and all else works.
    }
    this.apply(address);
  }

  move(direction) {
    const until = this.lines.until + direction * SPANS[this.view.range];
    const inside = this.line.slices.filter(({ began }) => began <= until && began >= until - SPANS[this.view.range]);
    this.go({ until: String(until), ...(inside.length ? { at: keyOf(inside[inside.length - 1]) } : {}) });
  }

  apply(said) {
    const address = said || this.first;
    const view = { service: "", kind: "", range: "", until: "", at: "", with: "", widths: "", zoom: "", ...Object.fromEntries(new URLSearchParams(address)) };
    this.view = view;
    if (!SPANS[view.range]) view.range = "";
    const fits = (one, kind) => one.service === view.service && (!kind || one.kind === kind);
    const number = Math.max(0, [view.kind, ""].map((kind) => this.services.findIndex((one) => fits(one, kind))).find((n) => n >= 0) || 0);
    if (!this.unpacked.has(number)) this.unpacked.set(number, unpackLine(this.services[number], this.rounds));
    this.line = this.unpacked.get(number);
    this.number = number;
    const { slices } = this.line;
    const named = (key) => slices.find((slice) => keyOf(slice) === key) || slices.findLast((slice) => slice.round.name === key) || null;
    this.slice = named(view.at) || slices[slices.length - 1] || null;
    this.second = view.with ? named(view.with) : null;
    this.draw(number);
    this.describe();
  }

  /** The rows are drawn anew when others are to be seen; otherwise only the marks move. */
  draw(number) {
    const { range, service } = this.parts;
    const { slices } = this.line;
    const span = SPANS[this.view.range];
    const oldest = slices.length ? slices[0].began : 0;
    const newest = slices.length ? slices[slices.length - 1].began : 0;
    let until = Number(this.view.until) || (this.slice && this.lines.until >= this.slice.began && this.lines.until - span <= this.slice.began ? this.lines.until : newest);
    if (!span) until = newest;
    else if (!this.view.until && this.slice && this.slice.began < until - span) until = this.slice.began;
    const from = span ? until - span : oldest;
    range.value = this.view.range;
    service.value = String(number);
    const key = [number, from, until].join();
    if (key !== this.drawn) {
      this.drawn = key;
      this.lines.show(this.line, from, until);
      this.listVersions();
    }
    this.lines.mark(this.slice, this.second);
    this.parts.earlier.disabled = !span || from <= oldest;
    this.parts.later.disabled = !span || until >= newest;
  }

  describe() {
    const { round, hold, what, said, other, ways, functions, heading } = this.parts;
    const { shown } = this.lines;
    const gone = shown.length ? `${counted(new Set(shown.map(({ round: one }) => one)).size, "round")} in the picture` : "No round in this time";
    const versions = new Set(shown.map(({ turn }) => turn)).size;
    what.textContent = `${gone}, ${counted(versions, "version")}; ${this.line.measure || this.line.kind}. Lines are own shares, each row has a scale of its own. All times are UTC.`;
    round.disabled = shown.length === 0;
    round.max = String(Math.max(0, shown.length - 1));
    round.value = String(Math.max(0, shown.indexOf(this.slice)));
    hold.disabled = !this.slice;
    hold.textContent = this.second ? "Stop comparing" : "Compare this round with …";
    hold.setAttribute("aria-pressed", this.second ? "true" : "false");
    if (!this.slice) {
      said.textContent = "No round has this service.";
      return;
    }
    round.setAttribute("aria-valuetext", roundWords(this.slice));
    said.textContent = roundWords(this.slice);
    other.hidden = !this.second;
    const pair = this.second !== this.slice && this.second;
    other.textContent = pair ? `Compared with ${roundWords(pair)}` : "Now choose the round to compare it with.";
    const [early, late] = pair && pair.index > this.slice.index ? [this.slice, pair] : [pair, this.slice];
    heading.textContent = pair ? `Functions: from ${early.round.name} to ${late.round.name}` : `Functions in ${late.round.name}`;
    fillTable(functions, this.line, late, early);
    fillWays(ways, late, early);
    this.graph.widths.value = this.view.widths === "old" ? "old" : "";
    this.graph.show(this.number, late, early || null, this.view.widths === "old", this.view.zoom);
  }

  /** Each version, newest first: a click compares its first round with the last one before it. */
  listVersions() {
    const starts = versionStarts(this.line);
    const items = starts.slice(-MOST_VERSIONS).reverse().map((slice) => {
      const before = this.line.slices.slice(0, slice.index).findLast(({ turn, round }) => turn !== slice.turn && round !== slice.round);
      const item = element("li", {}, element("strong", {}, versionName(slice.version)), ` since ${utc(slice.began)} UTC `);
      if (before) {
        const button = element("button", { type: "button" }, `Compare with ${versionName(before.version)} before`);
        button.addEventListener("click", () => this.go({ at: keyOf(slice), with: keyOf(before) }));
        item.append(button);
      }
      return item;
    });
    if (starts.length > MOST_VERSIONS) items.push(element("li", { className: "soft" }, `and ${starts.length - MOST_VERSIONS} older`));
    this.parts.list.replaceChildren(...items);
  }

  tell(slice, event) {
    const { tip } = this.parts;
    tip.hidden = !slice;
    if (!slice) return;
    const row = this.lines.rows.find(({ element: one }) => one.contains(event.target));
    const value = row ? `${row.element.querySelector(".title").textContent}: ${row.values.map((of) => row.words(of(slice))).join(", ")}\n` : "";
    tip.textContent = value + roundWords(slice);
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(0, Math.min(event.clientX + 12, room))}px`;
    tip.style.top = `${event.clientY + 16}px`;
  }
}

if (document.getElementById("data")) {
  document.getElementById("view").hidden = false;
  new TimelinePage();
}
