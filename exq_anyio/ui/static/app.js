// What the pages can do better with a script; they work without it.
import { startCharts } from "./charts.js";
import { startForms } from "./forms.js";
import { startLive } from "./live.js";
import { startTheme } from "./theme.js";
import { startTimes } from "./times.js";

document.documentElement.classList.add("js");
startTheme();
startTimes();
startCharts();
startForms();
startLive();
// On a phone the pages are in a row that scrolls.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
