// Sorts tables by a column: numbers largest first, texts from A. Without scripts, tables keep their order.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const isText = !head.classList.contains("n");
    const text = (row) => row.cells[column].textContent.trim();
    const number = (row) => row.cells[column].dataset.value;
    const isMissing = (row) => isText ? !text(row) : number(row) === undefined;
    const compare = (row, other) => isText
      ? text(row).localeCompare(text(other), document.documentElement.lang)
      : number(row) - number(other);
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const isAscending = isText ? head.ariaSort !== "ascending" : head.ariaSort === "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.ariaSort = isAscending ? "ascending" : "descending";
      const known = [...body.rows].filter((row) => !isMissing(row)), missing = [...body.rows].filter(isMissing);
      known.sort((row, other) => (isAscending ? 1 : -1) * compare(row, other));
      body.append(...known, ...missing);
    });
  });
}
// MLflow shows the page as a blob in a frame that blocks links within it: go to their targets, and open folds around these.
if (location.protocol === "blob:") {
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    link.addEventListener("click", (event) => {
      const target = document.getElementById(link.getAttribute("href").slice(1));
      event.preventDefault();
      for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
      target.tabIndex = -1;
      target.focus();
      target.scrollIntoView();
    });
  }
}
// Opens all folds for printing, in browsers whose style sheets cannot.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((fold) => { fold.open = true; });
});
addEventListener("afterprint", () => opened.forEach((fold) => { fold.open = false; }));
