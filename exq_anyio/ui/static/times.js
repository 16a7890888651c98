// Times: how long ago, kept right while the page stands; the exact instant, in the visitor's own zone, on hover.

const stampForm = new Intl.DateTimeFormat("sv", {
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const zoneForm = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" });

export function duration(seconds) {
  if (seconds < 1) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1).replace(".0", "")} s`;
  let left = Math.round(seconds);
  const parts = [];
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    if (left >= length) {
      parts.push(`${Math.floor(left / length)} ${unit}`);
      left %= length;
    } else if (parts.length) break;
  }
  return parts.slice(0, 2).join(" ");
}

export function ago(apart) {
  if (Math.abs(apart) < 1) return "now";
  const text = duration(Math.abs(apart) < 10 ? Math.round(Math.abs(apart)) : Math.abs(apart)).split(" ").slice(0, 2).join(" ");
  return apart > 0 ? `in ${text}` : `${text} ago`;
}

function local(at) {
  const zone = zoneForm.formatToParts(at).find((part) => part.type === "timeZoneName")?.value ?? "";
  return `${stampForm.format(at)}.${String(at.getMilliseconds()).padStart(3, "0")} ${zone}`;
}

export function showTimes(root = document) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const apart = (at - now) / 1000;
    const form = element.dataset.form;
    const text = form === "stamp" ? local(at) : form === "since" ? duration(Math.max(0, -apart)) : ago(apart);
    if (element.textContent !== text) element.textContent = text;
    const title = form === "stamp" ? element.dateTime : `${local(at)} · ${element.dateTime}`;
    if (element.title !== title) element.title = title;
  }
}

export function startTimes() {
  showTimes();
  setInterval(() => {
    if (!document.hidden) showTimes();
  }, 1000);
}
