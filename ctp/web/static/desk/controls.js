// Start, Pause, Stop, Close all, Unlock: asked for after a confirmation, then followed until the bot has done them.

import { element, format, word } from "/static/page.js";

// Ask the person; resolves to the chosen command, or null when they thought better of it.
export function confirmCommand(kind, account) {
  const isDanger = kind !== "start" && kind !== "unlock";
  const choice = kind !== "stop" ? null : element("fieldset", { className: "choices" },
    element("legend", { className: "visually-hidden" }, word("confirm_stop.choice")),
    ...["stop_keep", "stop_close"].map((value, index) => element("label", {},
      element("input", { type: "radio", name: "kind", value, checked: index === 0 }),
      element("span", {}, element("b", {}, word(`command.${value}`)), element("br"), element("span", { className: "small soft" }, word(`confirm.${value}`))))));
  const title = element("h2", { id: "confirm-title" }, word(`confirm_title.${kind}`, { account: account.name }));
  const dialog = element("dialog", { className: "confirm", "aria-labelledby": "confirm-title" },
    element("form", { method: "dialog" },
      element("p", {}, element("span", { className: `badge ${account.mode}` }, account.mode_word)),
      title, kind === "stop" ? null : element("p", { className: "soft" }, word(`confirm.${kind}`)), choice,
      element("menu", {},
        element("button", { className: "button", value: "", autofocus: true }, word("confirm.cancel")),
        element("button", { className: `button ${isDanger ? "danger filled" : "primary"}`, value: "yes" }, word(`confirm_yes.${kind}`)))));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    const picked = dialog.querySelector("input[name=kind]:checked")?.value ?? kind;
    dialog.remove();
    resolve(dialog.returnValue === "yes" ? picked : null);
  }));
}

// Make a key that makes a second click, or a repeated message, the same one command.
export const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// Show how far a command has come: asked, acknowledged, and what it wanted done.
export function commandItem(command) {
  const last = ["stop_close", "close_all", "exit_symbol"].includes(command.kind) ? "step.flat" : "step.done";
  const stages = [["step.asked", command.asked_at], ["step.acknowledged", command.acknowledged_at], [last, command.done_at]];
  const waiting = stages.findIndex(([, at]) => !at);
  const step = ([name, at], index) => {
    const hasFailed = index === 2 && command.problem !== null;
    const look = hasFailed ? "is-failed" : at ? "is-done" : index === waiting ? "is-waiting" : "";
    const mark = hasFailed ? "✕ " : at ? "✓ " : "";
    return element("span", { className: look, title: at ? format.fullTime(at) : null }, mark, word(hasFailed ? "step.failed" : name), look === "is-waiting" ? " …" : "");
  };
  return element("li", { "data-command": command.kind },
    element("div", {}, element("b", {}, command.kind_word), " ", element("span", { className: "soft small" }, `${format.clock(command.asked_at)} · ${command.asked_by}`)),
    element("div", { className: "path" }, ...stages.map(step)),
    command.problem === null ? null : element("p", { className: "message small", role: "alert" }, command.problem));
}

// The control panel. `send(account, kind, requestKey)` hands the command on, for the account that was confirmed; `show` follows the account and its last commands.
export function makeControls(send) {
  const kinds = [["start", "primary"], ["pause", ""], ["stop", ""], ["close_all", "danger"], ["unlock", ""]];
  let account = null;
  const buttons = Object.fromEntries(kinds.map(([kind, look]) => [kind,
    element("button", { className: `button ${look} ${kind === "unlock" ? "whole" : ""}`, type: "button", "data-kind": kind, onclick: () => press(kind) }, word(`button.${kind}`))]));
  const message = element("p", { role: "status" });
  const steps = element("ol", { className: "steps", "aria-live": "polite" });
  const readOnly = element("p", { className: "note" }, word("controls.read_only"));
  const node = element("section", { className: "panel", "aria-label": word("controls.title") },
    element("header", {}, element("h2", {}, word("controls.title"))),
    element("div", { className: "body" }, element("div", { className: "commands" }, ...Object.values(buttons)), readOnly, message, steps));

  async function press(kind) {
    const confirmed = account;
    const picked = await confirmCommand(kind, confirmed);
    if (picked === null) return;
    message.className = "";
    message.textContent = "";
    send(confirmed.id, picked, newKey());
  }

  function show(next, commands) {
    account = next;
    for (const button of Object.values(buttons)) button.hidden = !account.may_command;
    readOnly.hidden = account.may_command;
    buttons.start.disabled = account.status === "running";
    buttons.pause.disabled = account.status !== "running";
    buttons.stop.disabled = account.status === "stopped" && account.open_positions === 0;
    buttons.close_all.disabled = account.open_positions === 0;
    buttons.unlock.hidden = !account.may_command || !account.drawdown_locked;
    steps.replaceChildren(...commands.slice(0, 3).map(commandItem));
  }

  function fail(text) {
    message.className = "message";
    message.textContent = text;
  }
  return { node, show, fail };
}
