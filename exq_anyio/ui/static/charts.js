// Draws the charts over the bars that the server sent: data-points holds unix seconds, processed and failed.
/* global uPlot */

const drawn = new Map();

function colours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return { ok: colour("--ok"), area: colour("--ok-area"), no: colour("--no"), text: colour("--text-2"), grid: colour("--line") };
}

const DAY = 86400;
const INCREMENTS = {
  seconds: [5, 10, 15, 30],
  minutes: [300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY],
  days: [DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY],
};
const FORMS = {
  seconds: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
  minutes: { hour: "2-digit", minute: "2-digit" },
  days: { day: "numeric", month: "short", timeZone: "UTC" },
};

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en");

function options(element) {
  const { ok, area, no, text, grid } = colours();
  const days = element.dataset.chart === "days";
  const kind = element.dataset.chart;
  const form = FORMS[kind];
  const instant = new Intl.DateTimeFormat("en-GB", form);
  const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const solid = days || kind === "minutes";
  const paths = solid ? uPlot.paths.bars({ size: [0.8, 40], radius: 0.1 }) : uPlot.paths.stepped({ align: 1 });
  const value = (_, found) => (found == null ? "\u2013" : whole.format(found));
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    padding: [10, 30, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: !solid, size: 6 }, drag: { x: false, y: false } },
    tzDate: (at) => (days ? uPlot.tzDate(new Date(at * 1000), "UTC") : new Date(at * 1000)),
    scales: { x: { range: (_, least, most) => (solid ? [least - half(element), most + half(element)] : [least, most]) }, y: { range: (_, __, most) => [0, Math.max(4, most * 1.08)] } },
    axes: [
      { ...axis, grid: { show: false }, space: 80, size: 26, incrs: INCREMENTS[kind], values: (_, at) => at.map((each) => instant.format(each * 1000)) },
      { ...axis, size: 46, values: (_, found) => found.map((each) => (Number.isInteger(each) ? short.format(each) : "")) },
    ],
    series: [
      {},
      { label: "processed", stroke: ok, fill: solid ? ok : area, width: solid ? 0 : 1.5, paths, points: { show: false }, value },
      { label: "failed", stroke: no, fill: no, width: solid ? 0 : 1.5, paths, points: { show: false }, value },
    ],
    hooks: { setCursor: [(chart) => tell(chart, element, days)] },
  };
}

/** Half of what one bar stands for, in seconds. */
function half(element) {
  const [times] = JSON.parse(element.dataset.points);
  return times.length > 1 ? (times[1] - times[0]) / 2 : 30;
}

function tell(chart, element, days) {
  let tip = element.querySelector(".tip");
  if (tip === null) {
    tip = document.createElement("div");
    tip.className = "tip";
    element.append(tip);
  }
  const at = chart.cursor.idx;
  tip.hidden = at == null || chart.cursor.left < 0;
  if (tip.hidden) return;
  const date = new Date(chart.data[0][at] * 1000);
  const name = days
    ? date.toLocaleDateString(undefined, { weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "UTC" })
    : date.toLocaleTimeString();
  tip.textContent = `${name}\n${whole.format(chart.data[1][at])} processed\n${whole.format(chart.data[2][at])} failed`;
  const left = chart.cursor.left + 56;
  tip.style.left = `${Math.min(left, element.clientWidth - tip.offsetWidth - 4)}px`;
}

function draw(element, anew) {
  const known = drawn.get(element);
  const text = element.dataset.points;
  if (known !== undefined && !anew) {
    if (known.text !== text) {
      known.chart.setData(JSON.parse(text));
      known.text = text;
    }
    return;
  }
  known?.chart.destroy();
  element.replaceChildren();
  drawn.set(element, { chart: new uPlot(options(element), JSON.parse(text), element), text });
}

export function drawCharts(anew = false) {
  for (const [element, { chart }] of drawn) {
    if (!element.isConnected) {
      chart.destroy();
      drawn.delete(element);
    }
  }
  for (const element of document.querySelectorAll("[data-points]")) draw(element, anew);
}

export function startCharts() {
  if (typeof uPlot === "undefined") return;
  drawCharts();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    drawCharts(true);
  });
}
