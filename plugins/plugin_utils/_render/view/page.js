// The controls, the address that reopens a view, and what is said in words.

class Page {
  constructor() {
    const content = readDocument();
    this.pictures = content.pictures;
    this.groups = content.groups;
    this.controls = Object.fromEntries(
      ["measure", "group", "host", "worker", "thread", "search"].map((name) => [name, document.getElementById(name)]),
    );
    this.said = document.getElementById("frame");
    this.tip = document.getElementById("tip");
    this.matched = document.getElementById("matched");
    this.what = document.getElementById("shown");
    this.lost = document.getElementById("lost");
    this.legend = document.getElementById("legend");
    this.flame = new Flame(
      document.getElementById("flame"),
      document.querySelector("#flame canvas"),
      document.querySelector("#flame .spacer"),
      { onZoom: (node) => this.zoom(node), onPoint: (node, keyboard) => this.tell(node, keyboard) },
    );
    this.table = new FunctionTable(document.getElementById("functions"), document.getElementById("more"), {
      onPick: ({ name }) => this.go({ search: `^${literally(name)}$` }),
      onSort: (sort) => this.go({ sort }),
    });
    this.listen();
    this.reopen();
  }

  listen() {
    for (const name of ["measure", "group", "host", "worker", "thread"]) {
      this.controls[name].addEventListener("change", (event) => this.go({ [name]: event.target.value }));
    }
    this.controls.search.addEventListener("input", () => this.typed());
    document.getElementById("out").addEventListener("click", () => this.zoom(this.above()));
    document.getElementById("reset").addEventListener("click", () => this.go({}, { afresh: true }));
    document.getElementById("flame").addEventListener("mousemove", (event) => this.moveTip(event));
    document.addEventListener("keydown", (event) => this.pressed(event));
    document.addEventListener("click", (event) => this.followed(event));
    window.addEventListener("hashchange", () => this.reopen());
    for (const query of ["(prefers-color-scheme: dark)", "print"]) {
      window.matchMedia(query).addEventListener("change", () => this.flame.paint());
    }
  }

