"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const chosen = {};
  const drawn = new Map();
  const LEAST = 120; // A narrower box is not on view: axes would have no length.
  const config = { displayModeBar: false, responsive: false, scrollZoom: false, doubleClick: false };

  // Figures name colours by token; only values under these keys are tokens, so no user string is mistaken for one.
  const isColor = (key) => /color(scale)?$/i.test(key);

  function paint(value, key, style) {
    if (typeof value === "string") {
      return isColor(key) && value[0] === "@" ? style.getPropertyValue("--" + value.slice(1)).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => paint(item, key, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, paint(v, k, style)]));
    }
    return value;
  }

  function merge(...parts) {
    const out = {};
    for (const part of parts) {
      for (const [key, value] of Object.entries(part || {})) {
        const both = [out[key], value].every((v) => v && typeof v === "object" && !Array.isArray(v));
        out[key] = both ? merge(out[key], value) : value;
      }
    }
    return out;
  }

  function draw(element) {
    const figure = figures[element.dataset.figure];
    const width = element.clientWidth;
    if (width < LEAST) return Promise.resolve();
    const narrow = width < 560;
    const variant = figure.variants[Math.min(chosen[figure.group] || 0, figure.variants.length - 1)];
    const small = narrow ? [figure.narrow, variant.narrow] : [];
    const style = getComputedStyle(document.documentElement);
    const layout = paint(merge(figure.layout, variant.layout, ...small, { width }), "", style);
    const traces = variant.traces.map(({ narrow: other, ...trace }) => {
      const all = merge(trace, narrow ? other : {});
      if (all.type === "heatmap" && narrow) all.colorbar = merge(all.colorbar, flat);
      return paint(all, "", style);
    });
    element.style.height = layout.height + "px";
    // Margins that a colour bar asked for outlive its moving from the side to below: start anew.
    if (drawn.has(element) && drawn.get(element) < 560 !== narrow) Plotly.purge(element);
    drawn.set(element, width);
    return Plotly.react(element, traces, layout, config);
  }

  // On a phone the colour bar lies under the map instead of taking a quarter of its width.
  const flat = {
    orientation: "h", x: 0.5, xanchor: "center", y: 0, yref: "container", yanchor: "bottom",
    len: 1, nticks: 5, tickangle: 0, title: { text: "" },
  };

  const plots = [...document.querySelectorAll("[data-figure]")];
  const drawAll = () => Promise.all(plots.map(draw));

  for (const select of document.querySelectorAll("select[data-group]")) {
    select.addEventListener("change", () => {
      const group = select.dataset.group;
      chosen[group] = Number(select.value);
      for (const part of document.querySelectorAll(`[data-variant][data-group="${group}"]`)) {
        part.hidden = part.dataset.variant !== select.value;
      }
      plots.filter((p) => figures[p.dataset.figure].group === group).forEach(draw);
    });
  }

  for (const box of document.querySelectorAll("input[data-extra]")) {
    box.addEventListener("change", () => {
      for (const row of document.querySelectorAll(`#${box.dataset.extra} tr.extra`)) row.hidden = !box.checked;
    });
  }

  function compare(a, b, numeric, direction) {
    // What is not known stands last, whichever way the rest is sorted.
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return direction * (numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
  }

  function sort(heading) {
    const table = heading.closest("table");
    const headings = [...table.tHead.rows[0].cells];
    const column = headings.indexOf(heading);
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    const numeric = heading.classList.contains("num");
    for (const other of headings) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.sort;
    const rows = [...table.tBodies[0].rows];
    rows.sort((r, s) => compare(key(r), key(s), numeric, ascending ? 1 : -1));
    table.tBodies[0].append(...rows);
  }

  for (const button of document.querySelectorAll("table.sortable thead button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }

  let waiting = 0;
  window.addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => plots.filter((p) => drawn.get(p) !== p.clientWidth).forEach(draw));
  });
  dark.addEventListener("change", drawAll);

  let closed = [];
  window.addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing");
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
    drawAll();
  });
  window.addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    for (const details of closed) details.open = false;
    drawAll();
  });

  drawAll().then(() => {
    document.documentElement.dataset.drawn = String(plots.length);
  });
})();
