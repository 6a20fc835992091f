// What the chosen workers and threads did: seconds of nodes for the graph, shares of functions for the table.
// The rules for errors are those of _spread.py, which makes the same table for readers without scripts.

const ENOUGH_WORKERS = 5;
const ERRORS = 2;

/** The series that are chosen. */
function chosenSeries(picture, groups, choice) {
  const hosts = choice.group.startsWith("group ") ? new Set(groups[choice.group.slice(6)] || []) : null;
  const container = choice.group.startsWith("container ") ? choice.group.slice(10) : null;
  const unit = choice.group.startsWith("unit ") ? choice.group.slice(5) : null;
  return picture.series.filter((series) => {
    const worker = picture.workers[series.worker];
    return (
      (!hosts || hosts.has(worker.host)) &&
      (container === null || worker.container === container) &&
      (unit === null || worker.unit === unit) &&
      (!choice.host || worker.host === choice.host) &&
      (!choice.worker || workerKey(worker) === choice.worker) &&
      (!choice.thread || picture.threads[series.thread] === choice.thread.slice(1))
    );
  });
}

function workerKey(worker) {
  return `${worker.host} ${worker.name}`;
}

/** Seconds of each node by itself (`own`) and with what it calls (`total`), and samples in all. */
function sumNodes(picture, chosen) {
  const own = new Float64Array(picture.size);
  let samples = 0;
  for (const { nodes, counts, tick } of chosen) {
    for (let i = 0; i < nodes.length; i += 1) {
      own[nodes[i]] += counts[i] * tick;
      samples += counts[i];
    }
  }
  const total = Float64Array.from(own);
  for (let node = picture.size - 1; node > 0; node -= 1) total[picture.parents[node]] += total[node];
  return { own, total, samples, seconds: total[0] };
}

/** Seconds of each function by itself and with what it calls; recursion counts once. */
function sumFunctions(picture, sums) {
  const own = new Float64Array(picture.functions.length);
  const total = new Float64Array(picture.functions.length);
  for (let node = 1; node < picture.size; node += 1) {
    if (sums.total[node] === 0) continue;
    own[picture.places[node]] += sums.own[node];
    if (picture.outermost[node]) total[picture.places[node]] += sums.total[node];
  }
  return { own, total, samples: sums.samples, seconds: sums.seconds };
}

/** The same of each worker that is chosen. */
function sumWorkers(picture, chosen) {
  const byWorker = new Map();
  for (const series of chosen) {
    if (!byWorker.has(series.worker)) byWorker.set(series.worker, []);
    byWorker.get(series.worker).push(series);
  }
  const found = [];
  for (const [worker, series] of byWorker) {
    const sums = sumFunctions(picture, sumNodes(picture, series));
    if (sums.seconds) found.push({ host: picture.workers[worker].host, ...sums });
  }
  return found;
}

/** One row for each function: shares with their errors, and how its own share is spread over hosts. */
function tableRows(picture, sums, workers) {
  const whole = sumFunctions(picture, sums);
  const hosts = sumHosts(picture, workers);
  const lines = hottestLines(picture, sums);
  const rows = [];
  for (let place = 0; place < picture.functions.length; place += 1) {
    if (!whole.total[place]) continue;
    const shares = hosts.map(({ host, own, seconds }) => ({ host, share: own[place] / seconds }));
    shares.sort((a, b) => a.share - b.share || (a.host < b.host ? -1 : 1));
    const highest = shares[shares.length - 1].share;
    rows.push({
      place,
      line: lines[place],
      own: whole.own[place] / whole.seconds,
      ownError: errorOf(workers, "own", place, whole.samples),
      total: whole.total[place] / whole.seconds,
      totalError: errorOf(workers, "total", place, whole.samples),
      lowest: shares[0],
      median: middle(shares.map(({ share }) => share)),
      highest: shares.find(({ share }) => share === highest),
    });
  }
  return rows;
}

function sumHosts(picture, workers) {
  const hosts = new Map();
  for (const worker of workers) {
    const host = hosts.get(worker.host);
    if (!host) {
      hosts.set(worker.host, { host: worker.host, own: Float64Array.from(worker.own), seconds: worker.seconds });
      continue;
    }
    host.seconds += worker.seconds;
    for (let place = 0; place < host.own.length; place += 1) host.own[place] += worker.own[place];
  }
  return [...hosts.values()].sort((a, b) => (a.host < b.host ? -1 : 1));
}

function middle(sorted) {
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** ± around a share. */
function errorOf(workers, which, place, samples) {
  let seconds = 0;
  let some = 0;
  for (const worker of workers) {
    seconds += worker.seconds;
    some += worker[which][place];
  }
  const ratio = some / seconds;
  const counted = Math.sqrt((ratio * (1 - Math.min(ratio, 1))) / samples);
  if (workers.length < ENOUGH_WORKERS) return ERRORS * counted;
  let squares = 0;
  for (const worker of workers) squares += (worker[which][place] - ratio * worker.seconds) ** 2;
  return ERRORS * Math.max(counted, Math.sqrt((squares * workers.length) / (workers.length - 1)) / seconds);
}

/** The line of each function in the hottest of its nodes. */
function hottestLines(picture, sums) {
  const lines = new Int32Array(picture.functions.length);
  const most = new Float64Array(picture.functions.length).fill(-1);
  for (let node = 1; node < picture.size; node += 1) {
    const place = picture.places[node];
    if (sums.own[node] > most[place] || (sums.own[node] === most[place] && picture.lines[node] > lines[place])) {
      most[place] = sums.own[node];
      lines[place] = picture.lines[node];
    }
  }
  return lines;
}
