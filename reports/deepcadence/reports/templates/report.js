"use strict";

// Data only ever becomes text: nothing here is parsed as HTML.
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// ---- tables: a click on a heading sorts, a second one turns the order round; what has no value stays last

function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(text);
  return { missing: text === "" || text === "–", number, numeric: !Number.isNaN(number), text };
}

function compare(one, two) {
  if (one.numeric && two.numeric) return one.number - two.number;
  return one.text.localeCompare(two.text, "en", { numeric: true });
}

function sortBy(table, column, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
  rows.sort((one, two) => one.value.missing - two.value.missing
    || (one.value.missing ? 0 : compare(one.value, two.value) * (descending ? -1 : 1)));
  body.append(...rows.map((each) => each.row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = make("button", { type: "button", className: "sort" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortBy(table, column, descending);
    });
  });
}

// ---- the front: points say what they are on hover and focus, and give their schedule on a click

function livelyFront(chart, points) {
  const panel = document.getElementById("front-panel");
  const part = (name) => panel.querySelector(`.${name}`);
  const tip = make("div", { className: "tip", hidden: true, ariaHidden: "true" });
  const buttons = points.map((point) => {
    const button = make("button", { type: "button", className: "point", tabIndex: -1 });
    button.setAttribute("aria-label", `${point.label}: ${point.facts}`);
    button.style.left = `${100 * point.left}%`;
    button.style.top = `${100 * point.top}%`;
    return button;
  });
  const group = make("div", { className: "points" }, ...buttons);
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Trials from cheap to dear; arrow keys move between them");
  chart.append(group, tip);
  let shown = 0;

  function say(index) {
    const point = points[index];
    tip.replaceChildren(make("strong", {}, point.label), make("span", {}, point.facts));
    tip.hidden = false;
    tip.style.left = `${100 * Math.min(Math.max(point.left, 0.2), 0.8)}%`;
    tip.style.top = `${100 * point.top}%`;
    tip.classList.toggle("below", point.top < 0.3);
    buttons.forEach((button, place) => button.classList.toggle("near", place === index));
  }

  function hush() {
    tip.hidden = true;
    buttons.forEach((button) => button.classList.remove("near"));
  }

  function open(index) {
    const point = points[index];
    shown = index;
    buttons.forEach((button, place) => {
      if (place === index) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      button.tabIndex = place === index ? 0 : -1;
    });
    part("name").textContent = point.label;
    part("summary").textContent = `Trial ${point.number}: ${point.facts}. Measured on the search seeds.`;
    part("why").textContent = point.note;
    part("why").hidden = !point.note;
    part("json").textContent = point.json;
    part("state").textContent = "";
    for (const name of ["file", "copy", "save"]) part(name).hidden = !point.json;
    panel.hidden = false;
    panel.focus({ preventScroll: true });
    panel.scrollIntoView({ block: "nearest" });
  }

  function nearest(event) {
    const box = chart.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const away = points.map((point) => Math.hypot(point.left * box.width - x, point.top * box.height - y));
    const index = away.indexOf(Math.min(...away));
    return away[index] <= 20 ? index : -1;
  }

  function move(event) {
    const at = buttons.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1,
      Home: 0, End: points.length - 1 }[event.key];
    if (event.key === "Escape") hush();
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = Math.min(Math.max(to, 0), points.length - 1);
    buttons.forEach((button, place) => { button.tabIndex = place === next ? 0 : -1; });
    buttons[next].focus();
  }

  buttons[Math.max(0, points.findIndex((point) => point.json))].tabIndex = 0;
  buttons.forEach((button, index) => {
    button.addEventListener("focus", () => say(index));
    button.addEventListener("blur", hush);
    button.addEventListener("click", (event) => { event.stopPropagation(); open(index); });
  });
  group.addEventListener("keydown", move);
  chart.addEventListener("pointermove", (event) => {
    const index = nearest(event);
    chart.classList.toggle("hit", index >= 0);
    if (index >= 0) say(index); else hush();
  });
  chart.addEventListener("pointerleave", hush);
  chart.addEventListener("click", (event) => {
    const index = nearest(event);
    if (index >= 0) open(index);
  });

  part("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(points[shown].json);
      part("state").textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(part("json"));
      part("state").textContent = "Selected: copy it with Ctrl+C or Cmd+C.";
    }
  });
  part("save").addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([points[shown].json], { type: "application/json" }));
    make("a", { href: address, download: `schedule-trial-${points[shown].number}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    part("state").textContent = "Saved.";
  });
  part("close").addEventListener("click", () => {
    panel.hidden = true;
    buttons[shown].focus({ preventScroll: true });
  });
}

const data = document.getElementById("front-points");
const points = data ? JSON.parse(data.textContent) : [];
if (points.length) livelyFront(document.querySelector("#front-plot .chart"), points);
document.documentElement.classList.add("js");
