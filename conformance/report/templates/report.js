"use strict";
document.documentElement.classList.add("js");

const schedules = [...document.querySelectorAll(".schedule")];
let current = null;

function go(schedule, number, { link = true, scroll = true } = {}) {
  const steps = [...schedule.querySelectorAll(".steps > li")];
  if (!steps.length) return;
  const at = Math.min(Math.max(number, 1), steps.length);
  current = schedule;
  schedule.dataset.at = at;
  for (const step of steps) step.classList.toggle("now", Number(step.dataset.step) === at);
  for (const row of schedule.querySelectorAll("svg [data-step]")) {
    const now = Number(row.dataset.step) === at;
    row.classList.toggle("now", now);
    if (now && scroll) row.querySelector("circle")?.scrollIntoView({ block: "nearest", inline: "center" });
  }
  for (const arrow of schedule.querySelectorAll("svg.lanes .arrow")) {
    const own = arrow.dataset.from === String(at) || arrow.dataset.to === String(at);
    arrow.classList.toggle("own", link && own);
    arrow.classList.toggle("faint", link && !own);
  }
  schedule.querySelector("output").textContent = `Step ${at} of ${steps.length}`;
  if (link) history.replaceState(null, "", `#${schedule.id}/${at}`);
}

function follow() {
  const [id, step] = decodeURIComponent(location.hash.slice(1)).split("/");
  const schedule = id && schedules.find((each) => each.dataset.clauses.split(" ").includes(id));
  if (!schedule) return;
  schedule.open = true;
  go(schedule, Number(step) || 1, { link: Boolean(step), scroll: false });
  schedule.scrollIntoView();
  if (!step) return;
  schedule.querySelector(".stepper").scrollIntoView();
  schedule.querySelector("svg .now circle")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

for (const schedule of schedules) {
  go(schedule, 1, { link: false, scroll: false });
  schedule.addEventListener("toggle", () => { if (schedule.open) current = schedule; });
  schedule.addEventListener("focusin", () => { current = schedule; });
  schedule.querySelector(".previous")?.addEventListener("click", () => go(schedule, Number(schedule.dataset.at) - 1));
  schedule.querySelector(".next")?.addEventListener("click", () => go(schedule, Number(schedule.dataset.at) + 1));
  for (const row of schedule.querySelectorAll("svg [data-step]")) {
    row.addEventListener("click", () => go(schedule, Number(row.dataset.step)));
  }
  schedule.querySelector(".copy")?.addEventListener("click", (event) => copy(event.target));
}
current = null;

async function copy(button) {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    const range = document.createRange();
    range.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

document.addEventListener("keydown", (event) => {
  if (!current?.open || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const at = Number(current.dataset.at);
  const last = current.querySelectorAll(".steps > li").length;
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 1, End: last }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  go(current, to);
});
addEventListener("beforeprint", () => { for (const each of schedules) each.open = true; });
addEventListener("hashchange", follow);
follow();
