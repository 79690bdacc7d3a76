// Charts in SVG: a plane of lines and dots, and what is drawn on it: rate against distortion, gain against time.

/** Round steps that divide a range into about `count` parts. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

/** Ticks 1, 2, 5 of every decade within a range; ordinary ones where that gives fewer than two. */
function logTicks(low, high) {
  const found = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++) {
    for (const m of [1, 2, 5]) if (m * 10 ** p >= low * 0.999 && m * 10 ** p <= high * 1.001) found.push(m * 10 ** p);
  }
  return found.length > 2 ? found : ticks(low, high, 5).filter((v) => v > 0);
}

/** A map from values to a line of px, with room at both ends. */
function scale(values, from, to, logarithmic) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (high - low <= 1e-6 * Math.abs(high)) [low, high] = logarithmic ? [low / 1.5, high * 1.5] : [low - 1, high + 1];
  const f = logarithmic ? Math.log : (v) => v;
  const room = 0.05 * (f(high) - f(low));
  const [a, b] = [f(low) - room, f(high) + room];
  const back = logarithmic ? Math.exp : (v) => v;
  const place = (v) => from + ((f(v) - a) / (b - a)) * (to - from);
  place.ticks = logarithmic ? logTicks(back(a), back(b)) : ticks(back(a), back(b), Math.abs(to - from) / 70);
  return place;
}

/**
 * Lines and dots on a plane. `series` are {name, color, points: [{x, y, text}], dashed, width, radius, line};
 * `within` are the points that the plane is to hold, and what lies outside is cut off (null: all points);
 * arrow keys walk over the points of the focused chart.
 */
function chart(element, series, { xLabel, yLabel, logX = false, label, within = null }) {
  const all = within ?? series.flatMap((s) => s.points);
  if (!all.length) {
    element.replaceChildren(make("p", { class: "empty" }, "There are no points to draw here."));
    return;
  }
  const width = Math.max(320, Math.min(1080, element.clientWidth - 20));
  const height = Math.round(Math.min(520, Math.max(300, width * 0.55)));
  const [left, right, top, bottom] = [52, 14, 14, 46];
  const x = scale(all.map((p) => p.x), left, width - right, logX);
  const y = scale(all.map((p) => p.y), height - bottom, top, false);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: "0", "aria-label": label });
  svg.append(...frame(x, y, { left, right, top, bottom, width, height, xLabel, yLabel }));
  const area = { x: left, y: top, width: width - left - right, height: height - top - bottom };
  const id = `${element.id}-area`;
  const plot = draw("g", { "clip-path": `url(#${id})` });
  for (const s of series) plot.append(...seriesParts(s, x, y));
  svg.append(draw("clipPath", { id }, draw("rect", area)), plot);
  const ring = draw("circle", { r: 7, fill: "none", stroke: "var(--ink)", "stroke-width": 2, visibility: "hidden" });
  svg.append(ring);
  element.replaceChildren(svg);
  const inside = (p) => x(p.x) >= left - 1 && x(p.x) <= width - right + 1 && y(p.y) >= top - 1 && y(p.y) <= height - bottom + 1;
  const seen = series.map((s) => ({ ...s, points: s.points.filter(inside) })).filter((s) => s.points.length);
  if (seen.length) listen(svg, ring, seen, x, y, width);
}

function frame(x, y, { left, right, top, bottom, width, height, xLabel, yLabel }) {
  const parts = [];
  const digits = (values) => Math.max(0, ...values.map((v) => (String(+v.toPrecision(6)).split(".")[1] ?? "").length));
  const [dx, dy] = [digits(x.ticks), digits(y.ticks)];
  for (const v of x.ticks) {
    parts.push(draw("line", { class: "grid", x1: x(v), x2: x(v), y1: top, y2: height - bottom }));
    parts.push(draw("text", { x: x(v), y: height - bottom + 18, "text-anchor": "middle" }, number(v, dx)));
  }
  for (const v of y.ticks) {
    parts.push(draw("line", { class: "grid", x1: left, x2: width - right, y1: y(v), y2: y(v) }));
    parts.push(draw("text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, number(v, dy)));
  }
  parts.push(draw("text", { class: "axis", x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, xLabel));
  const middle = (top + height - bottom) / 2;
  parts.push(draw("text", { class: "axis", transform: `translate(13 ${middle}) rotate(-90)`, "text-anchor": "middle" }, yLabel));
  return parts;
}

function seriesParts(s, x, y) {
  const parts = [];
  if (s.line !== false && s.points.length > 1) {
    const path = s.points.map((p, i) => `${i ? "L" : "M"}${x(p.x).toFixed(1)} ${y(p.y).toFixed(1)}`).join("");
    const dash = s.dashed ? { "stroke-dasharray": "5 4" } : {};
    parts.push(draw("path", { d: path, fill: "none", stroke: s.color, "stroke-width": s.width ?? 2, "stroke-linejoin": "round", ...dash }));
  }
  for (const p of s.points) {
    if (s.radius !== 0) parts.push(draw("circle", { cx: x(p.x), cy: y(p.y), r: s.radius ?? 3.5, fill: s.color, opacity: s.opacity ?? 1 }));
  }
  return parts;
}

/** The nearest point under the pointer, or under the arrow keys, shows its figures. */
function listen(svg, ring, series, x, y, width) {
  let at = [0, 0];
  const show = (i, j) => {
    at = [i, j];
    const p = series[i].points[j];
    ring.setAttribute("cx", x(p.x));
    ring.setAttribute("cy", y(p.y));
    ring.setAttribute("visibility", "visible");
    const box = svg.getBoundingClientRect();
    const px = box.width / width;
    showTip(p.text, box.left + x(p.x) * px, box.top + y(p.y) * px);
  };
  const hide = () => { hideTip(); ring.setAttribute("visibility", "hidden"); };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const [px, py] = [(event.clientX - box.left) * width / box.width, (event.clientY - box.top) * width / box.width];
    let best = [Infinity, 0, 0];
    series.forEach((s, i) => s.points.forEach((p, j) => {
      const distance = Math.hypot(x(p.x) - px, y(p.y) - py);
      if (distance < best[0]) best = [distance, i, j];
    }));
    if (best[0] < 40) show(best[1], best[2]); else hide();
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (event.key === "Escape") hide();
    if (!move) return;
    event.preventDefault();
    const i = (at[0] + move[0] + series.length) % series.length;
    show(i, Math.max(0, Math.min(series[i].points.length - 1, at[1] + move[1])));
  });
}
