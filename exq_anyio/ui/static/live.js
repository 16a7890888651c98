// Live updates by server-sent events, for as long as the page can be seen.
import { drawCharts } from "./charts.js";
import { refresh, trouble } from "./forms.js";
import { morph, parse } from "./morph.js";
import { showTimes } from "./times.js";

let source = null;
let quiet = null;

function stop() {
  source?.close();
  source = null;
  document.getElementById("live").classList.remove("on");
}

function start() {
  stop();
  const every = Number(document.getElementById("every").value);
  document.getElementById("live").hidden = document.querySelector('[data-block="live"]') === null;
  if (every === 0 || document.hidden || document.getElementById("live").hidden) return;
  const page = location.pathname + location.search;
  const address = `${document.body.dataset.events}?${new URLSearchParams({ every, page })}`;
  source = new EventSource(address);
  source.addEventListener("live", (event) => {
    document.getElementById("live").classList.add("on");
    clearTimeout(quiet);
    trouble("");
    show(JSON.parse(event.data));
  });
  source.addEventListener("trouble", (event) => {
    document.getElementById("live").classList.remove("on");
    trouble(`${JSON.parse(event.data).problem} What stands here is from before.`);
  });
  source.onerror = () => {
    document.getElementById("live").classList.remove("on");
    clearTimeout(quiet);
    quiet = setTimeout(() => trouble("The server cannot be reached. What stands here is from before."), 5000);
    // A server that answers with an error ends the stream for good: try again all the same.
    if (source?.readyState === EventSource.CLOSED) setTimeout(start, 5000);
  };
}

function show(parts) {
  for (const [name, html] of Object.entries(parts)) {
    const place = document.querySelector(`[data-block="${name}"]`);
    if (place !== null) morph(place, parse(html, place.nodeName));
  }
  showTimes();
  drawCharts();
  refresh();
}

export function startLive() {
  const [live, every] = [document.getElementById("live"), document.getElementById("every")];
  if (live === null) return;
  const kept = localStorage.getItem("exq_every");
  if (kept !== null && [...every.options].some((option) => option.value === kept)) every.value = kept;
  every.addEventListener("change", () => {
    localStorage.setItem("exq_every", every.value);
    start();
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  addEventListener("exq:shown", start);
  addEventListener("pagehide", stop);
  start();
}
