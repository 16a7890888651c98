// Choosing rows, asking before what cannot be undone, acting without losing the place, and the progress of bulk actions.
import { drawCharts } from "./charts.js";
import { morph } from "./morph.js";
import { showTimes } from "./times.js";

/** Brings what depends on the rows up to date: how many are chosen, and what can be done with them. */
export function refresh() {
  const all = document.getElementById("pick-all");
  const boxes = [...document.querySelectorAll('#jobs input[name="ref"]')];
  const chosen = boxes.filter((box) => box.checked);
  for (const box of boxes) box.closest("tr").classList.toggle("chosen", box.checked);
  for (const button of document.querySelectorAll("button[data-chosen]")) button.disabled = chosen.length === 0;
  if (all === null) return;
  all.hidden = false;
  all.checked = chosen.length > 0 && chosen.length === boxes.length;
  all.indeterminate = chosen.length > 0 && chosen.length < boxes.length;
}

let last = null;
let shown = place();

function place() {
  return location.pathname + location.search;
}

function pick(event) {
  const box = event.target;
  if (box.id === "pick-all") {
    for (const each of document.querySelectorAll('#jobs input[name="ref"]')) each.checked = box.checked;
  }
  refresh();
}

function pickRange(event) {
  const box = event.target;
  if (!(box instanceof HTMLInputElement) || box.name !== "ref") return;
  const boxes = [...document.querySelectorAll('#jobs input[name="ref"]')];
  if (event.shiftKey && last !== null && boxes.includes(last)) {
    const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
    for (const each of boxes.slice(from, to + 1)) each.checked = box.checked;
  }
  last = box;
  refresh();
}

function sure(text) {
  const dialog = document.getElementById("sure");
  document.getElementById("sure-text").textContent = text;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function submit(event) {
  const form = event.target;
  const button = event.submitter;
  if (form.getAttribute("method") !== "post") return;
  event.preventDefault();
  if (button?.dataset.sure && !(await sure(button.dataset.sure))) return;
  const fields = new FormData(form, button);
  if (button?.name === "row") fields.delete("ref");
  const body = new URLSearchParams(fields);
  // Not form.action, which is the button of that name.
  const action = form.getAttribute("action");
  if (form.getAttribute("id") === "bulk") await bulk(form, action, body);
  else await send(action, body);
}

async function send(action, body) {
  document.documentElement.classList.add("waiting");
  try {
    const answer = await fetch(action, { method: "POST", body, headers: { accept: "text/html" } });
    show(await answer.text(), answer.url);
  } catch {
    trouble("The server cannot be reached. Nothing may have happened: look before you try again.");
  } finally {
    document.documentElement.classList.remove("waiting");
  }
}

/** Shows a page in the place of this one, as far as they differ. */
function show(html, address) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const main = page.getElementById("main");
  if (address !== location.href) {
    history.pushState(null, "", address);
    shown = place();
    document.title = page.title;
    scrollTo(0, 0);
  }
  for (const id of ["counts", "main"]) {
    const [from, to] = [document.getElementById(id), page.getElementById(id)];
    if (from !== null && to !== null) morph(from, to);
  }
  if (main !== null && page.getElementById("counts") === null) document.title = page.title;
  showTimes();
  drawCharts();
  refresh();
  dispatchEvent(new Event("exq:shown"));
}

export function trouble(text) {
  const panel = document.getElementById("trouble");
  if (panel === null) return;
  panel.hidden = text === "";
  if (panel.textContent !== text) panel.textContent = text;
}

async function bulk(form, action, body) {
  const [panel, bar] = [document.getElementById("progress"), document.getElementById("bar")];
  const text = document.getElementById("progress-text");
  const stop = new AbortController();
  const leave = (event) => event.preventDefault();
  form.querySelector("button[name=action]").disabled = true;
  panel.hidden = false;
  document.getElementById("bulk-stop").onclick = () => stop.abort();
  addEventListener("beforeunload", leave);
  let step = { looked: 0, total: 0, done: 0, over: false };
  const say = (more) => {
    text.textContent = `${step.done.toLocaleString("en")} ${form.dataset.done}${more}`;
  };
  try {
    const headers = { accept: "application/x-ndjson" };
    const answer = await fetch(action, { method: "POST", body, headers, signal: stop.signal });
    if (!answer.ok) return show(await answer.text(), location.href);
    for await (step of lines(answer.body)) {
      bar.max = Math.max(1, step.total);
      bar.value = step.over ? bar.max : step.looked;
      say(step.over ? "" : `, ${step.looked.toLocaleString("en")} of ${step.total.toLocaleString("en")} looked at`);
    }
    say(step.over ? ". That was all." : ". It stopped before the end; start it again for the others.");
  } catch (error) {
    say(stop.signal.aborted ? ". Stopped." : ". The server cannot be reached any more.");
  } finally {
    removeEventListener("beforeunload", leave);
    document.getElementById("bulk-stop").hidden = true;
    document.getElementById("bulk-back").focus();
  }
}

async function* lines(stream) {
  let rest = "";
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const found = (rest + value).split("\n");
    rest = found.pop();
    for (const line of found) yield JSON.parse(line);
  }
}

export function startForms() {
  document.addEventListener("submit", submit);
  document.addEventListener("change", pick);
  document.addEventListener("click", pickRange);
  addEventListener("popstate", () => {
    if (place() !== shown) location.reload();
  });
  refresh();
}
