// The way back to earlier parameters, and accepting them for changed code; the gateway decides whether it is allowed.

import { ask, element, word } from "/static/page.js";

const facts = JSON.parse(document.getElementById("ctp-parameters").textContent);
const message = document.getElementById("parameters-message");

const field = (name, label, isNeeded) => element("div", { className: "field" }, element("label", { for: `d-${name}` }, label),
  element("input", { id: `d-${name}`, name, type: "text", maxlength: 200, required: isNeeded, autocomplete: "off" }));

function confirm(version, kind) {
  const problem = element("p", { role: "alert" });
  const yes = element("button", { className: "button primary", type: "submit" }, word(`parameters.${kind}_yes`));
  const needsReason = facts.versions[version].needs_reason;
  const dialog = element("dialog", { className: "confirm", "aria-labelledby": "d-title" },
    element("form", {}, element("h2", { id: "d-title" }, word(`parameters.${kind}_title`, { version })),
      element("p", { className: "soft" }, word(`parameters.${kind}_text`)),
      field("reason", word("parameters.reason"), false),
      needsReason ? field("override", word("parameters.override"), true) : null, problem,
      element("menu", {}, element("button", { className: "button", type: "button", onclick: () => dialog.close() }, word("parameters.cancel")), yes)));
  dialog.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    yes.disabled = true;
    const { reason = "", override = "" } = Object.fromEntries(new FormData(event.target));
    try {
      const made = await ask("POST", `/accounts/${facts.id}/parameters/revert`, { version, reason, override });
      sessionStorage.setItem("ctp-parameters", String(made.version));
      location.reload();
    } catch (error) {
      problem.className = "message";
      problem.textContent = error.message;
      yes.disabled = false;
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

for (const button of document.querySelectorAll("[data-back]")) {
  button.addEventListener("click", () => confirm(Number(button.dataset.back), "back"));
}
for (const button of document.querySelectorAll("[data-accept]")) {
  button.addEventListener("click", () => confirm(Number(button.dataset.accept), "accept"));
}

const done = sessionStorage.getItem("ctp-parameters");
if (done) {
  sessionStorage.removeItem("ctp-parameters");
  message.className = "message good";
  message.textContent = word("parameters.done", { version: done });
}
