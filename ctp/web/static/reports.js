// Reports asked for now: the form, and how far each has come. The page is drawn anew when one is there.

import { ask, element, format, word } from "/static/page.js";

const EVERY_MS = 2_000;
const LOOK = { waiting: "paused", done: "running", failed: "blocked", refused: "blocked" };
const form = document.getElementById("ask");
const list = document.getElementById("asked");
const message = document.getElementById("ask-message");
let waiting = new Set(), timer = null;

function say(text) {
  message.className = `quiet-message ${text ? "message" : ""}`;
  message.textContent = text;
}

function item(one, isSilent) {
  const isLate = one.result === "waiting" && isSilent;
  return element("li", { "data-result": one.result },
    element("div", {}, element("span", { className: `badge ${one.account.mode}` }, one.account.mode_word), " ", element("b", {}, one.account.name), " ",
      element("span", { className: "soft" }, [one.kind_word, one.day, format.clock(one.asked_at)].filter(Boolean).join(" · ")),
      one.reason ? element("p", { className: "small" }, one.reason) : null, isLate ? element("p", { className: "small" }, word("reports.silent")) : null),
    element("div", { className: "row" }, element("span", { className: `badge state ${LOOK[one.result]}` }, one.result_word),
      one.report === null ? null : element("a", { className: "button small", href: `/reports/${one.report}`, target: "_blank", rel: "noopener" }, word("reports.open"))));
}

function show({ requests, is_silent: isSilent }) {
  list.replaceChildren(...requests.map((one) => item(one, isSilent)));
  const now = new Set(requests.filter((one) => one.result === "waiting").map((one) => one.id));
  const isNew = requests.some((one) => one.result === "done" && waiting.has(one.id));
  waiting = now;
  if (isNew) return location.reload();
  clearTimeout(timer);
  if (now.size) timer = setTimeout(refresh, EVERY_MS);
}

async function refresh() {
  clearTimeout(timer);
  if (document.hidden) return void (timer = setTimeout(refresh, EVERY_MS));
  try {
    show(await ask("GET", "/reports/requests"));
  } catch {
    timer = setTimeout(refresh, EVERY_MS);  // the header's script says that the page is stale
  }
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { account, kind, day } = Object.fromEntries(new FormData(form));
  const button = form.querySelector("button");
  button.disabled = true;
  say("");
  try {
    await ask("POST", "/reports/requests", { account: Number(account), kind, day });
    await refresh();
  } catch (error) {
    say(error.message);
  } finally {
    button.disabled = false;
  }
});
if (form) show(JSON.parse(document.getElementById("ctp-asked").textContent));
