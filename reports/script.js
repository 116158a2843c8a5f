"use strict";
// Sorting a table by one of its columns: by number where every cell starts with one, else by text.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const body = table.tBodies[0];
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const rows = [...body.rows];
      const numeric = rows.every((row) => key(row) === "–" || !Number.isNaN(Number.parseFloat(key(row).replace("∞", "1e999"))));
      const value = (row) => (key(row) === "–" ? -Infinity : Number.parseFloat(key(row).replace("∞", "1e999")));
      rows.sort((a, b) => {
        const order = numeric ? value(a) - value(b) || 0 : key(a).localeCompare(key(b), undefined, { numeric: true });
        return descending ? -order : order;
      });
      body.append(...rows);
    });
  });
}
// A chapter that was folded away is on the paper too.
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
