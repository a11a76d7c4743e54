// Preferences, password and sessions of the person who is logged in.

import { device } from "/static/device.js";
import { ask, element, format, word } from "/static/page.js";

function say(form, text, kind) {
  const place = form.querySelector("[data-message]");
  place.className = text ? `message ${kind}` : "";
  place.textContent = text;
}

const preferences = document.getElementById("preferences");
preferences?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const values = Object.fromEntries(new FormData(preferences));
  try {
    await ask("PUT", "/preferences", values);
    location.reload();
  } catch (error) {
    say(preferences, error.message, "");
  }
});

const password = document.getElementById("password");
password?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const values = Object.fromEntries(new FormData(password));
  if (values.new_password !== values.repeated) return say(password, word("password.differ"), "");
  const button = password.querySelector("button");
  button.disabled = true;
  try {
    await ask("POST", "/password", { current: values.current, new: values.new_password });
    if (password.dataset.next) return location.assign(password.dataset.next);
    password.reset();
    say(password, word("password.changed"), "good");
    await listSessions();
  } catch (error) {
    say(password, error.message, "");
  } finally {
    button.disabled = false;
  }
});

const sessions = document.querySelector("#sessions tbody");

async function listSessions() {
  if (!sessions) return;
  const { sessions: rows } = await ask("GET", "/sessions");
  sessions.replaceChildren(...rows.map((row) => element("tr", {},
    element("td", { "data-name": word("sessions.device"), title: row.device || null }, device(row.device || "")),
    element("td", { "data-name": word("sessions.address"), className: "tight" }, row.address || "–"),
    element("td", { "data-name": word("sessions.seen"), className: "number" }, format.time(row.seen_at)),
    element("td", {}, row.is_this ? element("span", { className: "badge state running" }, word("sessions.this"))
      : element("button", { className: "button", type: "button", onclick: async () => { await ask("DELETE", `/sessions/${row.id}`); await listSessions(); } }, word("sessions.end"))))));
}
listSessions();
