// Light, dark, or as the system: kept in a cookie, so that the server sends the page as it will look.
import { drawCharts } from "./charts.js";

export function startTheme() {
  const group = document.getElementById("theme");
  if (group === null) return;
  group.hidden = false;
  mark(group);
  group.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === null) return;
    const theme = button.dataset.theme;
    const age = theme ? 31536000 : 0;
    document.cookie = `exq_theme=${theme}; path=${document.body.dataset.base}; max-age=${age}; samesite=strict`;
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    mark(group);
    drawCharts(true);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawCharts(true));
}

function mark(group) {
  const theme = document.documentElement.dataset.theme ?? "";
  for (const button of group.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.theme === theme));
  }
}
