// Tables: against other codecs, by quality, by picture (sortable), where bits are, and the page's words.

/** Fills a table; `left` are the columns of text. A cell is text or an element. */
function fillTable(table, head, rows, left = []) {
  const cell = (tag) => (content, i) => make(tag, left.includes(i) ? { class: "left" } : tag === "th" ? { scope: "col" } : {}, content);
  table.replaceChildren(
    make("thead", {}, make("tr", {}, ...head.map(cell("th")))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell("td"))))),
  );
}

/** A signed percentage in the colour of good or bad; `better` is -1 where less is better. */
function tinted(value, better, digits = 1) {
  const kind = value === null || value === undefined || Math.abs(value) < 0.05 ? "" : value * better > 0 ? "good" : "bad";
  return make("span", { class: kind }, percent(value, digits));
}

/** A cell of two lines, the second small. */
function stacked(first, second) {
  const cell = make("span", {}, first);
  if (second && second !== "\u2013") cell.append(make("small", {}, second));
  return cell;
}

function startHead() {
  const main = report.comparisons.find((c) => c.codec === "refined" && c.metric === LEAD) ?? report.comparisons[0];
  const { name, unit } = metric(LEAD);
  const count = report.pictures.length;
  const steps = report.iters ? `refined by at most ${report.iters} steps` : "encoded plainly";
  find("lead").textContent = count
    ? `${count} ${count === 1 ? "picture" : "pictures"}, ${steps} with the model ${report.model}, against plain encoding and what one would use instead. All from real files.`
    : "No picture was encoded.";
  find("verdict").textContent = report.verdict;
  const tile = (figure, text, kind = "") => make("div", { class: `tile ${kind}` }, make("div", { class: "figure" }, figure), make("p", {}, text));
  const tiles = find("tiles");
  if (main?.averaged.pchip_percent !== null && main) {
    const d = main.averaged;
    tiles.append(tile(percent(d.pchip_percent), `bits against plain at equal ${name} (BD-rate, ${number(d.metric_low, 1)} to ${number(d.metric_high, 1)} ${unit})${main.averaged_interval ? `, 95 %: ${interval(main.averaged_interval)}` : ""}`, "main"));
  }
  const middle = report.qualities[Math.floor((report.qualities.length - 1) / 2)];
  if (middle) {
    tiles.append(tile(percent(-middle.gain_percent), `cost at quality ${middle.quality}; ${middle.count[0]} better, ${middle.count[1]} equal, ${middle.count[2]} worse`, main?.averaged.pchip_percent === null ? "main" : ""));
  }
  const others = report.comparisons.filter((c) => c.codec === "refined" && c.averaged.pchip_percent !== null);
  for (const c of others.filter((c) => c.metric === LEAD && ["JPEG", LEAD === "psnr" ? "WebP" : ""].includes(c.anchor))) tiles.append(tile(percent(c.averaged.pchip_percent), `bits against ${c.anchor}`));
  for (const c of others.filter((c) => c.metric === "ssimulacra2" && ["plain", "AVIF", "JPEG XL"].includes(c.anchor) && c !== main)) tiles.append(tile(percent(c.averaged.pchip_percent), `bits against ${c.ladder} at equal SSIMULACRA 2`));
  const published = report.published.find((p) => p.codec === "refined" && p.delta.pchip_percent !== null);
  if (published) tiles.append(tile(percent(published.delta.pchip_percent), `bits against ${published.anchor}, published`));
}

function startNotes() {
  find("notes").hidden = !report.notes.length && !report.failures.length;
  find("note-list").append(...report.notes.map((note) => make("li", {}, note)));
  if (!report.failures.length) return;
  find("failures").hidden = false;
  fillTable(find("failures"), ["Failed", "By", "Why"], report.failures.map((f) => [shortName(f.image), f.codec, f.error]), [1, 2]);
  for (const cell of find("failures").querySelectorAll("td:last-child")) cell.className = "wrap";
}

