// Keep the account cards of the home page true without a reload.

import { direction, element, format, word } from "/static/page.js";

function put(card, name, text, className = "") {
  const node = card.querySelector(`[data-value="${name}"]`);
  if (!node) return;
  if (node.textContent !== text) node.textContent = text;
  if (className !== null) node.className = `${node.dataset.class ?? ""} ${className}`;
}

function show(account) {
  const card = document.querySelector(`[data-account="${account.id}"]`);
  if (!card) return;
  put(card, "status", account.status_word, account.status);
  put(card, "equity", format.money(account.equity, account.quote));
  put(card, "today", format.money(account.day_pnl, account.quote, true), direction(account.day_pnl));
  put(card, "today_fraction", format.percent(account.day_fraction, 2, true), direction(account.day_pnl));
  put(card, "positions", String(account.open_positions));
  put(card, "limit", word("limit.used", { used: format.percent(account.limit_used, 0), limit: format.percent(account.daily_loss_limit, 1) }), null);
  const bar = card.querySelector(".bar");
  bar.className = `bar ${account.limit_used >= 1 ? "over" : account.limit_used >= 0.6 ? "near" : ""}`;
  bar.firstElementChild.style.width = `${Math.min(1, account.limit_used || 0) * 100}%`;
  bar.setAttribute("aria-valuenow", String(Math.round((account.limit_used || 0) * 100)));
}

const first = document.getElementById("ctp-accounts");
if (first) JSON.parse(first.textContent).forEach(show);
document.addEventListener("ctp:accounts", (event) => {
  const shown = new Set([...document.querySelectorAll("[data-account]")].map((card) => Number(card.dataset.account)));
  const listed = event.detail.map((account) => account.id);
  if (listed.length !== shown.size || listed.some((id) => !shown.has(id))) return location.reload();
  event.detail.forEach(show);
});

// The dashboard's scripts are fetched while the reader looks at the cards, so that it paints at once.
function fetchAhead() {
  for (const address of JSON.parse(document.getElementById("ctp-prefetch")?.textContent ?? "[]")) {
    document.head.append(element("link", { rel: "prefetch", href: address }));
  }
}
if (document.readyState === "complete") fetchAhead(); else addEventListener("load", fetchAhead);
