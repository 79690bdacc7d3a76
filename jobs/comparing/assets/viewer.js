// The viewer: two layers of one picture, the left one cut off at the slider. And where the bits of the files are.

const PRESETS = [["equal,refined", "equal bytes"], ["plain,refined", "same quality"], ["original,refined", "against original"], ["bits_plain,bits_refined", "bits"], ["bits_change,original", "change of bits"], ["error_plain,error_refined", "errors"]];

function layerCaption(view, layer) {
  const parts = [make("b", {}, layer.title)];
  const quality = layer.name === "equal" ? view.equal_quality : view.quality;
  if (layer.bytes !== null) parts.push(make("span", {}, `${bytes(layer.bytes)} bytes, ${number(layer.bpp, 3)} bpp, ${scoreTexts(layer.psnr_db, layer.ms_ssim, layer.ssimulacra2, layer.butteraugli).join(", ")}, quality ${number(quality)}`));
  const map = layer.name.split("_")[0];
  if (layer.name === "bits_change") parts.push(make("span", {}, view.scales.change));
  else if (view.scales[map]) parts.push(make("span", {}, view.scales[map]));
  return parts;
}

function startLook() {
  find("look").hidden = !report.views.length;
  if (!report.views.length) return;
  const state = { view: report.views[0], left: "equal", right: "refined", zoom: "fit" };
  const lists = {};
  const redraw = () => {
    const of = (name) => state.view.layers.find((l) => l.name === name);
    for (const side of ["left", "right"]) {
      const image = find(`${side}-image`);
      image.src = of(state[side]).uri;
      image.alt = `${shortName(state.view.image)}: ${of(state[side]).title}`;
      find(`${side}-caption`).replaceChildren(...layerCaption(state.view, of(state[side])));
      lists[side].querySelector("select").value = state[side];
    }
    const canvas = find("canvas");
    const factor = Number(state.zoom);
    canvas.style.width = state.zoom === "fit" ? "100%" : `${state.view.width * factor}px`;
    canvas.style.maxWidth = state.zoom === "fit" ? `min(${2 * state.view.width}px, calc(80vh * ${state.view.width / state.view.height}))` : "none";
    canvas.style.aspectRatio = `${state.view.width} / ${state.view.height}`;
    canvas.classList.toggle("large", factor > 1);
    for (const button of find("look-controls").querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.key === `${state.left},${state.right}`));
    for (const button of find("thumbs").children) button.setAttribute("aria-pressed", String(button.dataset.image === state.view.image));
  };
  const set = (key) => (value) => { state[key] = value; redraw(); };
  const layers = state.view.layers.map((l) => [l.name, l.title]);
  for (const side of ["left", "right"]) lists[side] = select(side === "left" ? "Left" : "Right", layers, state[side], set(side));
  find("look-controls").append(
    choice("Show", PRESETS, "equal,refined", (pair) => { [state.left, state.right] = pair.split(","); redraw(); }),
    lists.left, lists.right, select("Zoom", [["fit", "fit"], ["1", "100 %"], ["2", "200 %"], ["4", "400 %"]], "fit", set("zoom")),
  );
  startThumbs(state, redraw);
  const slider = find("slider");
  slider.addEventListener("input", () => find("canvas").style.setProperty("--cut", `${slider.value}%`));
  const cut = report.views.some((v) => !v.whole) ? " Large ones show their middle." : "";
  find("look-note").textContent = `${report.views.length} of ${report.pictures.length} pictures at quality ${state.view.quality}, spread from the greatest gain to the least. "Plain, equal bytes" is plain encoding at the quality that needs the bytes of the refined file.${cut} Drag the seam, or focus it and use the arrow keys.`;
  find("scale-note").textContent = "To keep this page small the pictures in it are JPEG 4:4:4 of quality 92, made from what was decoded; all figures were measured before. Maps of bits are the model's estimate for each 16 \u00d7 16 px, z spread over what it serves; maps of errors are mean absolute differences.";
  redraw();
}

function startThumbs(state, redraw) {
  find("thumbs").append(...report.views.map((view) => {
    const image = make("img", { src: view.layers[0].uri, alt: "" });
    const button = make("button", { type: "button", "data-image": view.image }, image, make("span", {}, shortName(view.image)), make("span", {}, `cost ${percent(-view.gain_percent)}`));
    button.addEventListener("click", () => { state.view = view; redraw(); });
    return button;
  }));
}

function startBits() {
  find("bits").hidden = !report.splits.length;
  if (!report.splits.length) return () => {};
  const qualities = [...new Set(report.splits.map((s) => s.quality))].sort((a, b) => a - b);
  const rows = qualities.flatMap((quality) => ["plain", "refined"].map((side) => {
    const found = report.splits.filter((s) => s.quality === quality);
    const of = (key) => mean(found.map((s) => s[`${side}_${key}`]));
    const [y, z, whole] = [of("y_bytes_est"), of("z_bytes_est"), of("bytes")];
    return { quality, side, y, z, rest: whole - y - z, whole, count: found.length };
  }));
  find("bits-note").textContent = "Mean bytes of a file: y and z as the model estimates them, and the rest of the file (header, grid of parameters, escapes, the coder's last word), which is also how far the estimate is from the file.";
  fillTable(find("bits-table"), ["Quality", "File", "y, bytes", "z, bytes", "Overhead, bytes", "File, bytes", "File over estimate", "Pictures"],
    rows.map((r) => [String(r.quality), r.side, number(r.y, 0), number(r.z, 0), number(r.rest, 0), number(r.whole, 0), percent(100 * (r.rest / (r.y + r.z)), 2), String(r.count)]), [1]);
  return () => drawBits(rows);
}

/** Stacked bars of y, z and overhead. */
function drawBits(rows) {
  const [width, height, left] = [Math.max(320, find("bits-chart").clientWidth - 20), rows.length * 26 + 34, 84];
  const most = Math.max(...rows.map((r) => r.whole));
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Mean bytes of plain and refined files by their parts; the table below has the figures" });
  const place = (v) => ((width - left - 80) * v) / most;
  rows.forEach((r, i) => {
    const top = i * 26 + (i % 2 ? 0 : 4);
    svg.append(draw("text", { x: left - 8, y: top + 15, "text-anchor": "end" }, `${r.quality}, ${r.side}`));
    let x = left;
    for (const [value, fill] of [[r.y, r.side === "plain" ? "var(--k0)" : "var(--k1)"], [r.z, "var(--k3)"], [r.rest, "var(--published)"]]) {
      svg.append(draw("rect", { x, y: top, width: Math.max(0, place(value)), height: 20, fill }));
      x += Math.max(0, place(value));
    }
    svg.append(draw("text", { class: "axis", x: x + 6, y: top + 15 }, bytes(Math.round(r.whole))));
  });
  const step = Math.min(110, (width - left) / 4);
  const key = [["var(--k0)", "plain y"], ["var(--k1)", "refined y"], ["var(--k3)", "z"], ["var(--published)", "overhead"]];
  key.forEach(([fill, text], i) => svg.append(draw("rect", { x: left + i * step, y: height - 18, width: 12, height: 12, fill }), draw("text", { x: left + 16 + i * step, y: height - 8 }, text)));
  find("bits-chart").replaceChildren(svg);
}
