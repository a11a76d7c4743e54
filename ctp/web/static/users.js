// Everybody who may log in: adding, roles, new passwords, sessions, shutting out. For administrators.

import { ask, element, format, word } from "/static/page.js";
import { device } from "/static/device.js";

const facts = JSON.parse(document.getElementById("ctp-users").textContent);
const body = document.querySelector("#users tbody");
const message = document.getElementById("users-message");

function say(text, kind = "good") {
  message.className = `quiet-message ${text ? `message ${kind}` : ""}`;
  message.textContent = text;
}

// --- dialogs -------------------------------------------------------------------------------------------------------------

const field = (name, label, input) => element("div", { className: "field" }, element("label", { for: `d-${name}` }, label), input);
const choice = (name, options, chosen) => element("select", { id: `d-${name}`, name }, ...options.map(([value, text]) => element("option", { value, selected: value === chosen }, text)));
const ownPassword = () => [
  // Password managers look for the name beside the password.
  element("input", { type: "text", name: "username", autocomplete: "username", hidden: true }),
  field("own_password", word("users.own_password"), element("input", { id: "d-own_password", name: "own_password", type: "password", autocomplete: "current-password", required: true, maxlength: 1024 })),
];

// Show a form until `send` has taken its values, or the person thought better of it. Returns what `send` returned, or null.
function form(title, text, fields, yes, send, { isDanger = false, mayCancel = true } = {}) {
  const problem = element("p", { role: "alert" });
  const confirm = element("button", { className: `button ${isDanger ? "danger filled" : "primary"}`, type: "submit" }, yes);
  const dialog = element("dialog", { className: "confirm", "aria-labelledby": "d-title" },
    element("form", {}, element("h2", { id: "d-title" }, title), text ? element("p", { className: "soft" }, text) : null, ...fields, problem,
      element("menu", {}, mayCancel ? element("button", { className: "button", type: "button", onclick: () => dialog.close() }, word("confirm.cancel")) : null, confirm)));
  let result = null;
  dialog.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    confirm.disabled = true;
    try {
      result = (await send(Object.fromEntries(new FormData(event.target)))) ?? true;
      dialog.close();
    } catch (error) {
      problem.className = "message";
      problem.textContent = error.message;
    } finally {
      confirm.disabled = false;
    }
  });
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => { dialog.remove(); resolve(result); }));
}

// A password is shown until the administrator has taken it down; it can never be shown again.
function showPassword({ name, password }) {
  const code = element("code", { className: "code" }, password);
  const copy = element("button", { className: "button", type: "button", onclick: async () => {
    await navigator.clipboard.writeText(password);
    copy.textContent = word("users.copied");
  } }, word("users.copy"));
  if (!navigator.clipboard) copy.hidden = true;
  return form(word("users.password_of", { name }), word("users.hand_over"), [element("p", {}, code), copy], word("users.taken_down"), async () => true, { mayCancel: false });
}

// --- deeds ---------------------------------------------------------------------------------------------------------------

async function add() {
  const fields = [
    field("name", word("users.name"), element("input", { id: "d-name", name: "name", required: true, minlength: 2, maxlength: 64, autocomplete: "off", autocapitalize: "none", spellcheck: "false" })),
    field("role", word("users.role"), choice("role", facts.roles, "trader")),
    field("language", word("users.language"), choice("language", facts.languages, document.documentElement.lang)),
    ...ownPassword(),
  ];
  const made = await form(word("users.add"), word("users.add_why"), fields, word("users.add_yes"), (values) => ask("POST", "/users", values));
  if (made === null) return;
  await showPassword(made);
  say(word("users.added", { name: made.name }));
  await refresh();
}

async function role(one) {
  const done = await form(word("users.role_of", { name: one.name }), word("users.role_why"), [field("role", word("users.role"), choice("role", facts.roles, one.role)), ...ownPassword()],
    word("users.role_yes"), (values) => ask("PUT", `/users/${one.id}/role`, values));
  if (done) await settle(word("users.role_done", { name: one.name }));
}

async function password(one) {
  const made = await form(word("users.password_title", { name: one.name }), word("users.password_why"), ownPassword(), word("users.password_yes"), (values) => ask("POST", `/users/${one.id}/password`, values));
  if (made === null) return;
  await showPassword(made);
  await settle(word("users.password_done", { name: one.name }));
}

async function disable(one) {
  const done = await form(word("users.disable_title", { name: one.name }), word("users.disable_why"), [], word("users.disable_yes"), () => ask("POST", `/users/${one.id}/disable`, {}), { isDanger: true });
  if (done) await settle(word("users.disabled", { name: one.name }));
}

async function enable(one) {
  const done = await form(word("users.enable_title", { name: one.name }), "", ownPassword(), word("users.enable_yes"), (values) => ask("POST", `/users/${one.id}/enable`, values));
  if (done) await settle(word("users.enabled", { name: one.name }));
}

async function sessions(one) {
  const list = element("ul", { className: "plain-list" });
  async function draw() {
    const { sessions: found } = await ask("GET", `/users/${one.id}/sessions`);
    list.replaceChildren(...(found.length ? found.map((session) => element("li", {},
      element("div", {}, element("b", {}, device(session.device || "")), element("div", { className: "soft small" }, `${session.address || "–"} · ${format.time(session.seen_at)}`)),
      session.is_this ? element("span", { className: "badge state running" }, word("sessions.this"))
        : element("button", { className: "button small", type: "button", onclick: async () => { await ask("DELETE", `/users/${one.id}/sessions/${session.id}`); await draw(); } }, word("sessions.end"))))
      : [element("li", { className: "soft" }, word("users.no_session"))]));
  }
  await draw();
  const done = await form(word("users.sessions_of", { name: one.name }), "", [list], word("users.end_all"), () => ask("DELETE", `/users/${one.id}/sessions`), { isDanger: true });
  if (done) say(word("users.ended", { count: done.count }));
  await refresh();
}

async function settle(text) {
  say(text);
  await refresh();
}

// --- the list --------------------------------------------------------------------------------------------------------------

const LOOK = { active: "running", first_password: "paused", disabled: "blocked" };
const cell = (name, className, ...children) => element("td", { "data-name": name ? word(`users.${name}`) : null, className }, ...children);
const button = (name, one, deed) => element("button", { className: "button small", type: "button", "aria-label": `${word(`users.${name}`)}: ${one.name}`, onclick: () => deed(one).catch((error) => say(error.message, "")) }, word(`users.${name}`));

function row(one) {
  const isMe = one.id === facts.view.me, isOut = one.state === "disabled";
  return element("tr", { "data-user": one.name },
    cell("name", "account-cell", element("b", {}, one.name), isMe ? element("span", { className: "soft small" }, ` · ${word("users.me")}`) : null),
    cell("role", "", one.role_word), cell("state", "", element("span", { className: `badge state ${LOOK[one.state]}` }, one.state_word)),
    cell("accounts", "number", format.number(one.accounts, 0)), cell("seen", "tight", format.time(one.seen_at)),
    cell("", "actions", element("div", { className: "row deeds" },
      isMe || isOut ? null : button("role", one, role), isMe || isOut ? null : button("password", one, password),
      one.sessions ? button("sessions", one, sessions) : null,
      isMe ? null : isOut ? button("enable", one, enable) : button("disable", one, disable))));
}

function show(view) {
  facts.view = view;
  body.replaceChildren(...view.people.map(row));
}

async function refresh() {
  show(await ask("GET", "/users"));
}

document.getElementById("add").addEventListener("click", add);
show(facts.view);
