// Conveniences on top of pages that work without them: sort and filter tables, search while
// typing, show the local time of an airport.
"use strict";

const TYPING_PAUSE_MS = 150;
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
for (const box of document.querySelectorAll("[data-filter-for]")) makeFilter(box);
for (const form of document.querySelectorAll("[data-search-into]")) searchWhileTyping(form);
for (const row of document.querySelectorAll("[data-local-time]")) showLocalTime(row);

// Sorting

function makeSortable(table) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, head, column));
    head.append(button);
  });
}

function sortBy(table, head, column) {
  const isNumber = head.classList.contains("number");
  // A first click shows the largest numbers, and words from A.
  const first = isNumber ? "descending" : "ascending";
  const second = isNumber ? "ascending" : "descending";
  const direction = head.getAttribute("aria-sort") === first ? second : first;
  for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort((a, b) => sign * compareCells(a.cells[column], b.cells[column])));
}

function compareCells(a, b) {
  if (a.dataset.value !== undefined) return Number(a.dataset.value) - Number(b.dataset.value);
  return collator.compare(a.textContent.trim(), b.textContent.trim());
}

// Filtering

function makeFilter(box) {
  const rows = [...document.getElementById(box.dataset.filterFor).tBodies[0].rows];
  const texts = rows.map((row) => fold(row.textContent));
  const input = box.querySelector("input");
  const output = box.querySelector("output");
  input.addEventListener("input", () => {
    const words = fold(input.value).split(/\s+/);
    let shown = 0;
    rows.forEach((row, index) => {
      row.hidden = !words.every((word) => texts[index].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    output.textContent = input.value.trim() ? `${shown} of ${rows.length}` : "";
  });
  box.hidden = false;
}

function fold(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().trim();
}

// Searching

function searchWhileTyping(form) {
  const results = document.getElementById(form.dataset.searchInto);
  const input = form.elements.q;
  let timer;
  let running = new AbortController();
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(update, TYPING_PAUSE_MS);
  });

  async function update() {
    running.abort(); // An answer to earlier letters must not replace one to later letters.
    running = new AbortController();
    const query = new URLSearchParams({ q: input.value });
    try {
      const response = await fetch(`${form.action}?${query}&part=results`, { signal: running.signal });
      if (!response.ok) return; // The button still works, and shows what is wrong.
      results.innerHTML = await response.text();
      history.replaceState(null, "", `?${query}`);
    } catch (error) {
      if (error.name !== "AbortError") console.warn("The search could not be updated:", error);
    }
  }
}

// Local time

function showLocalTime(row) {
  const time = row.querySelector("time");
  const options = { timeZone: row.dataset.localTime, weekday: "short", hour: "2-digit", minute: "2-digit" };
  let format;
  try {
    format = new Intl.DateTimeFormat("en-GB", options);
  } catch {
    return; // This browser does not know the time zone.
  }
  const update = () => { time.textContent = format.format(new Date()); };
  update();
  setInterval(update, 5000);
  row.hidden = false;
}
