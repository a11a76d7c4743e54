// A notice as a list item; the drawer and the history page show the same.

import { element, format, word } from "/static/page.js";

export function noticeItem(notice, onRead = null) {
  const read = notice.read_at || !onRead ? null
    : element("button", { className: "button quiet small", type: "button", onclick: () => onRead(notice) }, word("notice.read"));
  const link = notice.link ? element("a", { href: notice.link }, word(notice.link.startsWith("/reports") ? "notice.report" : "notice.desk")) : null;
  return element("li", { className: `notice ${notice.read_at ? "" : "unread"} ${notice.urgent ? "urgent" : ""}`, "data-notice": notice.id },
    element("strong", {}, notice.read_at ? null : element("span", { className: "visually-hidden" }, `${word("notice.unread")}: `), notice.title),
    element("p", {}, notice.text.split("\n").map((line) => element("span", {}, line))),
    element("div", { className: "foot" },
      element("time", { datetime: new Date(notice.created_at).toISOString() }, format.fullTime(notice.created_at)), link, read));
}
