// Candles, RSI and equity on one time axis, with the account's fills and the levels that protect its position.

import * as library from "/static/vendor/lightweight-charts.standalone.production.mjs";
import { direction, element, format, page, word } from "/static/page.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const seconds = (row) => row[0] / 1000;

// A chart in a new element. `load(series)` shows a whole history, `extend(series)` what has come since.
export function makeChart() {
  const legend = element("div", { className: "legend", "aria-hidden": "true" });
  const box = element("div", { className: "chart", role: "img" }, legend);
  const empty = element("p", { className: "empty" }, word("chart.empty"));
  const chart = library.createChart(box, {
    autoSize: true,
    localization: { locale: page.language === "ko" ? "ko-KR" : "en-GB", timeFormatter: (time) => format.time(time * 1000) },
    timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 4, tickMarkFormatter: (time, kind) => (kind <= 2 ? format.day(time * 1000) : format.hour(time * 1000)) },
    crosshair: { mode: 0 },
  });
  const candles = chart.addSeries(library.CandlestickSeries, { borderVisible: false, priceFormat: { type: "custom", minMove: 1e-8, formatter: (value) => format.price(value) } }, 0);
  const rsi = chart.addSeries(library.LineSeries, { lineWidth: 2, priceFormat: { type: "custom", minMove: 0.1, formatter: (value) => format.number(value, 0) }, autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 100 } }) }, 1);
  const equity = chart.addSeries(library.AreaSeries, { lineWidth: 2, priceFormat: { type: "custom", minMove: 0.01, formatter: (value) => format.number(value, 2) } }, 2);
  candles.priceScale().applyOptions({ scaleMargins: { top: 0.12, bottom: 0.08 } });
  rsi.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.08 } });
  [5, 2, 2].forEach((share, pane) => chart.panes()[pane].setStretchFactor(share));
  const marks = library.createSeriesMarkers(candles, []);
  const state = { rows: [], markers: [], lines: [], levels: null, drawn: [], shown: null, isPlaced: false };

  function paint() {
    const [rise, fall, ink, grid] = ["rise", "fall", "ink-soft", "chart-grid"].map(colour);
    chart.applyOptions({
      layout: { background: { color: colour("surface") }, textColor: ink, fontFamily: getComputedStyle(document.body).fontFamily, panes: { separatorColor: colour("line"), enableResize: true }, attributionLogo: true },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      rightPriceScale: { borderColor: colour("line") }, timeScale: { borderColor: colour("line") },
    });
    candles.applyOptions({ upColor: rise, downColor: fall, wickUpColor: rise, wickDownColor: fall });
    rsi.applyOptions({ color: colour("chart-rsi") });
    const area = colour("chart-equity");
    equity.applyOptions({ lineColor: area, topColor: `${area}55`, bottomColor: `${area}08` });
    drawLines();
    drawMarkers();
  }

  function drawLines() {
    state.drawn.forEach(([series, line]) => series.removePriceLine(line));
    state.drawn = [];
    const draw = (series, price, options) => state.drawn.push([series, series.createPriceLine({ price, lineWidth: 1, lineStyle: 2, ...options })]);
    if (state.levels) {
      draw(rsi, state.levels.overbought, { color: colour("fall"), title: "", axisLabelVisible: true });
      draw(rsi, state.levels.oversold, { color: colour("rise"), title: "", axisLabelVisible: true });
    }
    const look = { stop: ["danger", 0], take: ["good", 0], entry: ["ink-soft", 3] };
    for (const line of state.lines) draw(candles, line.price, { color: colour(look[line.kind][0]), lineStyle: look[line.kind][1], title: word(`chart.${line.kind}`) });
  }

  function drawMarkers() {
    marks.setMarkers(state.markers.map((mark) => ({
      time: mark.time / 1000,
      position: mark.side === "buy" ? "belowBar" : "aboveBar",
      shape: mark.side === "buy" ? "arrowUp" : "arrowDown",
      color: colour(mark.side === "buy" ? "rise" : "fall"),
      text: mark.text,
    })));
  }

  function describe(row) {
    if (!row) return legend.replaceChildren();
    const [time, open, high, low, close, , strength] = row;
    const part = (name, value, kind = "") => element("span", {}, `${name} `, element("b", { className: kind }, value));
    legend.replaceChildren(
      part(format.time(time), ""), part(word("chart.open"), format.price(open)), part(word("chart.high"), format.price(high)), part(word("chart.low"), format.price(low)),
      part(word("chart.close"), format.price(close), direction(close - open)), part(`RSI ${state.levels?.period ?? 14}`, format.number(strength, 1)));
  }

  chart.subscribeCrosshairMove((event) => {
    const row = event.time ? state.rows.find((one) => seconds(one) === event.time) : null;
    state.shown = row ?? null;
    describe(row ?? state.rows.at(-1));
  });

  const asCandle = (row) => ({ time: seconds(row), open: row[1], high: row[2], low: row[3], close: row[4] });
  const asValue = (row, index) => (row[index] === null ? { time: seconds(row) } : { time: seconds(row), value: row[index] });

  function take(series) {
    state.markers = series.markers;
    state.lines = series.lines;
    state.levels = series.levels;
    box.setAttribute("aria-label", word("chart.label", { symbol: series.symbol }));
    drawLines();
    drawMarkers();
    if (!state.shown) describe(state.rows.at(-1));
    if (state.rows.length) empty.remove(); else box.append(empty);
  }

  function load(series) {
    state.rows = series.candles;
    candles.setData(state.rows.map(asCandle));
    rsi.setData(state.rows.map((row) => asValue(row, 6)));
    equity.setData(state.rows.map((row) => asValue(row, 7)));
    showNewest();
    take(series);
  }

  // Show as many of the newest candles as can be told apart; only possible once the time scale has a width.
  function showNewest() {
    const count = state.rows.length, width = chart.timeScale().width();
    if (!count || !width) return;
    chart.timeScale().setVisibleLogicalRange({ from: count - Math.max(40, Math.round(width / 9)), to: count + 4 });
    state.isPlaced = true;
  }
  chart.timeScale().subscribeSizeChange(() => {
    if (!state.isPlaced) showNewest();
  });

  function extend(series) {
    for (const row of series.candles) {
      const last = state.rows.at(-1);
      if (last && row[0] < last[0]) continue;
      if (last && row[0] === last[0]) state.rows[state.rows.length - 1] = row; else state.rows.push(row);
      candles.update(asCandle(row));
      rsi.update(asValue(row, 6));
      equity.update(asValue(row, 7));
    }
    take(series);
  }

  paint();
  document.addEventListener("ctp:theme", paint);
  return { node: box, load, extend, remove: () => { document.removeEventListener("ctp:theme", paint); chart.remove(); } };
}
