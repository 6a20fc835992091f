// The graph: one canvas that draws what is in sight. What it shows is told in words beside it (page.js), and in the
// table of functions.

const ROW = 18;
const NARROWEST = 0.4;
/** What is left of its tint to a frame that a search has missed, and to one above the zoom: on dark paper little
 * enough for white text, on the pattern too. */
const [MISSED, ABOVE] = [0.3, 0.4];
/** What has a lower luminance takes white text, with a contrast of 4.5 at least; black has as much on all the rest. */
const DARK = 0.1833;
const FONT = '12px "DejaVu Sans Mono", Menlo, Consolas, monospace';

class Flame {
  /** `onZoom(node)` and `onPoint(node, byKeyboard)` are told what a person does; -1 is nothing. */
  constructor(scroller, canvas, spacer, { onZoom, onPoint }) {
    Object.assign(this, { scroller, canvas, spacer, onZoom, onPoint });
    this.boxes = [];
    this.root = 0;
    this.current = -1;
    this.found = null;
    this.waiting = false;
    scroller.addEventListener("scroll", () => this.draw());
    canvas.addEventListener("mousemove", (event) => this.onPoint(this.at(event), false));
    canvas.addEventListener("mouseleave", () => this.onPoint(-1, false));
    canvas.addEventListener("click", (event) => {
      const node = this.at(event);
      if (node >= 0) this.onZoom(node);
    });
    canvas.addEventListener("keydown", (event) => this.pressed(event));
    new ResizeObserver(() => this.lay()).observe(scroller);
  }

  /** `found` marks functions that a search has found; null while nothing is searched for. */
  show(picture, sums, root, found) {
    // Numbers of another measure's nodes mean other frames.
    if (picture !== this.picture) this.current = -1;
    Object.assign(this, { picture, sums, found });
    this.root = sums.total[root] ? root : 0;
    if (this.current >= 0 && !this.isShown(this.current)) this.current = -1;
    this.lay();
  }

  isShown(node) {
    return this.sums.total[node] > 0;
  }

  /** Boxes of all nodes that are wide enough to be seen: those above the root as wide as the whole, then the rest. */
  lay() {
    if (!this.picture) return;
    const width = this.scroller.clientWidth;
    const { picture, sums } = this;
    const boxes = [];
    for (let node = picture.parents[this.root]; node >= 0; node = picture.parents[node]) {
      boxes.push({ node, x: 0, width, above: true });
    }
    const scale = width / sums.total[this.root];
    const waiting = [{ node: this.root, x: 0, width, above: false }];
    let deepest = 0;
    while (waiting.length) {
      const box = waiting.pop();
      boxes.push(box);
      deepest = Math.max(deepest, picture.depths[box.node]);
      let { x } = box;
      for (let child = box.node + 1; child < picture.ends[box.node]; child = picture.ends[child]) {
        const wide = sums.total[child] * scale;
        if (wide >= NARROWEST) waiting.push({ node: child, x, width: wide, above: false });
        x += wide;
      }
    }
    this.boxes = boxes;
    this.spacer.style.height = `${(deepest + 1) * ROW}px`;
    this.draw();
  }

