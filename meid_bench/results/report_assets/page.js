"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const documents = {};  // dataset id -> Bokeh documents that are on the page

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // Bokeh draws on canvases, which no style sheet reaches: each model is given the page's colours.
  const paint = (doc) => {
    const [ink, quiet, line] = ["ink", "quiet", "line"].map(colour);
    for (const model of doc._all_models.values()) {
      const kind = model.type;
      if (kind.endsWith("Axis")) {
        model.setv({ axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: quiet,
          major_tick_line_color: quiet, minor_tick_line_color: null });
      } else if (kind === "Grid") {
        model.setv({ grid_line_color: line });
      } else if (kind === "Figure") {
        model.setv({ outline_line_color: line });
      }
      for (const tag of model.tags || []) {  // "fill_color=head": this property, that colour
        const [property, name] = String(tag).split("=");
        if (name) model.setv({ [property]: colour(name) });
      }
    }
  };

  const embed = async (dataset) => {
    if (documents[dataset]) return;
    documents[dataset] = [];
    for (const [name, item] of Object.entries(data[dataset].plots)) {
      const views = await Bokeh.embed.embed_item(item, `${dataset}-${name}`);
      const doc = [...views][0].model.document;
      documents[dataset].push(doc);
      paint(doc);
    }
    showPair(dataset);
    document.body.dataset.ready = dataset;
  };

  const source = (dataset, name) =>
    documents[dataset].map((doc) => doc.get_model_by_name(name)).find((model) => model);

  const showPair = (dataset) => {
    const { classes, counts, groups, rows } = data[dataset];
    const [a, b] = ["a", "b"].map((side) => rows[Number((byId(`${dataset}-${side}`) || {}).value)]);
    if (!a || !b || !source(dataset, "a")) return;
    const x = counts.map((count) => Math.max(count, 0.5));  // a log axis has no zero
    for (const [name, row] of [["a", a], ["b", b]]) {
      source(dataset, name).data = { x, ap: row.ap.map((ap) => ap === null ? NaN : ap), name: classes, count: counts,
        group: groups, method: classes.map(() => row.label) };
    }
    const order = classes.map((_, c) => c).filter((c) => a.ap[c] !== null && b.ap[c] !== null)
      .sort((c, d) => (a.ap[d] - b.ap[d]) - (a.ap[c] - b.ap[c]));
    const pick = (list) => order.map((c) => list[c]);
    source(dataset, "gain").data = { x: order.map((_, i) => i), gain: order.map((c) => a.ap[c] - b.ap[c]),
      name: pick(classes), count: pick(counts), group: pick(groups), colour: pick(groups).map(colour) };
    fillTable(dataset, a, b);
  };

  const fillTable = (dataset, a, b) => {
    const { classes, counts, groups } = data[dataset];
    const body = document.querySelector(`details.classes[data-dataset="${dataset}"] tbody`);
    const shown = (value) => value === null ? "" : value.toFixed(3);
    body.replaceChildren(...classes.map((name, c) => {
      const row = document.createElement("tr");
      const gain = a.ap[c] === null || b.ap[c] === null ? null : a.ap[c] - b.ap[c];
      [name, counts[c], groups[c], shown(a.ap[c]), shown(b.ap[c]), shown(gain)].forEach((text, column) => {
        const cell = row.appendChild(document.createElement("td"));
        cell.textContent = text;
        if (column !== 0 && column !== 2) cell.className = "number";
      });
      return row;
    }));
  };

  const filter = () => {
    const wanted = { method: byId("method").value, aggregator: byId("aggregator").value };
    for (const row of document.querySelectorAll("table.board tbody.rows tr")) {
      row.hidden = Object.entries(wanted).some(([key, value]) => value && row.dataset[key] !== value);
    }
    for (const body of document.querySelectorAll("table.board tbody.rows")) {
      body.previousElementSibling.hidden = [...body.rows].every((row) => row.hidden);
    }
  };

  // Only what the chosen benchmark has can be chosen.
  const offer = (dataset) => {
    for (const key of ["method", "aggregator"]) {
      const select = byId(key);
      const values = [...document.querySelectorAll(`#${dataset} table.board tbody.rows tr`)].map((row) => row.dataset[key]);
      const options = [...new Set(values)].filter((value) => value).sort().map((value) => new Option(value, value));
      select.replaceChildren(new Option("all", ""), ...options);
    }
    filter();
  };

  const show = (dataset) => {
    for (const section of document.querySelectorAll("section.dataset")) section.hidden = section.id !== dataset;
    offer(dataset);
    embed(dataset);
  };

  // Within a block only: blocks have other features or another protocol.
  const sort = (header) => {
    const table = header.closest("table");
    const column = header.cellIndex;
    const numeric = header.classList.contains("number");
    const previous = header.getAttribute("aria-sort");
    const descending = previous ? previous === "ascending" : numeric && header.textContent.trim() !== "rank";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");  // what is not known is last
      const order = numeric ? Number(x) - Number(y) : x.localeCompare(y);
      return descending ? -order : order;
    };
    for (const body of table.querySelectorAll("tbody.rows")) body.append(...[...body.rows].sort(compare));
  };

  for (const button of document.querySelectorAll("table.board thead button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }
  for (const box of document.querySelectorAll("fieldset.curves input")) {
    box.addEventListener("change", () => {
      const dataset = box.closest("section").id;
      const prefix = box.dataset.curve;
      for (const doc of documents[dataset] || []) {
        for (const model of doc._all_models.values()) {
          if (model.type === "GlyphRenderer" && (model.tags || []).includes(prefix)) model.visible = box.checked;
        }
      }
    });
  }
  byId("dataset").addEventListener("change", (event) => show(event.target.value));
  for (const key of ["method", "aggregator"]) byId(key).addEventListener("change", filter);
  for (const dataset of Object.keys(data)) {
    for (const side of ["a", "b"]) {
      const select = byId(`${dataset}-${side}`);
      if (select) select.addEventListener("change", () => showPair(dataset));
    }
  }
  dark.addEventListener("change", () => {
    for (const [dataset, docs] of Object.entries(documents)) {
      docs.forEach(paint);
      showPair(dataset);
    }
  });
  show(byId("dataset").value);
})();
