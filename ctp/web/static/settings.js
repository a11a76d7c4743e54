// Which notices reach the reader: kinds by channel, notices of this browser, quiet hours and report times.

import { ask, word } from "/static/page.js";
import { desktopState, isPrivate, setPrivate, turnOff, turnOn } from "/static/desktop.js";

function say(place, text, kind = "") {
  place.className = text ? `message ${kind}` : "";
  place.textContent = text;
}

// --- kinds by channel --------------------------------------------------------------------------------------------------

const choices = document.getElementById("choices");
const choicesMessage = document.getElementById("choices-message");
choices.addEventListener("change", async ({ target }) => {
  try {
    await ask("PUT", "/notices/choice", { kind: target.dataset.kind, channel: target.dataset.channel, enabled: target.checked });
    say(choicesMessage, "");
  } catch (error) {
    target.checked = !target.checked;  // what is shown is what is kept
    say(choicesMessage, error.message);
  }
});

// --- this browser ------------------------------------------------------------------------------------------------------

const desktop = document.getElementById("desktop");
const [state, on, off, hide] = ["[data-state]", "[data-on]", "[data-off]", "[data-private]"].map((one) => desktop.querySelector(one));

function showDesktop(now = desktopState()) {
  state.className = `badge state ${now === "on" ? "running" : now === "denied" ? "blocked" : ""}`;
  state.textContent = word(`desktop.${now}`);
  on.hidden = now !== "off";
  off.hidden = now !== "on";
  hide.disabled = now === "impossible" || now === "denied";
  hide.checked = isPrivate();
}
on.addEventListener("click", async () => showDesktop(await turnOn()));
off.addEventListener("click", () => showDesktop(turnOff()));
hide.addEventListener("change", () => setPrivate(hide.checked));
showDesktop();

// --- times -------------------------------------------------------------------------------------------------------------

const times = document.getElementById("times");
times.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = times.elements;
  const place = times.querySelector("[data-message]");
  const isOn = (name) => (fields[name].type === "checkbox" ? fields[name].checked : fields[name].value === "1");
  try {
    await ask("PUT", "/notices/times", {
      quiet_from: fields.quiet_from.value, quiet_until: fields.quiet_until.value, report_at: fields.report_at.value,
      weekly_report: isOn("weekly_report"), monthly_report: isOn("monthly_report"),
    });
    say(place, word("saved"), "good");
  } catch (error) {
    say(place, error.message);
  }
});
