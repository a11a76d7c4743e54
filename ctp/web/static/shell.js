// The frame of every page behind the login: live notices, the bell and its history, session renewal, and the banners that
// say when a page must not be believed. It runs outside the kernel, so that a dead kernel cannot hide itself.

import { ask, element, format, page, toLogin, word } from "/static/page.js";
import { showOutside } from "/static/desktop.js";
import { noticeItem } from "/static/notice.js";

const RENEW_EVERY_MS = 5 * 60_000;
const STALE_AFTER_MS = 6_000;       // of the gateway's once-a-second beat
const DESK_STALE_AFTER_MS = 8_000;  // of the kernel's
const DESK_START_MS = 45_000;       // a cold kernel on a busy machine
const BOT_DEAD_AFTER_MS = 15_000;

const began = performance.now();
let gatewayBeat = began, deskBeat = null, bot = { age: null, known: false }, socket = null, retryMs = 500, isLeaving = false;

// --- banners -----------------------------------------------------------------------------------------------------------

const banners = document.getElementById("ctp-banners");

function banner(name, text, kind = "", action = null) {
  let node = banners.querySelector(`[data-banner="${name}"]`);
  if (text === null) return void node?.remove();
  if (!node) banners.append((node = element("div", { className: `banner ${kind}`, role: "alert", "data-banner": name })));
  if (node.dataset.text !== text) {
    node.dataset.text = text;
    node.replaceChildren(text, ...(action ? [" ", action] : []));
  }
}

function check() {
  if (document.hidden) return;
  const now = performance.now();
  const gatewayAge = now - gatewayBeat;
  const hasDesk = document.body.dataset.dashboard !== undefined;
  const deskAge = !hasDesk ? 0 : deskBeat === null ? Math.max(0, now - began - DESK_START_MS + DESK_STALE_AFTER_MS) : now - deskBeat;
  const isStale = gatewayAge > STALE_AFTER_MS || deskAge > DESK_STALE_AFTER_MS;
  document.body.classList.toggle("is-stale", isStale);
  const reload = element("button", { className: "button", type: "button", onclick: () => location.reload() }, word("banner.reload"));
  banner("stale", isStale ? word("banner.stale", { age: format.age(Math.max(gatewayAge, deskAge)) }) : null, "", reload);
  const isDead = bot.known && (bot.age === null || bot.age > BOT_DEAD_AFTER_MS) && !isStale;
  banner("bot", isDead ? (bot.age === null ? word("banner.bot_never") : word("banner.bot_dead", { age: format.age(bot.age) })) : null);
}

document.addEventListener("ctp:beat", () => {
  deskBeat = performance.now();
  document.body.classList.add("is-painted");
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  gatewayBeat = performance.now();  // timers of a hidden page slept: give the socket its time again
  if (deskBeat !== null) deskBeat = gatewayBeat;
  renew();
});
setInterval(check, 1000);

// --- notices -----------------------------------------------------------------------------------------------------------

const bell = document.getElementById("ctp-bell");
const drawer = document.getElementById("ctp-drawer");
const list = drawer.querySelector("ol");
const toasts = document.getElementById("ctp-toasts");

function showUnread(count) {
  const badge = bell.querySelector(".count");
  badge.hidden = count === 0;
  badge.textContent = count > 99 ? "99+" : String(count);
  bell.setAttribute("aria-label", word("bell.label", { count }));
}

async function fillDrawer() {
  const { notices } = await ask("GET", "/notices?limit=50");
  list.replaceChildren(...(notices.length ? notices.map((one) => noticeItem(one)) : [element("li", { className: "empty" }, word("bell.empty"))]));
}

function toast(notice) {
  const node = element("div", { className: `toast ${notice.urgent ? "urgent" : ""}` }, element("strong", {}, notice.title), element("p", {}, notice.text));
  toasts.append(node);
  while (toasts.children.length > 3) toasts.firstElementChild.remove();
  setTimeout(() => node.remove(), notice.urgent ? 20_000 : 7_000);
}

function openDrawer(open) {
  drawer.hidden = !open;
  bell.setAttribute("aria-expanded", String(open));
  if (open) {
    fillDrawer().catch((error) => list.replaceChildren(element("li", { className: "empty" }, error.message)));
    drawer.querySelector("[data-close]").focus();
  } else bell.focus();
}

bell.addEventListener("click", () => openDrawer(drawer.hidden));
drawer.querySelector("[data-close]").addEventListener("click", () => openDrawer(false));
drawer.querySelector("[data-read]").addEventListener("click", async () => {
  const { unread } = await ask("POST", "/notices/read", { all: true });
  showUnread(unread);
  document.dispatchEvent(new CustomEvent("ctp:read"));
  await fillDrawer();
});
document.addEventListener("ctp:unread", (event) => showUnread(event.detail));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !drawer.hidden) openDrawer(false);
});

// --- live push ---------------------------------------------------------------------------------------------------------

function receive(message) {
  gatewayBeat = performance.now();
  if (message.kind === "hello" && message.boot !== page.boot) return location.reload();
  if ("bot_age_ms" in message) bot = { age: message.bot_age_ms, known: true };
  if ("unread" in message) showUnread(message.unread);
  if (message.kind === "notice") {
    toast(message.notice);
    showOutside(message.notice);
    document.dispatchEvent(new CustomEvent("ctp:notice", { detail: message.notice }));
    if (!drawer.hidden) fillDrawer();
  }
  if (message.accounts) document.dispatchEvent(new CustomEvent("ctp:accounts", { detail: message.accounts }));
  check();
}

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live`);
  socket.addEventListener("open", () => (retryMs = 500));
  socket.addEventListener("message", (event) => receive(JSON.parse(event.data)));
  socket.addEventListener("close", (event) => {
    if (isLeaving) return;
    if (event.code === 4401) return toLogin();
    setTimeout(connect, retryMs);
    retryMs = Math.min(retryMs * 2, 8_000);
  });
}

// --- session -----------------------------------------------------------------------------------------------------------

let renewedAt = Date.now();
addEventListener("pagehide", () => (isLeaving = true));
addEventListener("pageshow", (event) => event.persisted && location.reload());  // a page kept by the browser may not be shown again
document.querySelector("form[action='/logout']").addEventListener("submit", () => (isLeaving = true));

async function renew() {
  if (Date.now() - renewedAt < RENEW_EVERY_MS / 2) return;
  renewedAt = Date.now();
  await ask("POST", "/session/renew").catch(() => null);  // 401 leaves for the login page; anything else is tried again
}
setInterval(renew, RENEW_EVERY_MS);

document.getElementById("ctp-theme").addEventListener("click", async () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  document.dispatchEvent(new CustomEvent("ctp:theme"));
  await ask("PUT", "/preferences", { theme });
});

showUnread(page.unread);
connect();