  pressed(event) {
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      this.controls.search.focus();
    } else if (event.key === "Escape") {
      if (this.view.search) this.go({ search: "" });
      else if (this.view.zoom) this.zoom(this.above());
    }
  }

  /** A link within the page: a preview in a ticket would open its own address instead. Rows are no view. */
  followed(event) {
    const link = event.target.closest('a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const row = document.getElementById(link.hash.slice(1));
    if (row) row.scrollIntoView();
    else this.go(given(link.hash), { afresh: true });
  }

  typed() {
    this.go({ search: this.controls.search.value }, { replaces: true });
  }

  zoom(node) {
    this.go({ zoom: nameOf(this.picture, node) });
  }

  above() {
    return Math.max(0, this.picture.parents[this.flame.root]);
  }

  /**
   * Change the view, or go to another one `afresh`. What is typed `replaces` the address, all else adds to the history.
   */
  go(change, { afresh = false, replaces = false } = {}) {
    const view = afresh ? change : { ...this.view, ...change };
    if (["measure", "group", "host", "worker", "thread"].some((name) => name in change) && !("zoom" in change)) {
      delete view.zoom;
    }
    const address = new URLSearchParams(Object.entries(view).filter(([, value]) => value)).toString();
    try {
      history[replaces ? "replaceState" : "pushState"](null, "", `#${address}`);
    } catch {
      // Where a viewer forbids it there is no link, and all else works.
    }
    this.apply(view);
  }

  reopen() {
    this.apply(given(location.hash));
  }

  /** Show a view; what it does not say is as at first. */
  apply(wanted) {
    const view = { ...EVERYTHING, measure: "", search: "", sort: "own", zoom: "", ...wanted };
    this.picture = this.pictures.find(({ kind }) => kind === view.measure) || this.pictures[0];
    const before = this.view;
    this.view = view;
    const chosen = this.choose();
    const key = JSON.stringify([this.picture.kind, ...Object.keys(EVERYTHING).map((name) => this.view[name])]);
    const changed = key !== this.shown;
    if (changed) {
      this.shown = key;
      this.chosen = chosen;
      this.sums = sumNodes(this.picture, chosen);
      this.rows = null;
      this.describe();
    }
    this.search();
    this.flame.show(this.picture, this.sums, nodeOf(this.picture, view.zoom), this.found);
    this.lost.hidden = !view.zoom || this.flame.root !== 0;
    if (!this.lost.hidden) view.zoom = "";
    if (changed || before.zoom !== view.zoom) this.said.textContent = this.words(this.flame.root).join(" · ");
    document.getElementById("out").disabled = this.flame.root === 0;
    // The picture first: the table goes through every worker.
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fillTable(), before ? 60 : 0);
  }

  fillTable() {
    this.rows = this.rows || tableRows(this.picture, this.sums, sumWorkers(this.picture, this.chosen));
    this.table.show(this.picture, this.rows, this.found, this.view.sort);
  }

  /** Fill the controls with what can be chosen beside the rest; a choice that is not there is dropped. */
  choose() {
    const { picture, view } = this;
    const all = (choice) => chosenSeries(picture, this.groups, choice);
    fillSelect(this.controls.measure, this.pictures.map(({ kind, measure }) => [kind, measure]), picture.kind);
    const valuesOf = (label) => [...new Set(picture.workers.map((worker) => worker[label]))].filter(Boolean).sort();
    const hosts = new Set(picture.workers.map(({ host }) => host));
    const groups = Object.keys(this.groups).filter((name) => this.groups[name].some((host) => hosts.has(host)));
    view.group = fillSelect(this.controls.group, [
      ["", "whole fleet"],
      ...groups.sort().map((name) => [`group ${name}`, `group ${name}`]),
      ...["container", "unit"].flatMap((label) => valuesOf(label).map((name) => [`${label} ${name}`, `${label} ${name}`])),
    ], view.group);
    const ofGroup = all({ ...EVERYTHING, group: view.group }).map(({ worker }) => picture.workers[worker]);
    view.host = fillSelect(this.controls.host, several("host", "hosts", ofGroup.map(({ host }) => [host, host])), view.host);
    const ofHost = ofGroup.filter(({ host }) => !view.host || host === view.host);
    const named = ofHost.map((one) => [workerKey(one), view.host ? one.name : `${one.host}: ${one.name}`]);
    view.worker = fillSelect(this.controls.worker, several("worker", "workers", named), view.worker);
    const threads = all({ ...view, thread: "" }).map(({ thread }) => picture.threads[thread]);
    const choices = threads.map((name) => [`=${name}`, name || "(no name)"]);
    view.thread = fillSelect(this.controls.thread, several("thread name", "thread names", choices), view.thread);
    this.controls.measure.parentElement.hidden = this.pictures.length < 2;
    // Not what is there already: that would move the cursor of who types.
    if (this.controls.search.value !== view.search) this.controls.search.value = view.search;
    return all(view);
  }

  /** What is shown, in a line; and what the colours and patterns mean. */
  describe() {
    const { picture, sums } = this;
    const workers = new Set(this.chosen.map(({ worker }) => worker)).size;
    const hosts = new Set(this.chosen.map(({ worker }) => picture.workers[worker].host)).size;
    const parts = [counted(workers, "worker"), counted(hosts, "host"), counted(sums.samples, "sample")];
    this.what.textContent = `${parts.join(", ")}, ${seconds(sums.seconds)}; ${picture.measure}`;
    const own = new Float64Array(picture.packages.length);
    let [idle, native] = [0, 0];
    for (let node = 1; node < picture.size; node += 1) {
      const one = picture.functions[picture.places[node]];
      own[one.pack] += sums.own[node];
      if (one.native) native += sums.own[node];
      if (picture.idle[node]) idle += sums.own[node];
    }
    const entries = [...own.keys()].filter((pack) => own[pack]).sort((a, b) => own[b] - own[a]).slice(0, 8);
    this.legend.replaceChildren(
      ...entries.map((pack) => {
        const { name, tint } = picture.packages[pack];
        return swatch(tint, "", name || "no file", own[pack] / sums.seconds);
      }),
      ...(native ? [swatch("#ffffff", "lines", "native code", native / sums.seconds)] : []),
      ...(idle ? [swatch("#ffffff", "dots", "waits for work", idle / sums.seconds)] : []),
    );
  }

  /** Which functions match, and how much of the time has one of them on its stack. */
  search() {
    const { picture, sums, view } = this;
    const { found, wrong } = matches(picture, view.search);
    this.found = found;
    this.controls.search.setAttribute("aria-invalid", wrong ? "true" : "false");
    if (!found) {
      this.matched.textContent = wrong;
      return;
    }
    let some = 0;
    for (let node = 1; node < picture.size; ) {
      if (found[picture.places[node]]) {
        some += sums.total[node];
        node = picture.ends[node];
      } else {
        node += 1;
      }
    }
    const functions = found.reduce((sum, hit) => sum + hit, 0);
    this.matched.textContent = `Matched: ${percent(some / (sums.seconds || 1))} in ${counted(functions, "function")}`;
  }

  /** A frame in words: where the pointer is, or the keyboard. */
  tell(node, keyboard) {
    this.tip.hidden = node < 0 || keyboard;
    const lines = node < 0 ? [] : this.words(node);
    if (!this.tip.hidden) this.tip.textContent = lines.join("\n");
    if (node >= 0) this.said.textContent = lines.join(" · ");
    this.said.setAttribute("aria-live", keyboard ? "polite" : "off");
  }

  words(node) {
    const { picture, sums } = this;
    const place = picture.places[node];
    const share = (part) => `${percent(part / (sums.seconds || 1))} (${seconds(part)})`;
    const figures = [`total ${share(sums.total[node])}`, `own ${share(sums.own[node])}`];
    if (place < 0) return ["all", ...figures];
    const { name, file, pack, native } = picture.functions[place];
    const line = picture.lines[node] ? `:${picture.lines[node]}` : "";
    const kinds = [picture.packages[pack].name || "no file"];
    if (native && kinds[0] !== "native") kinds.push("native code");
    if (picture.idle[node]) kinds.push("waits for work");
    return [name, `${file}${line}`, kinds.join(", "), ...figures];
  }

  moveTip(event) {
    const room = document.documentElement.clientWidth - this.tip.offsetWidth - 8;
    this.tip.style.left = `${Math.max(0, Math.min(event.clientX + 12, room))}px`;
    this.tip.style.top = `${event.clientY + 16}px`;
  }
}

