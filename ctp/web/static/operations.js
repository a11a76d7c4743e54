// Health, jobs, undeliverable notices; for administrators every account with Close all. Kept true every few seconds.

import { ask, element, format, word } from "/static/page.js";
import { commandItem, confirmCommand, newKey } from "/static/desk/controls.js";

const EVERY_MS = 4_000;
const WHILE_CLOSING_MS = 1_000;
const drawn = new Map();  // a part that has not changed is not drawn again, so that focus and selection stay

const cell = (name, className, ...children) => element("td", { "data-name": name ? word(`operations.${name}`) : null, className }, ...children);
const badge = (look, text) => element("span", { className: `badge state ${look}` }, text);

function part(name, facts, draw) {
  const now = JSON.stringify(facts);
  if (drawn.get(name) === now) return;
  drawn.set(name, now);
  const held = document.activeElement?.closest?.(`#${name}`) ? document.activeElement.dataset.key : undefined;
  document.getElementById(name)?.replaceChildren(...draw(facts));
  if (held) document.querySelector(`#${name} [data-key="${CSS.escape(held)}"]`)?.focus();
}

function rows(name, list, columns, empty, draw) {
  const table = document.getElementById(name);
  if (!table) return;
  const now = JSON.stringify(list);
  if (drawn.get(name) === now) return;
  drawn.set(name, now);
  const held = table.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  table.tBodies[0].replaceChildren(...(list.length ? list.map(draw) : [element("tr", {}, element("td", { colspan: columns, className: "empty" }, empty))]));
  if (held) table.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus();
}

function say(id, text, kind = "") {
  const place = document.getElementById(id);
  place.className = text ? `message inset ${kind}` : "";
  place.textContent = text;
}

// --- health ------------------------------------------------------------------------------------------------------------

const LOOK = { alive: "running", unhealthy: "paused", silent: "blocked", never: "blocked" };

function tile(title, look, state, ...lines) {
  return element("div", { className: "card tile-card" }, element("div", { className: "row" }, element("h3", {}, title), badge(look, state)),
    ...lines.filter(Boolean).map((line) => element("p", { className: "small soft" }, line)));
}

function health(view) {
  const gigabytes = (bytes) => format.number(bytes / 1e9, 1);
  const tiles = view.processes.map((one) => tile(one.word, LOOK[one.state], word(`operations.${one.state}`),
    one.state === "silent" ? word("operations.silent_for", { age: format.age(one.age_ms) }) : one.facts.join(" · "), one.trouble));
  tiles.push(tile(word("operations.disk"), view.disk.is_low ? "paused" : "running", word(view.disk.is_low ? "operations.low" : "operations.enough"),
    word("operations.disk_free", { free: gigabytes(view.disk.free), total: gigabytes(view.disk.total) })));
  tiles.push(tile(word("operations.delivery"), view.dead_count ? "paused" : "running", view.dead_count ? word("operations.undelivered", { count: view.dead_count }) : word("operations.fine"),
    word("operations.waiting", { count: view.waiting })));
  tiles.push(tile(word("operations.backups"), view.backups.is_good ? "running" : "paused", view.backups.state,
    view.backups.newest_at ? word("operations.newest_backup", { time: format.time(view.backups.newest_at) }) : ""));
  if (view.certificate) {
    tiles.push(tile(word("operations.certificate"), view.certificate.is_near ? "paused" : "running", word(view.certificate.is_near ? "operations.renew" : "operations.fine"),
      word("operations.valid_until", { time: format.fullTime(view.certificate.expires_at) })));
  }
  return tiles;
}

function overall(view) {
  const wrong = view.processes.filter((one) => one.state !== "alive").length + (view.disk.is_low ? 1 : 0) + (view.dead_count ? 1 : 0) + (view.backups.is_good ? 0 : 1)
    + (view.certificate?.is_near ? 1 : 0) + view.jobs.filter((job) => job.failing_since).length;
  const place = document.getElementById("overall");
  const text = wrong ? word("operations.look", { count: wrong }) : word("operations.all_well");
  if (place.textContent !== text) place.textContent = text;
  place.className = `badge state ${wrong ? "paused" : "running"}`;
}

// --- tables ------------------------------------------------------------------------------------------------------------

const RESULT = { done: "running", running: "", failed: "blocked", lost: "blocked", stopped: "paused" };

const took = (milliseconds) => (milliseconds === null ? null : element("span", { className: "soft" }, ` · ${format.number(milliseconds / 1000, 1)} s`));

// The last runs of a job, asked for when somebody wants to see them.
async function history(one) {
  const { runs } = await ask("GET", `/operations/jobs/${one.id}`);
  const list = element("ol", { className: "plain-list" }, ...(runs.length ? runs.map((run) => element("li", {},
    element("div", {}, element("span", { className: "tight" }, format.fullTime(run.started_at)), took(run.took_ms), run.error ? element("div", { className: "small soft" }, run.error) : null),
    badge(RESULT[run.result] ?? "", run.result_word))) : [element("li", { className: "soft" }, word("operations.no_run"))]));
  const dialog = element("dialog", { className: "confirm", "aria-labelledby": "history-title", onclose: () => dialog.remove() },
    element("form", { method: "dialog" }, element("h2", { id: "history-title" }, word("operations.runs_of", { job: one.name })),
      element("div", { className: "scroll", tabindex: 0 }, list),
      element("menu", {}, element("button", { className: "button" }, word("operations.close")))));
  document.body.append(dialog);
  dialog.showModal();
}