/** Refined (full) with its interval, and plain (hollow), on one scale for all rows. */
function forest(refined, plain, span) {
  const place = (v) => 4 + (192 * (v - span[0])) / (span[1] - span[0]);
  const svg = draw("svg", { class: "forest", viewBox: "0 0 200 24", "aria-hidden": "true" });
  svg.append(draw("line", { x1: place(0), x2: place(0), y1: 0, y2: 24, stroke: "var(--muted)", "stroke-dasharray": "2 2" }));
  if (plain !== null) svg.append(draw("circle", { cx: place(plain), cy: 12, r: 4.5, fill: "none", stroke: "var(--k0)", "stroke-width": 2 }));
  if (refined.interval) svg.append(draw("line", { x1: place(refined.interval[0]), x2: place(refined.interval[1]), y1: 12, y2: 12, stroke: "var(--k1)", "stroke-width": 3 }));
  if (refined.value !== null) svg.append(draw("circle", { cx: place(refined.value), cy: 12, r: 5, fill: "var(--k1)" }));
  return svg;
}

function startRates() {
  metricChoice(find("rate-controls"), fillRates);
  fillRates(LEAD);
  const none = report.comparisons.every((c) => c.averaged.pchip_percent === null && c.mean_percent === null) && report.published.every((p) => p.delta.pchip_percent === null);
  find("rates").hidden = none; // the notes say why
}

function fillRates(key) {
  const { unit } = metric(key);
  const comparisons = report.comparisons.filter((c) => c.metric === key);
  const plainOf = (anchor) => comparisons.find((c) => c.codec === "plain" && c.anchor === anchor)?.averaged.pchip_percent ?? null;
  const rows = comparisons.filter((c) => c.codec === "refined").map((c) => ({
    name: c.ladder, delta: c.averaged, interval: c.averaged_interval, plain: plainOf(c.anchor), own: c.mean_percent, akima: c.akima_mean_percent, ownInterval: c.mean_interval,
    count: c.count.join(" \u00b7 "), compared: `${c.compared} ${c.compared === 1 ? "picture" : "pictures"}`,
  }));
  const published = Object.fromEntries(report.published.map((p) => [p.codec, p]));
  if (key === "psnr" && published.refined) rows.push({ name: `${published.refined.anchor}, published`, delta: published.refined.delta, interval: null, plain: published.plain.delta.pchip_percent, own: null, akima: null, ownInterval: null, count: "\u2013", compared: "" });
  const values = rows.flatMap((r) => [r.delta.pchip_percent, r.plain, ...(r.interval ?? [])]).filter((v) => v !== null);
  const span = [Math.min(0, ...values), Math.max(0, ...values)];
  if (span[0] === span[1]) span[1] = 1;
  const shared = (d) => d.metric_low === null ? make("span", { title: d.reason ?? "" }, "none") : stacked(`${number(d.metric_low, 1)} to ${number(d.metric_high, 1)} ${unit}`, `${number(100 * d.overlap, 0)} % of the narrower`);
  fillTable(find("rate-table"),
    ["Against", "\u25cf refined, \u25cb plain", "Refined, PCHIP, 95 %", "Refined, Akima", "Plain, PCHIP", "Shared range", "Mean of own, PCHIP, 95 %", "Mean of own, Akima", "Win \u00b7 tie \u00b7 loss"],
    rows.map((r) => [r.name, forest({ value: r.delta.pchip_percent, interval: r.interval }, r.plain, span), stacked(tinted(r.delta.pchip_percent, -1), interval(r.interval)), percent(r.delta.akima_percent), percent(r.plain),
      shared(r.delta), stacked(tinted(r.own, -1), interval(r.ownInterval)), percent(r.akima), stacked(r.count, r.compared)]), [1]);
}

function startQualities() {
  metricChoice(find("quality-controls"), fillQualities);
  fillQualities(LEAD);
}

