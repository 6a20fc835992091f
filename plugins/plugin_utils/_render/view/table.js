// The table of functions: what the graph shows, for everybody, and how each function is spread over the hosts.

const ROWS_AT_FIRST = 25;
const ROWS_MORE = 200;

const COLUMNS = {
  own: (row) => -row.own,
  total: (row) => -row.total,
  name: (row, picture) => picture.functions[row.place].name,
  place: (row, picture) => picture.functions[row.place].file,
  lowest: (row) => -row.lowest.share,
  median: (row) => -row.median,
  highest: (row) => -row.highest.share,
  spread: (row) => row.lowest.share - row.highest.share,
};

class FunctionTable {
  /** `onPick(function)` is told which function a person wants to see in the graph. */
  constructor(table, more, { onPick, onSort }) {
    Object.assign(this, { table, more, onPick, onSort, limit: ROWS_AT_FIRST, sort: "own" });
    for (const button of table.querySelectorAll("th button")) {
      button.addEventListener("click", () => this.onSort(button.dataset.sort));
    }
    more.addEventListener("click", () => {
      this.limit += ROWS_MORE;
      this.fill();
    });
  }

  show(picture, rows, found, sort) {
    this.picture = picture;
    this.sort = COLUMNS[sort] ? sort : "own";
    const key = COLUMNS[this.sort];
    const compare = (a, b) => {
      const [left, right] = [key(a, picture), key(b, picture)];
      if (left !== right) return left < right ? -1 : 1;
      return b.own - a.own || b.total - a.total || a.place - b.place;
    };
    this.rows = rows.filter((row) => !found || found[row.place]).sort(compare);
    for (const head of this.table.querySelectorAll("th")) {
      const mine = head.querySelector("button");
      if (mine && mine.dataset.sort === this.sort) {
        head.setAttribute("aria-sort", ["name", "place"].includes(this.sort) ? "ascending" : "descending");
      } else {
        head.removeAttribute("aria-sort");
      }
    }
    this.limit = ROWS_AT_FIRST;
    this.fill();
  }

  fill() {
    const body = document.createElement("tbody");
    for (const row of this.rows.slice(0, this.limit)) body.append(this.line(row));
    this.table.tBodies[0].replaceWith(body);
    const left = this.rows.length - this.limit;
    this.more.hidden = left <= 0;
    this.more.textContent = `Show ${Math.min(left, ROWS_MORE)} of ${left} more functions`;
  }

  line(row) {
    const { name, file } = this.picture.functions[row.place];
    const button = element("button", { className: "plain", type: "button" }, element("code", {}, name));
    button.addEventListener("click", () => this.onPick(this.picture.functions[row.place]));
    const where = element("td", { title: file }, element("code", {}, shortPlace(file, row.line)));
    const line = document.createElement("tr");
    line.append(
      element("td", { className: "figure" }, withError(row.own, row.ownError)),
      element("td", { className: "figure" }, withError(row.total, row.totalError)),
      element("td", {}, button),
      where,
      onHost(row.lowest),
      element("td", { className: "figure" }, percent(row.median)),
      onHost(row.highest),
    );
    return line;
  }
}

function onHost({ host, share }) {
  return element("td", { className: "figure" }, percent(share), element("br"), element("span", { className: "soft" }, host));
}

/** An element with properties and with what is in it; text stays text. */
function element(name, properties = {}, ...content) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...content);
  return made;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function withError(share, error) {
  return `${(100 * share).toFixed(1)} ± ${(100 * error).toFixed(1)} %`;
}

/** The last two parts of a path, and the line. */
function shortPlace(file, line) {
  const short = file.split("/").slice(-2).join("/");
  return line ? `${short}:${line}` : short;
}
