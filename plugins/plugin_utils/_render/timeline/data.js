// The document of the page: rounds, and for each service its slices; shares stay packed until they are drawn.

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const VALUES = new Uint8Array(128);
for (let i = 0; i < DIGITS.length; i += 1) VALUES[DIGITS.charCodeAt(i)] = i;
/** Beyond this many usual distances between rounds there was none: the line has a gap. */
const GAP = 1.6;

function readTimelines() {
  const content = JSON.parse(document.getElementById("data").textContent);
  const rounds = content.rounds.map(([name, began, hosts, chosen, link]) => ({ name, began, hosts, chosen, link }));
  return { rounds, services: content.services, first: content.first };
}

/** One service: slices oldest first, each of one version in one round. */
function unpackLine(packed, rounds) {
  const turns = packed.runs.flatMap(([version, many]) => Array(many).fill(version));
  let number = 0;
  const slices = packed.at.map((step, index) => {
    number += step;
    return {
      index,
      round: rounds[number],
      began: rounds[number].began,
      turn: turns[index],
      version: packed.versions[turns[index]],
      hosts: packed.hosts[index],
      workers: packed.workers[index],
      samples: packed.samples[index],
    };
  });
  const steps = slices.slice(1).map(({ began }, i) => began - slices[i].began).filter((step) => step > 0);
  const usual = steps.sort((a, b) => a - b)[steps.length >> 1] || 0;
  return { ...packed, slices, gap: GAP * usual };
}

/** A function's part of a slice, of 1; `which` is 0 for its own, 1 with what it calls. */
function shareOf(line, index, place, which) {
  const at = 4 * (index * line.functions.length + place) + 2 * which;
  return (64 * VALUES[line.shares.charCodeAt(at)] + VALUES[line.shares.charCodeAt(at + 1)]) / 1000;
}

/** The first slice of each version that a service had. */
function versionStarts(line) {
  const starts = new Map();
  for (const slice of line.slices) if (!starts.has(slice.turn)) starts.set(slice.turn, slice);
  return [...starts.values()];
}

function utc(seconds) {
  const date = new Date(1000 * seconds);
  return Number.isNaN(date.getTime()) ? "?" : date.toISOString().slice(0, 19).replace("T", " ");
}

function versionName(version) {
  return version || "no version";
}

/** What the address calls a slice; a round has two of a service while it is being rolled out. */
function keyOf(slice) {
  return `${slice.round.name} ${slice.turn}`;
}