/** The view that an address says. */
function given(hash) {
  return Object.fromEntries(new URLSearchParams(hash.slice(1)));
}

function literally(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** Functions whose name or file matches; `found` is null where nothing, or nothing sensible, is asked. */
function matches(picture, asked) {
  if (!asked) return { found: null, wrong: "" };
  let pattern;
  try {
    pattern = new RegExp(asked, "iu");
  } catch (error) {
    return { found: null, wrong: "Not a regular expression: put \\ before a special character to mean it" };
  }
  const found = Uint8Array.from(picture.functions, ({ name, file }) => (pattern.test(name) || pattern.test(file) ? 1 : 0));
  return { found, wrong: "" };
}

/** The choices, distinct and in the order in which people count, below one that means them all. */
function several(one, many, choices) {
  const distinct = [...new Map(choices)].sort((a, b) => a[1].localeCompare(b[1], "en", { numeric: true }));
  return [["", `all (${distinct.length} ${distinct.length === 1 ? one : many})`], ...distinct];
}

/** Set the options of a control; gives what is then chosen. */
function fillSelect(select, choices, wanted) {
  const value = choices.some(([key]) => key === wanted) ? wanted : choices[0][0];
  const key = JSON.stringify(choices);
  if (select.filledWith !== key) {
    select.replaceChildren(...choices.map(([name, text]) => element("option", { value: name }, text)));
    select.filledWith = key;
  }
  select.value = value;
  return value;
}

function swatch(tint, pattern, name, share) {
  const sample = document.createElement("canvas");
  sample.width = sample.height = 14;
  const pen = sample.getContext("2d");
  for (const fill of [tint, pattern ? stripes(pen, pattern) : tint]) {
    pen.fillStyle = fill;
    pen.fillRect(0, 0, 14, 14);
  }
  return element("li", {}, sample, ` ${name} ${percent(share)}`);
}

function counted(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}

function seconds(number) {
  return `${number.toFixed(number < 10 ? 2 : 1)} s`;
}

if (document.getElementById("data")) {
  document.getElementById("view").hidden = false;
  new Page();
}
