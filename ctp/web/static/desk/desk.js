// The trading desk: one account of one person. It draws what the kernel sends and sends back what the person asks for.

import { direction, element, format, word } from "/static/page.js";
import { makeChart } from "./chart.js";
import { makeControls } from "./controls.js";
import { decisions, positions, trades } from "./tables.js";

function tile(name, value, ...more) {
  return element("div", { className: "tile" }, element("dt", {}, name), element("dd", { className: "number" }, value), ...more);
}

function limitTile(account) {
  const used = account.limit_used ?? 0;
  const look = account.daily_locked || used >= 1 ? "over" : used >= 0.6 ? "near" : "";
  const fill = element("i");
  fill.style.width = `${Math.min(1, used) * 100}%`;
  return tile(word("tile.today"),
    element("span", { className: direction(account.day_pnl) }, format.money(account.day_pnl, account.quote, true), " ", element("span", { className: "small" }, `(${format.percent(account.day_fraction, 2, true)})`)),
    element("dd", {}, element("div", { className: `bar ${look}`, role: "meter", "aria-label": word("tile.limit"), "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(Math.round(used * 100)) }, fill)),
    element("dd", { className: "sub" }, account.daily_locked ? word("limit.locked") : word("limit.used", { used: format.percent(used, 0), limit: format.percent(account.daily_loss_limit, 1) })));
}

function tiles(account, decision) {
  const number = (value) => element("b", {}, value);
  return [
    tile(word("tile.equity"), format.money(account.equity, account.quote), element("dd", { className: "sub" }, word("tile.capital", { capital: format.money(account.capital, account.quote) }))),
    limitTile(account),
    tile(word("tile.positions"), number(String(account.open_positions)), element("dd", { className: "sub" }, word("tile.symbols", { count: account.symbols.length, timeframe: account.timeframe }))),
    tile(word("tile.decision"), decision ? decision.outcome_word : "–", element("dd", { className: "sub" }, decision ? `${decision.symbol} · ${format.time(decision.close_time)}` : word("why.empty"))),
  ];
}

function badges(account) {
  const show = [element("span", { className: `badge ${account.mode}` }, account.mode_word), element("span", { className: `badge state ${account.status}`, title: account.status === "blocked" ? account.status_reason : null }, account.status_word)];
  if (account.hold) show.push(element("a", { className: "badge state blocked", href: `/accounts/${account.id}/parameters` }, account.hold_word));
  if (account.drawdown_locked) show.push(element("span", { className: "badge state blocked" }, word("lock.drawdown")));
  if (account.daily_locked) show.push(element("span", { className: "badge state blocked" }, word("lock.daily")));
  return show;
}

// Draw the desk into `el`; called by the widget.
export function render({ model, el }) {
  const view = structuredClone(model.get("view"));
  const select = (account, symbol) => model.send({ kind: "select", account, symbol });
  const chart = makeChart();
  const controls = makeControls((account, kind, requestKey) => model.send({ kind: "command", account, command: kind, request_key: requestKey }));
  const picker = element("select", { "aria-label": word("desk.account"), onchange: () => select(Number(picker.value), null) });
  const symbols = element("div", { className: "symbols", role: "group", "aria-label": word("desk.symbol") });
  const badgeBox = element("div", { className: "badges" });
  const tileBox = element("dl", { className: "tiles wide" });
  const place = Object.fromEntries(["positions", "trades", "decisions"].map((name) => [name, element("div")]));
  const panel = (title, body, note = null) => element("section", { className: "panel", "aria-label": title }, element("header", {}, element("h2", {}, title), note), body);
  const market = element("p", { className: "note wide" });
  const desk = element("div", { className: "desk" },
    element("section", { className: "panel wide strip", "aria-label": word("desk.account") }, picker, symbols, badgeBox),
    market, tileBox,
    element("section", { className: "panel first", "aria-label": word("chart.title") }, chart.node),
    element("div", { className: "side" }, element("div", { className: "second" }, controls.node), element("div", { className: "fourth" }, panel(word("why.title"), place.decisions))),
    element("div", { className: "wide third" }, panel(word("positions.title"), place.positions)),
    element("div", { className: "wide fifth" }, panel(word("trades.title"), place.trades)),
    element("p", { className: "note wide last" }, word("target.note"), " ", element("a", { href: "/evidence" }, word("target.link"))));

  const drawn = {};
  function changed(name, value) {
    const text = JSON.stringify(value);
    if (drawn[name] === text) return false;
    drawn[name] = text;
    return true;
  }

  function show() {
    const { account } = view;
    desk.classList.toggle("is-live", account.mode === "live");
    if (changed("picker", [view.accounts, account.id])) {
      picker.replaceChildren(...view.accounts.map((one) => element("option", { value: one.id, selected: one.id === account.id }, `[${one.mode_word}] ${one.name}`)));
    }
    if (changed("symbols", [account.symbols, view.symbol])) {
      symbols.replaceChildren(...account.symbols.map((symbol) => element("button", { type: "button", "aria-pressed": String(symbol === view.symbol), onclick: () => select(account.id, symbol) }, symbol)));
    }
    if (changed("account", [account, view.decisions[0]])) {
      badgeBox.replaceChildren(...badges(account));
      tileBox.replaceChildren(...tiles(account, view.decisions[0]));
      market.textContent = `${account.exchange_name} · ${account.market_word} · ${account.timeframe}${account.is_generated ? ` — ${word("desk.generated")}` : ""}${account.status === "blocked" && account.status_reason ? ` — ${account.status_reason}` : ""}`;
    }
    if (changed("controls", [account, view.commands])) controls.show(account, view.commands);
    if (changed("positions", view.positions)) place.positions.replaceChildren(positions(view.positions, account.quote));
    if (changed("trades", view.trades)) place.trades.replaceChildren(trades(view.trades, account.quote));
    if (changed("decisions", view.decisions)) place.decisions.replaceChildren(decisions(view.decisions));
  }

  function receive(message) {
    document.dispatchEvent(new CustomEvent("ctp:beat"));
    if (message.kind === "refused") return controls.fail(message.text);
    if (message.kind !== "view") return;
    Object.assign(view, message.view);
    show();
    const { series } = message.view;
    if (series) series.is_whole ? chart.load(series) : chart.extend(series);
  }

  el.append(desk);
  show();
  chart.load(view.series);
  model.on("msg:custom", receive);
  document.dispatchEvent(new CustomEvent("ctp:beat"));
  performance.mark("ctp:painted");
  return () => {
    model.off("msg:custom", receive);
    chart.remove();
  };
}