  /** Paint at the next frame, however often it is asked for until then. */
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    if (!this.picture) return;
    const ratio = window.devicePixelRatio || 1;
    const width = this.scroller.clientWidth;
    const height = this.scroller.clientHeight;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = FONT;
    pen.textBaseline = "middle";
    const colours = { paper: parts(colour("--paper")), mark: colour("--mark") };
    const patterns = { native: stripes(pen, "lines"), idle: stripes(pen, "dots") };
    const letter = pen.measureText("m").width;
    const top = this.scroller.scrollTop;
    for (const box of this.boxes) {
      const y = this.picture.depths[box.node] * ROW - top;
      if (y > -ROW && y < height) this.paintBox(pen, box, y, letter, colours, patterns);
    }
  }

  paintBox(pen, box, y, letter, colours, patterns) {
    const { picture } = this;
    const place = picture.places[box.node];
    const code = place < 0 ? null : picture.functions[place];
    const hit = this.found && place >= 0 && this.found[place];
    const wide = Math.max(box.width - (box.width > 3 ? 1 : 0), NARROWEST);
    const strength = this.found && !hit ? MISSED : box.above ? ABOVE : 1;
    const fill = blend(this.tint(box.node, code), colours.paper, strength);
    pen.fillStyle = css(fill);
    pen.fillRect(box.x, y, wide, ROW - 1);
    const pattern = picture.idle[box.node] ? patterns.idle : code && code.native ? patterns.native : null;
    if (pattern) {
      pen.fillStyle = pattern;
      pen.fillRect(box.x, y, wide, ROW - 1);
    }
    const room = Math.floor((wide - 6) / letter);
    if (room >= 2) {
      const name = this.label(box.node, code);
      pen.fillStyle = luminance(fill) < DARK ? "#ffffff" : "#000000";
      pen.fillText(name.length <= room ? name : `${name.slice(0, room - 1)}…`, box.x + 3, y + ROW / 2);
    }
    if (hit || box.node === this.current) {
      pen.strokeStyle = box.node === this.current ? colours.mark : "#000000";
      pen.lineWidth = box.node === this.current ? 3 : 1;
      pen.strokeRect(box.x + 0.5, y + 0.5, Math.max(wide - 1, 1), ROW - 2);
    }
  }

  tint(node, code) {
    const { packages, depths } = this.picture;
    return code ? shaded(parts(packages[code.pack].tint), depths[node] % 2) : parts("#eeeeee");
  }

  label(node, code) {
    return code ? code.name : "all";
  }

  /** The node below the pointer. */
  at(event) {
    const frame = this.canvas.getBoundingClientRect();
    const x = event.clientX - frame.left;
    const depth = Math.floor((event.clientY - frame.top + this.scroller.scrollTop) / ROW);
    const box = this.boxes.find(
      (one) => this.picture.depths[one.node] === depth && one.x <= x && x < one.x + Math.max(one.width, 1),
    );
    return box ? box.node : -1;
  }

  pressed(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const from = this.current >= 0 ? this.current : this.root;
    const moves = {
      ArrowDown: () => this.children(from).reduce((a, b) => (a < 0 || this.sums.total[b] > this.sums.total[a] ? b : a), -1),
      ArrowUp: () => this.picture.parents[from],
      ArrowLeft: () => this.beside(from, -1),
      ArrowRight: () => this.beside(from, 1),
      Home: () => 0,
    };
    if (moves[event.key]) {
      event.preventDefault();
      const node = this.current < 0 ? this.root : moves[event.key]();
      if (node >= 0) this.point(node);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.onZoom(from);
    }
  }

  /** Callees that have samples, in the order in which they are drawn. */
  children(node) {
    const found = [];
    for (let child = node + 1; child < this.picture.ends[node]; child = this.picture.ends[child]) {
      if (this.sums.total[child] > 0) found.push(child);
    }
    return found;
  }

  beside(node, step) {
    const parent = this.picture.parents[node];
    if (parent < 0) return -1;
    const siblings = this.children(parent);
    const next = siblings[siblings.indexOf(node) + step];
    return next === undefined ? -1 : next;
  }

  /** Mark a node and bring it into sight. */
  point(node) {
    this.current = node;
    const y = node < 0 ? 0 : this.picture.depths[node] * ROW;
    if (y < this.scroller.scrollTop) this.scroller.scrollTop = y;
    const most = y + ROW - this.scroller.clientHeight;
    if (most > this.scroller.scrollTop) this.scroller.scrollTop = most;
    this.draw();
    this.onPoint(node, true);
  }
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Red, green and blue of `#rrggbb`. */
function parts(text) {
  return [1, 3, 5].map((start) => parseInt(text.slice(start, start + 2), 16));
}

function css(tint) {
  return `rgb(${tint.join(" ")})`;
}

function blend(tint, other, share) {
  return tint.map((part, i) => Math.round(part * share + other[i] * (1 - share)));
}

/** A little lighter on every other level. */
function shaded(tint, level) {
  return level ? blend(tint, [255, 255, 255], 0.7) : tint;
}

/** As the rules for contrast count it: from 0 for black to 1 for white. */
function luminance(tint) {
  const [red, green, blue] = tint.map((part) => (part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** What tells native code and idle threads apart without colour. */
function stripes(pen, kind) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const ink = tile.getContext("2d");
  ink.strokeStyle = ink.fillStyle = "rgb(0 0 0 / 25%)";
  if (kind === "dots") {
    ink.fillRect(1, 1, 2, 2);
    ink.fillRect(5, 5, 2, 2);
  } else {
    ink.beginPath();
    for (const offset of [-8, 0, 8]) {
      ink.moveTo(offset, 8);
      ink.lineTo(offset + 8, 0);
    }
    ink.stroke();
  }
  return pen.createPattern(tile, "repeat");
}