function fillQualities(key) {
  const { name: title, unit } = metric(key);
  const savedPlainly = (q) => {
    const [saving, images, bounds] = q.saved[key];
    return stacked(percent(saving, 2, false), saving === null ? "" : `${bounds ? interval(bounds, 2) : ""}${images < q.images ? ` (${images} of ${q.images})` : ""}`);
  };
  const saved = (q) => {
    if (key !== "psnr") return savedPlainly(q);
    const cell = stacked(q.saving_percent === null ? "\u2013" : percent(q.saving_percent, 2, false), q.saving_percent === null ? "" : `${q.saving_interval ? interval(q.saving_interval, 2) : ""}${q.saving_images < q.images ? ` (${q.saving_images} of ${q.images})` : ""}`);
    if (q.reason) cell.title = q.reason;
    return cell;
  };
  const others = Object.keys(report.qualities[0]?.against_on[key] ?? {});
  const against = (q, name) => {
    const [saving, images, bounds, least] = q.against_on[key][name];
    if (saving === null) return "\u2013";
    const span = bounds ? `${interval([-bounds[1], -bounds[0]])}, most ${percent(-least)}` : "";
    return stacked(tinted(-saving, -1), `${span}${images < q.images ? ` (${images} of ${q.images})` : ""}`);
  };
  fillTable(find("quality-table"),
    ["Quality", "Fall of cost, 95 %", "Least to most", `Saved at equal ${title}, 95 %`, "Bytes", title, "Win \u00b7 tie \u00b7 loss", ...others.map((name) => `Against ${report.best[key][name]}`)],
    report.qualities.map((q) => [String(q.quality), stacked(percent(q.gain_percent, 2, false), interval(q.gain_interval, 2)), `${number(q.gain_least_percent)} to ${number(q.gain_most_percent)} %`, saved(q),
      percent(q.bytes_percent), q.change[key] === null ? "\u2013" : `${number(q.change[key], 2, true)} ${unit}`, stacked(q.count.join(" \u00b7 "), `${q.images} ${q.images === 1 ? "picture" : "pictures"}`), ...others.map((name) => against(q, name))]));
}

/** Columns of the table by picture: [heading, value for sorting, cell]. */
function pictureColumns(key) {
  const deltas = report.comparisons.filter((c) => c.codec === "refined" && c.metric === key);
  return [
    ["Picture", (p) => shortName(p.image), (p) => shortName(p.image)],
    ["Size", (p) => p.width * p.height, (p) => p.width === null ? "\u2013" : `${p.width} \u00d7 ${p.height}`],
    ...report.qualities.map((q) => [`Cost, ${q.quality}`, (p) => p.gain_percent[q.quality] ?? null, (p) => tinted(p.gain_percent[q.quality] === undefined ? null : -p.gain_percent[q.quality], -1, 2)]),
    ...deltas.map((c) => [`Against ${c.ladder}`, (p) => c.per_image[p.image]?.pchip_percent ?? null, (p) => {
      const delta = c.per_image[p.image];
      const cell = tinted(delta?.pchip_percent ?? null, -1);
      if (delta?.reason) cell.title = delta.reason;
      return cell;
    }]),
    ["Seconds, all", (p) => Object.values(p.seconds).reduce((a, b) => a + b, 0), (p) => number(Object.values(p.seconds).reduce((a, b) => a + b, 0), 1)],
  ];
}

/** A table that its headings sort: ascending, then descending; what has no value stays last. */
function startPictures() {
  metricChoice(find("picture-controls"), fillPictures);
  fillPictures(LEAD);
}

function fillPictures(key) {
  const table = find("picture-table");
  const columns = pictureColumns(key);
  let order = { column: 0, down: false };
  const body = make("tbody");
  const heads = columns.map(([name], i) => {
    const button = make("button", { type: "button" }, name);
    button.addEventListener("click", () => { order = { column: i, down: order.column === i && !order.down }; sort(); });
    return make("th", { scope: "col" }, button);
  });
  const sort = () => {
    const value = columns[order.column][1];
    const known = report.pictures.filter((p) => value(p) !== null);
    known.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (order.down ? -1 : 1));
    const rows = [...known, ...report.pictures.filter((p) => value(p) === null)];
    body.replaceChildren(...rows.map((p) => make("tr", {}, ...columns.map(([, , cell]) => make("td", {}, cell(p))))));
    heads.forEach((head, i) => head.setAttribute("aria-sort", i !== order.column ? "none" : order.down ? "descending" : "ascending"));
  };
  table.replaceChildren(make("thead", {}, make("tr", {}, ...heads)), body);
  sort();
}
