"use strict";
(() => {
  const list = document.getElementById("answers");
  const rows = [...list.children];
  const search = document.getElementById("search");
  const order = document.getElementById("order");
  const shown = document.getElementById("shown");
  const none = document.getElementById("none");
  const help = document.getElementById("help");
  const buttons = [...document.querySelectorAll(".verdicts button")];
  const texts = new Map(rows.map((row) => [row, row.dataset.text.toLowerCase()]));
  let verdict = "";
  let current = null;

  const collator = new Intl.Collator(undefined, { numeric: true });
  const by = {
    asked: (a, b) => a.dataset.number - b.dataset.number,
    surest: (a, b) => b.dataset.similarity - a.dataset.similarity,
    unsurest: (a, b) => a.dataset.similarity - b.dataset.similarity,
    label: (a, b) => collator.compare(a.dataset.label, b.dataset.label),
    name: (a, b) => collator.compare(a.dataset.name, b.dataset.name),
  };

  const visible = () => [...list.children].filter((row) => !row.hidden);

  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const fits = (!verdict || row.dataset.verdict === verdict)
        && words.every((word) => texts.get(row).includes(word));
      row.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${rows.length} shown`;
    none.hidden = count > 0;
    if (current && current.hidden) mark(null);
  };

  const sort = () => {
    const sorted = [...rows].sort((a, b) => by[order.value](a, b) || by.asked(a, b));
    list.append(...sorted);
  };

  const choose = (wanted) => {
    verdict = wanted;
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.verdict === wanted));
    }
    apply();
  };

  const mark = (row) => {
    if (current) current.removeAttribute("aria-current");
    current = row;
    if (row) {
      row.setAttribute("aria-current", "true");
      row.focus({ preventScroll: true });
      row.scrollIntoView({ block: "nearest" });
    }
  };

  const step = (by) => {
    const all = visible();
    if (!all.length) return;
    const at = all.indexOf(current);
    const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by;
    mark(all[Math.max(0, Math.min(all.length - 1, next))]);
  };

  const keys = {
    j: () => step(1), ArrowDown: () => step(1),
    k: () => step(-1), ArrowUp: () => step(-1),
    Home: () => mark(visible()[0] || null),
    End: () => mark(visible().at(-1) || null),
    "/": () => search.focus(),
    "?": () => (help.open ? help.close() : help.showModal()),
    a: () => choose(""), r: () => choose("right"), w: () => choose("wrong"),
    u: () => choose("unknown"),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && event.target === search) {
      search.value = "";
      apply();
      search.blur();
      return;
    }
    if (event.target.closest("input, select, textarea")) return;
    if (help.open && event.key !== "?") return;
    const action = keys[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });
  list.addEventListener("click", (event) => {
    const row = event.target.closest(".answer");
    if (row) mark(row);
  });
  search.addEventListener("input", apply);
  order.addEventListener("change", sort);
  for (const button of buttons) {
    button.addEventListener("click", () => choose(button.dataset.verdict));
  }
  document.getElementById("ask").addEventListener("click", () => help.showModal());
  document.getElementById("close").addEventListener("click", () => help.close());
  // What a browser kept of an earlier visit holds from the start.
  if (order.value !== "asked") sort();
  apply();
})();
