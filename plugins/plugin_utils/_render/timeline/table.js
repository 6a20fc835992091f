// What was seen in a round, or in two of them: the functions, and how to open the reports.

/** The rows of one slice, hottest first; of two, with the largest change first. */
function functionRows(line, slice, second) {
  const rows = line.functions.map(([name, file], place) => {
    const shares = (one) => ({ own: shareOf(line, one.index, place, 0), total: shareOf(line, one.index, place, 1) });
    return { name, file, now: shares(slice), before: second ? shares(second) : null };
  });
  const weight = ({ now, before }) => (before ? Math.abs(now.own - before.own) : now.own);
  const rest = ({ now, before }) => (before ? Math.abs(now.total - before.total) : now.total);
  return rows.sort((a, b) => weight(b) - weight(a) || rest(b) - rest(a));
}

function fillTable(table, line, slice, second) {
  const cell = (name, text) => element(name, name === "th" ? { scope: "col" } : {}, text);
  const figure = (name, text) => Object.assign(cell(name, text), { className: "figure" });
  // On a phone the first columns are in sight: what has changed, and by how much.
  const columns = second
    ? [
        [figure, "Own, change", ({ now, before }) => signed(now.own - before.own)],
        [cell, "Function", ({ name }) => element("code", {}, name)],
        [figure, "Own", ({ now, before }) => arrow(before.own, now.own)],
        [figure, "Total", ({ now, before }) => arrow(before.total, now.total)],
        [figure, "Total, change", ({ now, before }) => signed(now.total - before.total)],
      ]
    : [
        [figure, "Own", ({ now }) => percent(now.own)],
        [figure, "Total", ({ now }) => percent(now.total)],
        [cell, "Function", ({ name }) => element("code", {}, name)],
      ];
  columns.push([cell, "File", ({ file }) => element("code", {}, file)]);
  table.tHead.replaceChildren(element("tr", {}, ...columns.map(([kind, head]) => kind("th", head))));
  const rows = functionRows(line, slice, second);
  table.tBodies[0].replaceChildren(
    ...rows.map((row) => element("tr", {}, ...columns.map(([kind, , content]) => kind("td", content(row))))),
  );
}

function arrow(before, now) {
  return `${(100 * before).toFixed(1)} → ${(100 * now).toFixed(1)} %`;
}

function signed(change) {
  // Not -0.0.
  const points = Math.round(1000 * change) / 10 || 0;
  return `${points >= 0 ? "+" : ""}${points.toFixed(1)}`;
}

/** A round in words. */
function roundWords(slice) {
  const { round } = slice;
  const parts = [
    `${utc(slice.began)} UTC`,
    `version ${versionName(slice.version)}`,
    `${counted(slice.workers, "worker")} on ${counted(slice.hosts, "host")}`,
    counted(slice.samples, "sample"),
  ];
  if (round.chosen && round.chosen < round.hosts) {
    parts.push(`${round.chosen} of the play's ${round.hosts} hosts visited: each stands for ${(round.hosts / round.chosen).toFixed(1)}`);
  }
  return `${round.name}: ${parts.join(", ")}`;
}

/** Links to reports and the commands that make them; names that no round has are not put into commands. */
function fillWays(box, slice, second) {
  const ways = [];
  const chosen = second && second.round !== slice.round ? [second.round, slice.round] : [slice.round];
  for (const round of chosen) {
    if (round.link) ways.push(element("p", {}, element("a", { href: round.link }, `Report of ${round.name}`)));
  }
  if (chosen.every(({ name }) => /^[A-Za-z0-9][A-Za-z0-9._+-]*$/.test(name))) {
    const [a, b] = chosen.map(({ name }) => name);
    const compares = `ansible-playbook pyspy.fleet.diff -e pyspy_diff_a=round=${a} -e pyspy_diff_b=round=${b}`;
    if (b) ways.push(command("Which of these changes are more than noise, with flame graphs of both:", compares));
    for (const name of [b || a]) {
      ways.push(command(`The whole report of ${name}, made again from the store:`, `ansible-playbook pyspy.fleet.history -e pyspy_history_rounds=${name}`));
    }
  } else {
    ways.push(element("p", { className: "soft" }, "No command is shown: a round's name has characters that rounds do not have."));
  }
  box.replaceChildren(...ways);
}

function command(what, text) {
  return element("p", {}, what, element("br"), element("code", { className: "command" }, text));
}

function counted(number, word) {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}
