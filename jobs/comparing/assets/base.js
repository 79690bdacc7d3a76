"use strict";
// Helpers of the page: elements, numbers as text, the tip beside a point, the theme. Data comes from the #data element.

const report = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const MINUS = "\u2212";

/** An HTML element; `parts` are texts or elements. */
function make(tag, attributes = {}, ...parts) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...parts);
  return element;
}

/** An SVG element. */
function draw(tag, attributes = {}, ...parts) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...parts);
  return element;
}

/** A number with `digits` decimals and a true minus sign; a dash for null. */
function number(value, digits = 2, signed = false) {
  if (value === null || value === undefined) return "\u2013";
  const text = Math.abs(value).toFixed(digits);
  const zero = Number(text) === 0;
  return (value < 0 && !zero ? MINUS : signed && !zero ? "+" : "") + text;
}

const percent = (value, digits = 1, signed = true) => value === null || value === undefined ? "\u2013" : `${number(value, digits, signed)} %`;
const interval = (pair, digits = 1) => pair ? `${number(pair[0], digits)} to ${number(pair[1], digits)}` : "\u2013";
const bytes = (value) => value.toLocaleString("en").replaceAll(",", "\u2009");
/** The scores of a file that are known, each with its unit; identical pictures have no PSNR. */
function scoreTexts(psnr, ssim, ssimulacra2, butteraugli) {
  const known = (value) => value !== null && value !== undefined;
  return [known(psnr) ? `${number(psnr)} dB` : "exact", ...(known(ssim) ? [`MS-SSIM ${number(ssim, 4)}`] : []), ...(known(ssimulacra2) ? [`SSIMULACRA 2 ${number(ssimulacra2, 1)}`] : []), ...(known(butteraugli) ? [`Butteraugli ${number(butteraugli)}`] : [])];
}

const fileName = (path) => path.split(/[\\/]/).pop();
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The names of pictures without the folder that all share. */
const shortName = (() => {
  const parts = report.pictures.map((picture) => picture.image.split("/").slice(0, -1));
  let depth = 0;
  while (parts.length && parts.every((p) => p.length > depth && p[depth] === parts[0][depth])) depth++;
  return (image) => image.split("/").slice(depth).join("/") || image;
})();

/** A codec's colour, the same in every chart. */
const CODECS = ["plain", "refined", "JPEG", "JPEG 2000", "WebP", "AVIF", "JPEG XL", "HEIC"];
const colour = (codec) => CODECS.includes(codec) ? `var(--k${CODECS.indexOf(codec)})` : "var(--published)";

/** Metrics of curves and tables; `of` gives the value of a point of a curve, `room` what lies beyond a chart's points. */
const METRICS = [
  { key: "psnr", name: "PSNR", unit: "dB", label: "PSNR, dB", room: 1, of: (p) => p.psnr },
  { key: "ms_ssim", name: "MS-SSIM", unit: "dB", label: "MS-SSIM, dB: \u221210 log10(1 \u2212 MS-SSIM)", room: 1, of: (p) => p.ssimDb ?? (p.ssim === null || p.ssim >= 1 ? null : -10 * Math.log10(1 - p.ssim)) },
  { key: "ssimulacra2", name: "SSIMULACRA 2", unit: "points", label: "SSIMULACRA 2: 50 medium, 70 high, 90 visually lossless", room: 5, of: (p) => p.psnr === null ? null : p.ssimulacra2 },
  { key: "butteraugli", name: "Butteraugli", unit: "dB", label: "Butteraugli, dB: \u221220 log10(3-norm); 0 where flaws begin to show", room: 1, of: (p) => p.butteraugli ? -20 * Math.log10(p.butteraugli) : null },
];
const metric = (key) => METRICS.find((m) => m.key === key);

/** Metrics that figures exist of. */
const measured = METRICS.filter((m) => report.comparisons.some((c) => c.metric === m.key));

/** The metric that the page opens with. */
const LEAD = report.lead;

/** Buttons that choose the metric of a table; nothing where there is one metric alone. */
function metricChoice(element, change) {
  if (measured.length > 1) element.append(choice("Metric", measured.map((m) => [m.key, m.name]), LEAD, change));
}

function showTip(text, x, y) {
  const tip = find("tip");
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${y - box.height - 12 < 8 ? y + 16 : y - box.height - 12}px`;
}

function hideTip() {
  find("tip").hidden = true;
}

/** Buttons of which one is pressed. `choices` are [value, label]; `change` gets the value. */
function choice(label, choices, value, change) {
  const group = make("div", { class: "group", role: "group", "aria-label": label }, make("span", {}, label));
  for (const [key, text] of choices) {
    const button = make("button", { type: "button", "data-key": String(key), "aria-pressed": String(key === value) }, text);
    button.addEventListener("click", () => {
      for (const other of group.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
      change(key);
    });
    group.append(button);
  }
  return group;
}

/** A labelled select. */
function select(label, choices, value, change) {
  const list = make("select");
  for (const [key, text] of choices) list.append(make("option", { value: key }, text));
  list.value = value;
  list.addEventListener("change", () => change(list.value));
  return make("label", {}, label, list);
}

/** Buttons that show and hide; `entries` are {key, name, color, dashed}, `shown` a Set of keys. */
function legend(element, entries, shown, change) {
  element.replaceChildren(...entries.map(({ key, name, color, dashed }) => {
    const line = make("i", { class: dashed ? "dashed" : "" });
    line.style.setProperty("--c", color);
    const button = make("button", { type: "button", "aria-pressed": String(shown.has(key)) }, line, name);
    button.addEventListener("click", () => {
      if (!shown.delete(key)) shown.add(key);
      button.setAttribute("aria-pressed", String(shown.has(key)));
      change();
    });
    return button;
  }));
}

/** The theme: as the system has it, until the reader chooses. */
function startTheme() {
  const names = ["auto", "light", "dark"];
  const system = matchMedia("(prefers-color-scheme: dark)");
  let theme = "auto";
  try { theme = localStorage.getItem("rdo-theme") ?? "auto"; } catch { /* a page from disk may have no storage */ }
  const apply = () => {
    document.documentElement.dataset.theme = theme === "auto" ? (system.matches ? "dark" : "light") : theme;
    find("theme").textContent = `Theme: ${theme}`;
  };
  system.addEventListener("change", apply);
  find("theme").addEventListener("click", () => {
    theme = names[(names.indexOf(theme) + 1) % names.length];
    try { localStorage.setItem("rdo-theme", theme); } catch { /* then it holds for this visit */ }
    apply();
  });
  apply();
}