function job(one) {
  return element("tr", {},
    cell("job", "", element("b", {}, one.name)), cell("schedule", "", one.schedule),
    cell("last", "tight", one.started_at ? format.time(one.started_at) : "–", took(one.took_ms)),
    cell("next", "tight", one.next_at ? format.time(one.next_at) : "–"),
    cell("result", "wide-cell", one.result ? badge(RESULT[one.result] ?? "", one.result_word) : "–",
      one.error ? element("p", { className: "small soft" }, one.error) : null,
      one.failing_since ? element("p", { className: "small soft" }, word("operations.failing_since", { time: format.time(one.failing_since) })) : null),
    cell("", "actions", element("button", { className: "button small", type: "button", "data-key": one.id, "aria-label": word("operations.runs_of", { job: one.name }), onclick: () => history(one).catch(() => {}) }, word("operations.runs"))));
}

function backup(one) {
  return element("tr", {},
    cell("backup", "", element("b", {}, one.name)), cell("made", "tight", one.at ? format.fullTime(one.at) : word("operations.no_backup")),
    cell("added", "tight", one.at ? one.added : "–"), cell("next", "tight", one.next_at ? format.fullTime(one.next_at) : "–"));
}

function check(one) {
  return element("tr", {},
    cell("check", "", element("b", {}, one.name)), cell("last", "tight", one.at ? format.fullTime(one.at) : "–"),
    cell("result", "wide-cell", badge(one.look, one.state), one.found ? element("span", { className: "soft small" }, ` ${one.found}`) : null,
      ...one.lines.map((line) => element("p", { className: "small soft" }, line))));
}

function backupsState(backups) {
  return [element("p", { className: "small" }, badge(backups.is_good ? "running" : "paused", backups.state), ` ${backups.total}`),
    ...backups.damaged.map((id) => element("p", { className: "small soft" }, word("operations.damaged_backup", { id })))];
}

function dead(one) {
  return element("tr", {},
    cell("when", "tight", format.time(one.created_at)), cell("to", "", `${one.user} · ${one.channel_word}`), cell("kind", "", one.kind),
    cell("why", "wide-cell", one.error || "–", element("span", { className: "soft small" }, ` · ${word("operations.attempts", { count: one.attempts })}`)),
    cell("", "actions", element("button", { className: "button small", type: "button", "data-key": `${one.id}${one.channel}`, onclick: () => resend({ notices: [one.id], channel: one.channel }) }, word("operations.resend"))));
}

async function resend(what) {
  try {
    const { count } = await ask("POST", "/operations/resend", what);
    say("dead-message", word(count ? "operations.resent" : "operations.not_resent", { count }), count ? "good" : "warn");
    await refresh();
  } catch (error) {
    say("dead-message", error.message);
  }
}

// --- close all for anybody ---------------------------------------------------------------------------------------------

async function close(one) {
  if ((await confirmCommand("close_all", { ...one, name: `${one.owner} / ${one.name}` })) === null) return;
  try {
    await ask("POST", `/accounts/${one.id}/commands`, { kind: "close_all", request_key: newKey() });
    say("accounts-message", "");
    await refresh();
  } catch (error) {
    say("accounts-message", error.message);
  }
}

function account(one) {
  const isUnderWay = one.command !== null && !one.command.done_at;
  return element("tr", { "data-account": one.id },
    cell("account", "account-cell", element("span", { className: `badge ${one.mode}` }, one.mode_word), " ", element("b", {}, one.name), element("span", { className: "soft small" }, ` ${one.exchange_name}`)),
    cell("owner", "", one.owner), cell("state", "", badge(one.status, one.status_word)),
    cell("positions", "", word(one.is_flat ? "operations.flat" : "operations.open")),
    cell("", "actions", element("button", { className: "button danger small", type: "button", "data-key": one.id, disabled: one.is_flat || isUnderWay, "aria-label": `${word("button.close_all")}: ${one.owner} / ${one.name}`, onclick: () => close(one) }, word("button.close_all")),
      one.command === null ? null : element("ol", { className: "steps" }, commandItem(one.command))));
}

// --- keeping true ------------------------------------------------------------------------------------------------------

let timer = null;

function show(view) {
  // An age that grows while all is well is not news.
  part("health", { ...view, jobs: null, accounts: null, about: null, processes: view.processes.map((one) => (one.state === "silent" ? one : { ...one, age_ms: 0 })) }, health);
  overall(view);
  if (view.accounts) rows("accounts", view.accounts, 5, word("operations.no_account"), account);
  part("backups-state", view.backups, backupsState);
  rows("backups", view.backups.kinds, 4, "", backup);
  rows("backup-checks", view.backups.checks, 3, "", check);
  rows("jobs", view.jobs, 6, word("operations.no_job"), job);
  rows("dead", view.dead, 5, word("operations.none_dead"), dead);
  document.getElementById("resend-all").hidden = view.dead.length < 2;
  part("about", view.about, (about) => about.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  clearTimeout(timer);
  const isClosing = view.accounts?.some((one) => one.command && !one.command.done_at);
  timer = setTimeout(refresh, isClosing ? WHILE_CLOSING_MS : EVERY_MS);
}

async function refresh() {
  clearTimeout(timer);
  if (document.hidden) return void (timer = setTimeout(refresh, EVERY_MS));
  try {
    show(await ask("GET", "/operations"));
  } catch {
    timer = setTimeout(refresh, EVERY_MS);  // the header's script says that the page is stale
  }
}

document.getElementById("resend-all").addEventListener("click", () => resend({ all: true }));
document.addEventListener("visibilitychange", () => !document.hidden && refresh());
show(JSON.parse(document.getElementById("ctp-operations").textContent));
