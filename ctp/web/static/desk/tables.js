// What is open, what was closed, and why: the records of an account as tables and sentences.

import { direction, element, format, word } from "/static/page.js";

const cell = (name, content, className = "") => element("td", { "data-name": name, className }, content);

function table(columns, rows, empty) {
  if (!rows.length) return element("p", { className: "empty" }, empty);
  return element("div", { className: "scroll", tabindex: "0" }, element("table", { className: "cards-on-phone" },
    element("thead", {}, element("tr", {}, ...columns.map(([name, kind]) => element("th", { scope: "col", className: kind }, name)))),
    element("tbody", {}, ...rows.map((values) => element("tr", {}, ...values.map((value, index) => cell(columns[index][0], value, columns[index][1])))))));
}

const side = (row) => element("span", { className: row.side }, row.side_word);

// Where the price stands between stop and take-profit.
function distance(row) {
  const words = [];
  if (row.stop_price !== null) words.push(word("position.to_stop", { distance: format.percent(row.stop_distance, 2) }));
  if (row.take_price !== null) words.push(word("position.to_take", { distance: format.percent(row.take_distance, 2) }));
  const node = element("div", { className: "distance" }, ...words.map((text) => element("span", { className: "small" }, text)));
  if (row.stop_price !== null && row.take_price !== null && row.price !== null) {
    const share = (row.price - row.stop_price) / (row.take_price - row.stop_price);
    const mark = element("i");
    mark.style.left = `calc(${Math.min(1, Math.max(0, share)) * 100}% - 1px)`;
    node.append(element("div", { className: "track", "aria-hidden": "true" }, mark));
  }
  return node;
}

export function positions(rows, quote) {
  const columns = [[word("column.symbol"), ""], [word("column.side"), ""], [word("column.size"), "number"], [word("column.entry"), "number"],
    [word("column.price"), "number"], [word("column.unrealised"), "number"], [word("column.stop"), "number"], [word("column.take"), "number"], [word("column.distance"), ""]];
  return table(columns, rows.map((row) => [row.symbol, side(row),
    element("span", {}, format.size(row.size), row.leverage > 1 ? element("span", { className: "soft small" }, ` · ${format.size(row.leverage)}x`) : null),
    format.price(row.entry_price), format.price(row.price),
    element("span", { className: direction(row.unrealised) }, format.money(row.unrealised, quote, true)),
    row.stop_price === null ? element("b", { className: "message" }, word("position.no_stop")) : format.price(row.stop_price),
    row.take_price === null ? "–" : format.price(row.take_price), distance(row)]), word("positions.empty"));
}

export function trades(rows, quote) {
  const columns = [[word("column.closed"), "number"], [word("column.symbol"), ""], [word("column.side"), ""], [word("column.size"), "number"], [word("column.entry"), "number"],
    [word("column.exit"), "number"], [word("column.fee"), "number"], [word("column.pnl"), "number"], ["R", "number"], [word("column.reason"), ""]];
  return table(columns, rows.map((row) => [format.time(row.exit_time), row.symbol, side(row), format.size(row.size), format.price(row.entry_price), format.price(row.exit_price),
    format.number(row.fee, 2), element("b", { className: direction(row.pnl) }, format.money(row.pnl, quote, true)),
    element("span", { className: direction(row.r_multiple) }, format.number(row.r_multiple, 2, true)), row.exit_reason_word]), word("trades.empty"));
}

export function decisions(rows) {
  if (!rows.length) return element("p", { className: "empty" }, word("why.empty"));
  return element("div", { className: "scroll", tabindex: "0" }, element("ol", { className: "why" }, ...rows.map((row) => element("li", { className: row.outcome },
    element("span", { className: "when" }, element("b", {}, row.symbol), element("span", {}, word("why.close", { time: format.time(row.close_time) }))),
    element("span", { className: "outcome" }, row.outcome_word), element("span", { className: "soft" }, row.words)))));
}
