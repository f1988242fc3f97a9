"use strict";
(() => {
  const root = document.documentElement;
  const store = { get: () => null, set: () => undefined };
  try { // files and private windows may refuse it
    const kept = window.localStorage;
    store.get = () => kept.getItem("securefl-theme");
    store.set = (theme) => kept.setItem("securefl-theme", theme);
  } catch { /* then the page remembers nothing */ }

  const button = document.getElementById("theme");
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : window.matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
  try {
    const theme = store.get();
    if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  } catch { /* as above */ }
  button.hidden = false;
  name();
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
    try { store.set(root.dataset.theme); } catch { /* as above */ }
  });

  const units = { kB: 1e3, MB: 1e6, GB: 1e9 };
  // A number that a text begins with, in bytes where it has such a unit; null for other texts.
  const number = (text) => {
    const match = /^[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf)/i.exec(text);
    if (!match) return null;
    const unit = /^\s*([kMG]B)\b/.exec(text.slice(match[0].length));
    const value = /inf/i.test(match[0]) ? Infinity : parseFloat(match[0]);
    return unit ? value * units[unit[1]] : value;
  };
  const order = (left, right) => {
    const a = number(left), b = number(right);
    if (a !== null && b !== null) return a - b;
    return left.localeCompare(right, "en", { numeric: true });
  };

  const sortBy = (table, column, head) => {
    const falling = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const body = table.tBodies[0];
    const textOf = (row) => row.cells[column]?.textContent.trim() ?? "";
    const rows = [...body.rows].map((row) => ({ row, text: textOf(row) }));
    // Rows without a number stay at the end of a column of numbers, whichever way it is sorted.
    const numeric = rows.some(({ text }) => number(text) !== null);
    const last = ({ text }) => text === "" || (numeric && column > 0 && number(text) === null);
    rows.sort((a, b) => last(a) - last(b) || (falling ? -1 : 1) * order(a.text, b.text));
    body.append(...rows.map(({ row }) => row));
  };

  const filtered = (table) => {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 8) return;
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const box = document.createElement("div");
    box.className = "filter";
    const label = document.createElement("label");
    const input = document.createElement("input");
    const count = document.createElement("output");
    label.textContent = "Filter rows";
    input.type = "search";
    input.id = label.htmlFor = `filter-${filters += 1}`;
    count.htmlFor = input.id;
    count.textContent = `${rows.length} rows`;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const [row, text] of texts) {
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
    });
    box.append(label, input, count);
    table.parentElement.before(box);
  };

  let filters = 0;
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const sorter = document.createElement("button");
      sorter.type = "button";
      sorter.textContent = head.textContent;
      head.replaceChildren(sorter);
      sorter.addEventListener("click", () => sortBy(table, column, head));
    });
    filtered(table);
  }
  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
})();
