// Fills the page once, and draws charts again when the width changes.

function startSettings() {
  for (const [list, entries] of [["setting-list", report.settings], ["version-list", { ...report.versions, model: `${report.model} ${report.model_id}` }]]) {
    for (const [name, text] of Object.entries(entries)) {
      const pair = [make("dt", {}, name), make("dd", {}, name === "command" ? make("code", {}, text) : text)];
      find(list).append(...(list === "version-list" ? [make("div", {}, ...pair)] : pair));
    }
  }
}

function startNavigation() {
  const sections = [...document.querySelectorAll("section[data-nav]")].filter((section) => !section.hidden);
  document.querySelector("nav").append(...sections.map((section) => make("a", { href: `#${section.id}` }, section.dataset.nav)));
}

function start() {
  startTheme();
  startHead();
  startNotes();
  startSettings();
  if (!report.curves.length) {
    for (const id of ["curves", "rates", "quality", "time", "pictures"]) find(id).hidden = true;
    startNavigation();
    return;
  }
  const charts = [startCurves(), startTime(), startBits()];
  startRates();
  startQualities();
  startPictures();
  startLook();
  if (LEAD === "ssimulacra2") find("curves").before(find("look")); // files for eyes are looked at first
  startNavigation();
  const redraw = () => charts.forEach((draw) => draw());
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
  redraw();
}

start();
