// The history of notices: filters in the address, older ones on demand, new ones as they arrive.

import { ask, element, word } from "/static/page.js";
import { noticeItem } from "/static/notice.js";

const filters = document.getElementById("filters");
const list = document.getElementById("notices");
const older = document.getElementById("older");
const readAll = document.getElementById("read-all");
const PAGE = 50;

let shown = [];
let asked = 0;  // a late answer to an earlier filter is not shown

function chosen() {
  return Object.fromEntries([...new FormData(filters)].filter(([, value]) => value));
}

function draw() {
  list.replaceChildren(...(shown.length ? shown.map((one) => noticeItem(one, read))
    : [element("li", { className: "empty" }, word(Object.keys(chosen()).length ? "notice.none_match" : "bell.empty"))]));
}

function count(unread) {
  readAll.disabled = unread === 0;
  document.dispatchEvent(new CustomEvent("ctp:unread", { detail: unread }));
}

async function load(isMore = false) {
  const mine = ++asked;
  const query = new URLSearchParams({ limit: PAGE, ...chosen() });
  if (isMore && shown.length) query.set("before", shown.at(-1).id);
  try {
    const answer = await ask("GET", `/notices?${query}`);
    if (mine !== asked) return;
    shown = isMore ? [...shown, ...answer.notices] : answer.notices;
    older.hidden = !answer.more;
    draw();
    count(answer.unread);
  } catch (error) {
    if (mine === asked) list.replaceChildren(element("li", { className: "empty", role: "alert" }, error.message));
  }
}

async function read(notice) {
  const { unread } = await ask("POST", "/notices/read", { ids: [notice.id] });
  notice.read_at = Date.now();
  const place = [...list.children].indexOf(list.querySelector(`[data-notice="${notice.id}"]`));
  draw();
  count(unread);
  (list.children[place + 1]?.querySelector("button") ?? readAll).focus();
}

filters.addEventListener("change", () => {
  const query = new URLSearchParams(chosen()).toString();
  history.replaceState(null, "", query ? `?${query}` : location.pathname);
  load();
});
filters.addEventListener("submit", (event) => event.preventDefault());
older.addEventListener("click", () => load(true));
readAll.addEventListener("click", async () => {
  const { unread } = await ask("POST", "/notices/read", { all: true });
  count(unread);
  await load();
});
document.addEventListener("ctp:notice", ({ detail: notice }) => {
  const wanted = chosen();
  if ((wanted.kind && wanted.kind !== notice.kind) || (wanted.account && Number(wanted.account) !== notice.account)) return;
  if (shown.some((one) => one.id === notice.id)) return;
  shown.unshift(notice);
  draw();
  readAll.disabled = false;
});
document.addEventListener("ctp:read", () => load());

for (const [name, value] of new URLSearchParams(location.search)) {
  const field = filters.elements[name];
  if (field?.type === "checkbox") field.checked = value === "1";
  else if (field) field.value = value;
}
load();
