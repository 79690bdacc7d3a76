// The two charts: rate against distortion with its controls, and gain against time.

/** Points of one codec: averaged, or of one picture. */
function curvePoints(curve, image, measure) {
  const rows = image
    ? (curve.points[image] ?? []).map((p, i) => p && { bpp: p[0], psnr: p[1], ssim: p[2], ssimulacra2: p[5], butteraugli: p[6], setting: curve.settings[i] })
    : curve.bpp.map((bpp, i) => ({ bpp, psnr: curve.psnr_db[i], ssim: curve.ms_ssim[i], ssimDb: curve.ms_ssim_db[i], ssimulacra2: curve.ssimulacra2[i], butteraugli: (curve.butteraugli_db[i] ?? null) === null ? null : 10 ** (-curve.butteraugli_db[i] / 20), setting: curve.settings[i] }));
  return rows.filter((p) => p && metric(measure).of(p) !== null).map((p) => ({
    x: p.bpp,
    y: metric(measure).of(p),
    text: [`${curve.codec}, ${p.setting}`, `${number(p.bpp, 4)} bpp`, ...scoreTexts(p.psnr, p.ssim, p.ssimulacra2, p.butteraugli)].join("\n"),
  })).sort((a, b) => a.x - b.x);
}

// Some published curves bear the names of codecs that are run here.
const publishedKey = (name) => `published ${name}`;
const publishedEntry = (name) => ({ key: publishedKey(name), name, color: "var(--published)", dashed: true });

function publishedSeries(name) {
  const curve = report.anchors.curves[name];
  const points = curve.bpp.map((bpp, i) => ({ x: bpp, y: curve.psnr_db[i], text: `${name}, published\n${number(bpp, 4)} bpp, ${number(curve.psnr_db[i])} dB` }));
  return { name, color: "var(--published)", dashed: true, width: 1.5, radius: 0, points };
}

function startCurves() {
  const state = { measure: LEAD, image: report.averaged_over.length ? "" : report.pictures[0]?.image ?? "", log: false, near: true };
  const shown = new Set([...report.curves.map((c) => c.family), ...(report.anchors?.drawn ?? []).map(publishedKey)]);
  // Of a codec with several ladders the best on the metric is drawn.
  const drawn = () => report.curves.filter((c) => CODECS.indexOf(c.family) < 2 && c.codec === c.family || (report.best[state.measure] ?? report.best.psnr ?? {})[c.family] === c.codec);
  const redraw = () => {
    const ours = drawn().filter((c) => shown.has(c.family)).map((c) => ({
      name: c.codec, color: colour(c.family), width: CODECS.indexOf(c.family) < 2 ? 3 : 2, points: curvePoints(c, state.image, state.measure),
    })).reverse();
    const beside = report.anchors && !state.image && state.measure === "psnr";
    const theirs = beside ? Object.keys(report.anchors.curves).filter((n) => shown.has(publishedKey(n))).map(publishedSeries) : [];
    const near = report.curves.filter((c) => CODECS.indexOf(c.codec) < 2).flatMap((c) => curvePoints(c, state.image, state.measure));
    legend(find("rd-legend"), drawn().map((c) => ({ key: c.family, name: c.codec, color: colour(c.family) })), shown, redraw);
    const { room, label: yLabel } = metric(state.measure);
    const within = state.near && near.length > 2 ? near.flatMap((p) => [p, { x: p.x * 1.15, y: p.y + room }, { x: p.x * 0.75, y: p.y - room / 2 }]) : null;
    chart(find("rd-chart"), [...theirs, ...ours], {
      within,
      xLabel: "bits per pixel", yLabel, logX: state.log, label: "Rate and distortion of every codec; arrow keys walk over the points",
    });
  };
  const set = (key) => (value) => { state[key] = value; redraw(); };
  const names = report.pictures.map((p) => [p.image, shortName(p.image)]);
  const average = report.averaged_over.length ? [["", `average of ${report.averaged_over.length}`]] : [];
  find("curve-controls").append(
    select("Picture", [...average, ...names], state.image, set("image")),
    choice("Measure", METRICS.map((m) => [m.key, m.name]), state.measure, set("measure")),
    choice("Range", [[true, "ours"], [false, "all"]], state.near, set("near")),
    choice("Rate", [[false, "linear"], [true, "log"]], state.log, set("log")),
  );
  if (report.anchors) startPublished(shown, redraw);
  return redraw;
}

function startPublished(shown, redraw) {
  const { anchors } = report;
  const drawn = anchors.drawn.map(publishedEntry);
  const extra = make("div", { class: "legend", role: "group", "aria-label": "Published curves shown" });
  find("rd-legend").after(extra);
  legend(extra, drawn, shown, redraw);
  find("published-more").hidden = false;
  const rest = Object.keys(anchors.curves).filter((name) => !anchors.drawn.includes(name));
  legend(find("published-legend"), rest.map(publishedEntry), shown, redraw);
  find("curve-note").textContent = `Published: ${anchors.title}, ${anchors.note}; beside the average only.`;
  fillTable(find("published-table"), ["Curve", "Kind", "Points", "Source"],
    Object.entries(anchors.curves).map(([name, c]) => [name, c.kind, String(c.bpp.length), c.source]), [1, 3]);
}

function startTime() {
  const qualities = [...new Set(report.efforts.map((e) => e.quality))];
  const shown = new Set(qualities.map((q) => `quality ${q}`));
  const tint = (q) => `var(--k${[0, 4, 3, 5, 6, 7, 2, 1][qualities.indexOf(q) % 8]})`;
  const redraw = () => {
    const series = [];
    for (const q of qualities.filter((quality) => shown.has(`quality ${quality}`))) {
      const dots = report.pictures.filter((p) => p.seconds[q] !== undefined && p.gain_percent[q] !== undefined).map((p) => ({
        x: p.seconds[q], y: p.gain_percent[q], text: `${shortName(p.image)}, quality ${q}\n${percent(p.gain_percent[q], 2, false)} in ${number(p.seconds[q], 1)} s`,
      }));
      const means = report.efforts.filter((e) => e.quality === q && e.seconds > 0).sort((a, b) => a.seconds - b.seconds).map((e) => ({
        x: e.seconds, y: e.gain_percent, text: `quality ${q}, ${number(e.iters, 0)} steps, mean of ${e.images}\n${percent(e.gain_percent, 2, false)} in ${number(e.seconds, 1)} s (${number(e.megapixels, 2)} megapixels)`,
      }));
      series.push({ name: `${q}`, color: tint(q), points: dots, line: false, radius: 2.5, opacity: 0.45 });
      series.push({ name: `${q}, mean`, color: tint(q), points: means, radius: 6 });
    }
    chart(find("time-chart"), series, { xLabel: "seconds a picture", yLabel: "fall of cost, %", logX: true, label: "Gain against time; arrow keys walk over the points" });
  };
  legend(find("time-legend"), qualities.map((q) => ({ key: `quality ${q}`, name: `quality ${q}`, color: tint(q) })), shown, redraw);
  return redraw;
}
