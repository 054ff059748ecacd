"use strict";
// Tables: a button in every heading sorts, a box above some of them filters; what does not scroll is no stop for the
// keyboard. Without this script all of it can be read.
const reach = new ResizeObserver(entries => entries.forEach(({target: t}) => {
  t.tabIndex = t.scrollWidth > t.clientWidth || t.scrollHeight > t.clientHeight ? 0 : -1;
}));
document.querySelectorAll(".scroll").forEach(region => reach.observe(region));
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  const value = (row, k) => {
    const cell = row.cells[k];
    if (cell.dataset.v === undefined) return cell.textContent.trim().toLowerCase();
    return cell.dataset.v === "" ? NaN : Number(cell.dataset.v);
  };
  const compare = (a, b) => typeof a === "string" ? a.localeCompare(b, undefined, {numeric: true}) : a - b;
  heads.forEach((head, k) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `Sort by ${head.textContent.trim()}`);
    head.append("\u00a0", button);  // the words stay outside: a browser prints no button on a table's later pages
    button.addEventListener("click", () => {
      const number = body.rows[0].cells[k].dataset.v !== undefined;
      const first = number ? "descending" : "ascending", other = number ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      const sign = order === "ascending" ? 1 : -1;
      heads.forEach(h => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const missing = v => Number.isNaN(v);
      const rows = [...body.rows].map(row => [value(row, k), row]);
      rows.sort(([a], [b]) => missing(a) || missing(b) ? missing(a) - missing(b) : sign * compare(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  });
  if (!("search" in table.dataset)) continue;
  const find = document.createElement("div"), label = document.createElement("label");
  const input = document.createElement("input"), output = document.createElement("output");
  find.className = "find";
  input.type = "search";
  input.autocomplete = "off";
  label.append("Filter the rows: ", input);
  find.append(label, output);
  table.parentElement.before(find);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
      n += !row.hidden;
    }
    output.textContent = words.length ? `${n} of ${body.rows.length} rows` : "";
  });
}
