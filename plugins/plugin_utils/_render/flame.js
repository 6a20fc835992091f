// Copyright (c) The pyspy.fleet developers
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Zoom, search and keyboard for the flame graph that this is in, which is whole without it: frames that are drawn
// are moved, and there are no others. Names come from hosts and only ever become text.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const HTML = "http://www.w3.org/1999/xhtml";
  // Of a character, as _svg.py counts.
  const ADVANCE = 7.25;
  const LINE = 18;
  const TOOLS = 54;
  const MATCH = "#ee82ee";

  const svg = document.currentScript.closest("svg");
  const [head, graph] = [".head", ".graph"].map((name) => svg.querySelector(name));
  const group = graph.firstElementChild;
  const first = group.querySelector("rect");
  if (!first) return;

  const number = (element, name) => Number(element.getAttribute(name));
  const set = (element, values) => Object.entries(values).forEach(([name, value]) => element.setAttribute(name, value));
  const add = (parent, name, values) => {
    const element = parent.appendChild(document.createElementNS(SVG, name));
    set(element, values);
    return element;
  };
  const margin = number(first, "x");
  const paper = number(first, "width");
  const top = number(first, "y");
  const row = number(first, "height");
  // The file's coordinates are rounded.
  const near = 0.03 / paper;

  const frames = [...group.children].map((element) => {
    const rect = element.querySelector("rect");
    const left = (number(rect, "x") - margin) / paper;
    const right = left + number(rect, "width") / paper;
    const lines = element.firstElementChild.textContent.split("\n");
    const depth = Math.round((number(rect, "y") - top) / row);
    // What is searched: the function, which a label may have a figure before, and the file; no other words.
    const { name = lines[0], told = 2 } = element.dataset;
    const names = [name, ...lines.slice(1, -told).map((line) => line.replace(/ \(hottest line\)$/, ""))];
    const [fill, box] = [rect.getAttribute("fill"), rect.nextElementSibling];
    set(element, { role: "button", tabindex: -1 });
    element.style.cursor = "pointer";
    return { element, rect, left, right, lines, names, depth, fill, box };
  });
  const byElement = new Map(frames.map((frame) => [frame.element, frame]));
  const root = frames[0];
  const levels = frames[frames.length - 1].depth + 1;
  const covers = (outer, inner) => outer.left <= inner.left + near && outer.right >= inner.right - near;

  // What a link to this view says.
  const state = { zoomed: root, search: "", exact: false };
  let current = root;

  const address = (frame) => `${frame.depth}.${Math.round(frame.left * 1e6)}`;

  function link() {
    const said = new URLSearchParams();
    if (state.zoomed !== root) said.set("zoom", address(state.zoomed));
    if (state.search) said.set("search", state.search);
    if (state.exact) said.set("case", 1);
    return `#${said}`;
  }

  function follow() {
    const said = new URLSearchParams(location.hash.slice(1));
    state.zoomed = frames.find((frame) => address(frame) === said.get("zoom")) || root;
    state.search = said.get("search") || "";
    state.exact = said.has("case");
    show();
  }

  function change(what, step) {
    Object.assign(state, what);
    show();
    if (link() === (location.hash || "#")) return;
    try {
      history[step ? "pushState" : "replaceState"](null, "", link());
    } catch {
      // Where a viewer forbids it there is no link, and all else works.
    }
  }

  function make(parent, name, properties, style) {
    const element = document.createElementNS(HTML, name);
    Object.assign(element, properties);
    element.style.cssText = style;
    parent.append(element);
    return element;
  }

  const place = add(svg, "foreignObject", {});
  const line = "display:flex;gap:8px;align-items:center;white-space:nowrap;font:13px sans-serif;height:";
  const bar = make(place, "div", {}, `${line}28px`);
  const field = make(bar, "input", { type: "search", placeholder: "Search (/)" }, "width:20em;font:inherit");
  field.ariaLabel = "Search functions and files by regular expression";
  const label = make(bar, "label", { title: "Match case" }, "");
  const box = make(label, "input", { type: "checkbox" }, "vertical-align:-2px");
  label.append("Aa");
  const reset = make(bar, "button", { textContent: "Reset zoom" }, "font:inherit;margin-left:auto");
  const facts = make(place, "div", {}, `${line}22px`);
  const details = make(facts, "span", {}, "flex:1;overflow:hidden;text-overflow:ellipsis");
  const matched = make(facts, "output", {}, "");
  svg.insertBefore(place, graph);
  set(svg, { role: "group", width: "100%" });
  svg.removeAttribute("viewBox");
  set(svg.querySelector("rect"), { width: "100%", height: "100%" });

  function tell(frame) {
    details.replaceChildren();
    (frame ? frame.lines : []).forEach((line, index) => {
      // Each by itself, so that one written from right to left does not turn the others around.
      if (index) details.append(" · ");
      make(details, "bdi", { textContent: line.replace(/ +/g, " ") }, "");
    });
  }

  function show() {
    const width = Math.max(svg.clientWidth, 300) - 2 * margin;
    const { zoomed } = state;
    const scale = width / (zoomed.right - zoomed.left);
    for (const frame of frames) {
      const above = frame.depth < zoomed.depth && covers(frame, zoomed);
      frame.shown = above || (frame.depth >= zoomed.depth && covers(zoomed, frame));
      frame.element.style.display = frame.shown ? "" : "none";
      frame.element.style.opacity = above ? 0.6 : 1;
      if (above) draw(frame, 0, width);
      else if (frame.shown) draw(frame, (frame.left - zoomed.left) * scale, (frame.right - frame.left) * scale);
    }
    reset.style.visibility = zoomed === root ? "hidden" : "visible";
    mark();
    lay(width);
    if (!current.shown) focusable(zoomed);
  }

  function draw(frame, left, width) {
    const position = { x: (margin + left).toFixed(2), width: width.toFixed(2) };
    set(frame.rect, position);
    const room = Math.floor((width - 5) / ADVANCE);
    if (!frame.box && room > 2) {
      frame.box = add(frame.element, "svg", { y: number(frame.rect, "y"), height: row });
      add(frame.box, "text", { x: 3, y: 13, stroke: "none" });
    }
    if (!frame.box) return;
    set(frame.box, position);
    const name = [...frame.lines[0]];
    const cut = room > 2 ? `${name.slice(0, room - 1).join("")}…` : "";
    frame.box.firstElementChild.textContent = name.length > room ? cut : frame.lines[0];
  }

  function expression() {
    const flags = state.exact ? "" : "i";
    try {
      return new RegExp(state.search, flags);
    } catch {
      // Half of an expression, or a name with brackets: what was typed, as it stands.
      return new RegExp(state.search.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), flags);
    }
  }

  function mark() {
    const wanted = state.search && expression();
    for (const frame of frames) {
      frame.hit = wanted && frame !== root && frame.names.some((name) => wanted.test(name));
      // The border is for those who cannot tell the colours apart.
      set(frame.rect, frame.hit ? { fill: MATCH, stroke: "#000000" } : { fill: frame.fill, stroke: "#ffffff" });
    }
    field.value = state.search;
    box.checked = state.exact;
    const ofAll = state.zoomed === root ? "" : ` (${percent(root)} of all)`;
    matched.textContent = wanted ? `Matched: ${percent(state.zoomed)}${ofAll}` : "";
  }

  // The share of a frame that is below or in a match; matches within matches count once.
  function percent(whole) {
    let [sum, end] = [0, whole.left];
    for (const hit of frames.filter((frame) => frame.hit).sort((one, other) => one.left - other.left)) {
      const right = Math.min(hit.right, whole.right);
      if (right <= end) continue;
      sum += right - Math.max(hit.left, end);
      end = right;
    }
    const share = ((100 * sum) / (whole.right - whole.left)).toFixed(1);
    // What is too narrow to be drawn is not searched.
    return `${Number(group.dataset.hidden) && share < 100 ? "at least " : ""}${share} %`;
  }

  // The lines of text around the graph were broken for the paper's width; they follow the window's.
  const headings = [...head.children].map((element) => [element, element.textContent]);
  const notes = [...graph.children].slice(1).map((element) => [element, element.textContent]);

  function lay(width) {
    let [x, y] = [0, number(head.firstElementChild, "y")];
    headings.forEach(([element, text], index) => {
      if (element.tagName === "rect") {
        const room = 28 + ADVANCE * headings[index + 1][1].length;
        if (!x || x + room > width) [x, y] = [0, y + LINE];
        set(element, { x: margin + x, y: y - 10 });
        set(headings[index + 1][0], { x: margin + x, y });
        x += room;
      } else if (headings[index - 1]?.[0].tagName !== "rect") {
        y = wrap(element, text, index ? y + LINE : y, width, index ? ADVANCE : 9.2) + (index ? 0 : 4);
      }
    });
    set(place, { x: margin, y: y + 6, width, height: TOOLS });
    y += 6 + TOOLS;
    set(graph, { transform: `translate(0,${y - top})` });
    let foot = top + levels * row;
    for (const [element, text] of notes) foot = wrap(element, text, foot + LINE, width, ADVANCE);
    set(svg, { height: y - top + foot + 2 * margin });
  }

  // Gives the height of the last line.
  function wrap(element, text, y, width, advance) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const last = lines.length - 1;
      if (lines[last] && (lines[last].length + word.length) * advance > width) lines.push(word);
      else lines[last] += `${lines[last] && " "}${word}`;
    }
    element.replaceChildren();
    lines.forEach((line, index) => {
      add(element, "tspan", { x: margin, y: y + index * LINE }).textContent = line;
    });
    return y + (lines.length - 1) * LINE;
  }

  function focusable(frame) {
    set(current.element, { tabindex: -1 });
    current = frame;
    set(current.element, { tabindex: 0 });
  }

  function neighbour(key) {
    const shown = frames.filter((frame) => frame.shown);
    const on = (depth) => shown.filter((frame) => frame.depth === depth);
    const level = on(current.depth);
    if (key === "ArrowUp") return on(current.depth - 1).find((frame) => covers(frame, current));
    // Above the zoomed frame there is one on each level.
    const below = (frame) => covers(current, frame) || frame.depth <= state.zoomed.depth;
    if (key === "ArrowDown") return on(current.depth + 1).find(below);
    return level[level.indexOf(current) + { ArrowLeft: -1, ArrowRight: 1 }[key]];
  }

  function frameOf(node) {
    while (node && node.parentNode !== group) node = node.parentNode;
    return byElement.get(node);
  }

  function zoom(frame) {
    if (frame) change({ zoomed: frame }, true);
  }

  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    const typing = target === field;
    const frame = frameOf(target);
    const find = key === "/" || key === "F3" || (key === "f" && (event.ctrlKey || event.metaKey));
    if (find && !typing) {
      field.focus();
      field.select();
    } else if (key === "Escape") {
      if (typing || state.zoomed === root) change({ search: "" });
      else zoom(root);
    } else if (frame && (key === "Enter" || key === " ")) zoom(frame);
    else if (frame && key.startsWith("Arrow")) neighbour(key)?.element.focus();
    else return;
    event.preventDefault();
  });
  group.addEventListener("click", (event) => zoom(frameOf(event.target)));
  group.addEventListener("mouseover", (event) => tell(frameOf(event.target)));
  group.addEventListener("mouseleave", () => tell(frameOf(document.activeElement)));
  // On the document: a group with such a listener could be focused itself.
  document.addEventListener("focusin", (event) => {
    const frame = frameOf(event.target);
    if (frame) focusable(frame);
    tell(frame);
  });
  field.addEventListener("input", () => change({ search: field.value }));
  box.addEventListener("change", () => change({ exact: box.checked }));
  reset.addEventListener("click", () => zoom(root));
  window.addEventListener("hashchange", follow);
  window.addEventListener("resize", show);
  focusable(root);
  follow();
})();
