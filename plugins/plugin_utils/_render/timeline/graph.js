// The flame graph of a round, or of two: widths of one of them, colours and signs for how the other's shares differ.
// Colours and limits are those of _diff.py.

const [SAME, MORE, LESS] = [[0xee, 0xee, 0xee], [0xf5, 0x93, 0x1f], [0x6c, 0xb2, 0xeb]];
const [SHOWN, FULL] = [0.0005, 0.02];

class RoundFlame extends Flame {
  tint(node, code) {
    return this.changes ? changeTint(this.changes[node], this.full) : super.tint(node, code);
  }

  label(node, code) {
    const name = super.label(node, code);
    return this.changes && Math.abs(this.changes[node]) >= SHOWN ? `${signed(this.changes[node])} ${name}` : name;
  }
}

class Graph {
  constructor({ onZoom }) {
    const ids = { box: "graph", note: "no-graph", frame: "frame", widths: "widths", out: "out" };
    for (const [name, id] of Object.entries(ids)) this[name] = document.getElementById(id);
    const flame = document.getElementById("flame");
    this.flame = new RoundFlame(flame, flame.querySelector("canvas"), flame.querySelector(".spacer"), {
      onZoom,
      onPoint: (node, keyboard) => this.tell(node, keyboard),
    });
    this.trees = new Map();
    for (const query of ["(prefers-color-scheme: dark)", "print"]) {
      window.matchMedia(query).addEventListener("change", () => this.flame.paint());
    }
  }

  /** The call tree of a service: unpacked when it is looked at; null where it was left out, undefined without any. */
  tree(number) {
    if (!this.trees.has(number)) {
      const place = document.getElementById(`tree-${number}`);
      const content = place ? JSON.parse(place.textContent) : undefined;
      this.trees.set(number, content ? unpack(content.pictures[0]) : content);
    }
    return this.trees.get(number);
  }

  /** `slice` with the widths of it, or of `second`, which it is compared with. */
  show(number, slice, second, ofSecond, zoom) {
    const picture = this.tree(number);
    const sums = picture && [slice, second].map((one) => (one ? sumsOf(picture, one) : null));
    const seen = Boolean(picture) && sums[0].seconds > 0 && (!second || sums[1].seconds > 0);
    this.box.hidden = !seen;
    this.note.hidden = seen || picture === undefined;
    this.note.textContent = picture
      ? "The page has no flame graph of this round: the command below makes its report."
      : "No flame graphs of this service: the page would be too large. The commands below make them.";
    if (!seen) return;
    const [now, before] = sums;
    this.shares = { now, before };
    this.flame.changes = before && now.total.map((total, node) => total / now.seconds - before.total[node] / before.seconds);
    this.flame.full = before ? this.flame.changes.reduce((most, change) => Math.max(most, Math.abs(change)), FULL) : FULL;
    this.widths.parentElement.hidden = !before;
    this.flame.show(picture, before && ofSecond ? before : now, nodeOf(picture, zoom), null);
    this.out.disabled = this.flame.root === 0;
    this.tell(this.flame.root, false);
  }

  /** A frame as an address names it, and the one above that is shown. */
  name(node) {
    return nameOf(this.flame.picture, node);
  }

  above() {
    return this.name(this.flame.picture.parents[this.flame.root]);
  }

  tell(node, keyboard) {
    if (node >= 0) this.frame.textContent = this.words(node).join(" · ");
    this.frame.setAttribute("aria-live", keyboard ? "polite" : "off");
  }

  words(node) {
    const { picture } = this.flame;
    const { now, before } = this.shares;
    const figures = ["total", "own"].map((which) => {
      const [a, b] = [before, now].map((sums) => sums && sums[which][node] / sums.seconds);
      return before ? `${which} ${arrow(a, b)} (${signed(b - a)} points)` : `${which} ${percent(b)}`;
    });
    const place = picture.places[node];
    if (place < 0) return ["all", ...figures];
    const { name, file } = picture.functions[place];
    return [name, picture.lines[node] ? `${file}:${picture.lines[node]}` : file, ...figures];
  }
}

function sumsOf(picture, slice) {
  const mine = ({ host, name }) => host === slice.round.name && name === slice.version;
  return sumNodes(picture, picture.series.filter(({ worker }) => mine(picture.workers[worker])));
}

/** Half of the way to the full colour at a quarter of the largest change: small ones are to be seen as well. */
function changeTint(change, full) {
  const part = Math.abs(change) >= SHOWN ? Math.min(1, Math.abs(change) / full) ** 0.5 : 0;
  const end = change > 0 ? MORE : LESS;
  return blend(end, SAME, part);
}
