// The document of the page, unpacked: one call tree for each measure, and whose samples are where in it.

/** What is chosen in the controls: "" is all of it. */
const EVERYTHING = { group: "", host: "", worker: "", thread: "" };

function readDocument() {
  const content = JSON.parse(document.getElementById("data").textContent);
  return { pictures: content.pictures.map(unpack), groups: content.groups };
}

/**
 * A call tree. Nodes are numbered so that each comes before what it calls: the nodes below one are those up to its
 * `ends`. `outermost`: no caller of the node is the same function.
 */
function unpack(packed) {
  const size = packed.depths.length;
  const picture = {
    kind: packed.kind,
    measure: packed.measure,
    functions: packed.functions.map(([name, file, pack, native]) => ({ name, file, pack, native: Boolean(native) })),
    packages: packed.packages.map(([name, tint]) => ({ name, tint })),
    workers: packed.workers.map(([host, name, container, unit]) => ({ host, name, container, unit })),
    threads: packed.threads,
    size,
    depths: Uint16Array.from(packed.depths),
    places: Int32Array.from(packed.places),
    lines: Int32Array.from(packed.lines),
    parents: new Int32Array(size).fill(-1),
    ends: new Int32Array(size),
    outermost: new Uint8Array(size),
    idle: new Uint8Array(size),
    series: packed.series.map(([worker, thread, tick, steps, counts]) => ({
      worker,
      thread,
      tick,
      nodes: summedUp(steps),
      counts: Uint32Array.from(counts),
    })),
  };
  for (const node of packed.idle) picture.idle[node] = 1;
  link(picture);
  return picture;
}

function summedUp(steps) {
  const nodes = new Int32Array(steps.length);
  let node = 0;
  for (let i = 0; i < steps.length; i += 1) nodes[i] = node += steps[i];
  return nodes;
}

/** Parents, ends and outermost nodes, in one walk over the tree. */
function link(picture) {
  const { size, depths, places, parents, ends, outermost } = picture;
  const path = [];
  const active = new Uint32Array(picture.functions.length);
  const leave = (depth, node) => {
    while (path.length > depth) {
      const left = path.pop();
      ends[left] = node;
      if (left > 0) active[places[left]] -= 1;
    }
  };
  for (let node = 0; node < size; node += 1) {
    leave(depths[node], node);
    if (node > 0) {
      parents[node] = path[path.length - 1];
      outermost[node] = active[places[node]] === 0 ? 1 : 0;
      active[places[node]] += 1;
    }
    path.push(node);
  }
  leave(0, size);
}

/**
 * A node as an address names it: its number, and a sum over the functions that lead to it. In a page that was written
 * anew the number may be another frame's.
 */
function nameOf(picture, node) {
  return node > 0 ? `${node}.${pathSums(picture)[node].toString(36)}` : "";
}

/** The node of that name, by whatever number; 0 where there is none. */
function nodeOf(picture, name) {
  const [number, sum] = name.split(".");
  if (!sum) return 0;
  const sums = pathSums(picture);
  const wanted = parseInt(sum, 36);
  return sums[number] === wanted ? Number(number) : Math.max(0, sums.indexOf(wanted, 1));
}

function pathSums(picture) {
  if (picture.sums) return picture.sums;
  const { size, places, parents } = picture;
  const ofFunctions = picture.functions.map(({ name, file }) => textSum(`${name}\n${file}`));
  const sums = new Uint32Array(size);
  for (let node = 1; node < size; node += 1) sums[node] = mixed(sums[parents[node]], ofFunctions[places[node]]);
  picture.sums = sums;
  return sums;
}

function textSum(text) {
  let sum = 0;
  for (let i = 0; i < text.length; i += 1) sum = mixed(sum, text.charCodeAt(i));
  return sum;
}

/** A step of a hash that tells "ab" from "ba". */
function mixed(sum, next) {
  const product = Math.imul((sum ^ next) + 1, 0x9e3779b1);
  return (product ^ (product >>> 15)) >>> 0;
}
