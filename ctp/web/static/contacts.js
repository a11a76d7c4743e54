// Addresses outside the web: each channel as a card that says how it stands and offers the next step.

import { ask, element, format, word } from "/static/page.js";

const place = document.getElementById("contacts");
let shown = JSON.parse(document.getElementById("ctp-contacts").textContent);
let telegram = null;  // code and link of the pairing that this page began; nobody else is shown them
let said = {};

// What depends on a channel being reachable is drawn by the server: draw it anew when that has changed.
const reachable = (all) => all.filter((one) => one.state === "confirmed").map((one) => one.channel).join();

async function act(channel, method, path, body, done = "") {
  try {
    const answer = await ask(method, `/contacts/${channel}${path}`, body);
    said = { [channel]: { text: done, kind: "good" } };
    if (answer) {
      const before = reachable(shown);
      shown = answer.contacts;
      telegram = answer.code ? answer : channel === "telegram" ? null : telegram;
      if (reachable(shown) !== before) return location.reload();
    }
  } catch (error) {
    said = { [channel]: { text: error.message, kind: "" } };
  }
  draw(channel);
}

function button(text, onclick, look = "") {
  return element("button", { className: `button ${look}`, type: "button", onclick }, text);
}

function emailForm(contact) {
  const field = element("input", { id: "email-address", type: "email", name: "address", required: true, maxlength: 254, autocomplete: "email", placeholder: "name@example.com" });
  return element("form", { className: "line", onsubmit: (event) => {
    event.preventDefault();
    act("email", "POST", "", { address: field.value });
  } },
  element("div", { className: "field" }, element("label", { for: "email-address" }, word(contact.state === "none" ? "contact.address" : "contact.new_address")), field),
  element("button", { className: "button primary", type: "submit" }, word("contact.send_code")));
}

function codeForm(contact) {
  const field = element("input", { id: "email-code", name: "code", required: true, maxlength: 20, autocomplete: "one-time-code", autocapitalize: "characters", spellcheck: "false", className: "code" });
  return element("form", { className: "line", onsubmit: (event) => {
    event.preventDefault();
    act("email", "POST", "/confirm", { code: field.value });
  } },
  element("p", { className: "whole" }, word("contact.mailed", { address: contact.pending, time: format.hour(contact.expires_at) })),
  element("div", { className: "field" }, element("label", { for: "email-code" }, word("contact.code")), field),
  element("button", { className: "button primary", type: "submit" }, word("contact.confirm")),
  button(word("contact.resend"), () => act("email", "POST", "", { address: contact.pending }), "quiet"));
}

function pairing(contact) {
  if (telegram === null) return element("p", { className: "soft" }, word("contact.begun_elsewhere"));
  return element("div", { className: "stack" },
    element("p", {}, word(telegram.bot ? "contact.send_to" : "contact.send_to_bot", { bot: `@${telegram.bot}`, time: format.hour(contact.expires_at) })),
    element("p", {}, element("code", { className: "code" }, `/start ${telegram.code}`)),
    telegram.link ? element("p", {}, element("a", { className: "button primary", href: telegram.link, target: "_blank", rel: "noopener noreferrer" }, word("contact.open_telegram"))) : null);
}

function card(contact) {
  const { channel, state } = contact;
  const isWaiting = contact.pending !== null;
  const look = { confirmed: "running", blocked: "blocked" }[state] ?? (isWaiting ? "paused" : "");
  const message = said[channel]?.text ? element("p", { className: `message ${said[channel].kind}`, role: "status" }, said[channel].text) : null;
  const node = element("article", { className: "contact", "data-channel": channel, "aria-label": contact.name },
    element("div", { className: "row" }, element("h3", {}, contact.name),
      element("span", { className: `badge state ${look}` }, word(state === "none" && isWaiting ? "contact.waiting" : `contact.${state}`))),
    contact.address ? element("p", {}, contact.address) : null,
    state === "blocked" ? element("p", { className: "message" }, word("contact.blocked_why", { reason: contact.reason })) : null,
    state === "unavailable" ? element("p", { className: "soft" }, word("contact.ask_operator")) : null);
  if (contact.is_set_up) {
    if (isWaiting) node.append(channel === "email" ? codeForm(contact) : pairing(contact));
    else if (channel === "email" && (state !== "confirmed" || said.email?.change)) node.append(emailForm(contact));
  }
  const actions = element("div", { className: "row" });
  if (contact.is_set_up && channel === "telegram" && (!isWaiting || telegram === null)) {
    actions.append(button(word(state === "none" ? "contact.pair" : "contact.pair_again"), () => act("telegram", "POST", "", {}), state === "none" ? "primary" : ""));
  }
  if (contact.is_set_up && channel === "email" && state === "confirmed" && !isWaiting && !said.email?.change) {
    actions.append(button(word("contact.change"), () => { said = { email: { change: true } }; draw("email"); }));
  }
  if (contact.is_set_up && state === "confirmed") actions.append(button(word("contact.test"), () => act(channel, "POST", "/test", {}, word("contact.tested"))));
  if (state !== "unavailable" && (state !== "none" || isWaiting)) {
    actions.append(button(word(state === "none" ? "contact.cancel" : "contact.remove"), () => leave(contact), "quiet"));
  }
  if (actions.children.length) node.append(actions);
  if (message) node.append(message);
  return node;
}

function leave(contact) {
  if (contact.state !== "none" && !confirm(word("contact.remove_sure", { channel: contact.name }))) return;
  act(contact.channel, "DELETE", "");
}

function draw(focused = "") {
  place.replaceChildren(...shown.map(card));
  if (focused) place.querySelector(`[data-channel="${focused}"] :is(input, a.button, button)`)?.focus();
}

// The bot hears a pairing code, not this page: look until it is done.
setInterval(async () => {
  const waiting = shown.find((one) => one.channel === "telegram" && one.pending !== null);
  if (!waiting || document.hidden) return;
  const { contacts } = await ask("GET", "/contacts").catch(() => ({ contacts: shown }));
  const now = contacts.find((one) => one.channel === "telegram");
  if (reachable(contacts) !== reachable(shown)) return location.reload();
  if (now.pending === null) {
    telegram = null;
    shown = contacts;
    draw();
  }
}, 3000);
draw();
