// What every script of a page shares: the facts the server wrote into it, words, elements, numbers, requests.

export const page = JSON.parse(document.getElementById("ctp-page").textContent);

// Return the text of a key of the page's language, with {facts} filled in.
export function word(key, facts = {}) {
  const text = page.words[key];
  if (text === undefined) throw new Error(`no word ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => (name in facts ? facts[name] : `{${name}}`));
}

// Make an element. Text is always set as text, never as HTML: what a user or an exchange wrote cannot become markup.
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "className") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const locale = page.language === "ko" ? "ko-KR" : "en-GB";
const dates = new Map();

function moment(options) {
  const key = JSON.stringify(options);
  if (!dates.has(key)) dates.set(key, new Intl.DateTimeFormat(locale, { timeZone: page.zone, hourCycle: "h23", ...options }));
  return dates.get(key);
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

export const format = {
  // A number with `places` digits after the point; "–" when there is none.
  number(value, places = 2, signed = false) {
    if (!isNumber(value)) return "–";
    const shown = Math.abs(value) < 0.5 * 10 ** -places ? 0 : value;
    return shown.toLocaleString(locale, { minimumFractionDigits: places, maximumFractionDigits: places, signDisplay: signed ? "exceptZero" : "auto" }).replace("-", "−");
  },
  // An amount in a currency; won has no decimals and large won is grouped by 만 and 억 in Korean.
  money(value, currency, signed = false) {
    if (!isNumber(value)) return "–";
    if (currency === "KRW") {
      const options = { maximumFractionDigits: 0, signDisplay: signed ? "exceptZero" : "auto" };
      if (page.language === "ko" && Math.abs(value) >= 1e8) {
        const whole = Math.trunc(Math.abs(value) / 1e8), rest = Math.round((Math.abs(value) % 1e8) / 1e4);
        return `${value < 0 ? "−" : signed ? "+" : ""}${whole.toLocaleString(locale)}억${rest ? ` ${rest.toLocaleString(locale)}만` : ""} 원`;
      }
      return `${value.toLocaleString(locale, options).replace("-", "−")}${page.language === "ko" ? "원" : " KRW"}`;
    }
    return `${this.number(value, 2, signed)} ${currency}`;
  },
  // A price with the digits it needs.
  price(value) {
    if (!isNumber(value)) return "–";
    const size = Math.abs(value);
    return this.number(value, size >= 1000 ? 2 : size >= 10 ? 3 : size >= 1 ? 4 : 6);
  },
  // A size in base units, without empty digits.
  size(value) {
    return isNumber(value) ? value.toLocaleString(locale, { maximumFractionDigits: 8 }).replace("-", "−") : "–";
  },
  // A fraction as per cent: 0.02 is 2.00%.
  percent(value, places = 2, signed = false) {
    return isNumber(value) ? `${this.number(value * 100, places, signed)}%` : "–";
  },
  time(milliseconds) {
    return milliseconds ? moment({ month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" }).format(milliseconds) : "–";
  },
  fullTime(milliseconds) {
    return milliseconds ? moment({ dateStyle: "medium", timeStyle: "medium" }).format(milliseconds) : "–";
  },
  clock(milliseconds) {
    return milliseconds ? moment({ hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(milliseconds) : "–";
  },
  day(milliseconds) {
    return moment({ month: "numeric", day: "numeric" }).format(milliseconds);
  },
  hour(milliseconds) {
    return moment({ hour: "2-digit", minute: "2-digit" }).format(milliseconds);
  },
  // How long ago, in the largest unit that fits.
  age(milliseconds) {
    const seconds = Math.max(0, Math.round(milliseconds / 1000));
    if (seconds < 120) return word("age.seconds", { count: seconds });
    if (seconds < 7200) return word("age.minutes", { count: Math.round(seconds / 60) });
    return word("age.hours", { count: Math.round(seconds / 3600) });
  },
};

// Return the class that colours a gain or a loss.
export const direction = (value) => (isNumber(value) && value !== 0 ? (value > 0 ? "rise" : "fall") : "");

// Ask the API. Returns the answer's JSON; throws an Error with the server's words and `status`.
export async function ask(method, path, body) {
  const answer = await fetch(`/api/v1${path}`, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "same-origin",
    cache: "no-store",
  });
  if (answer.status === 401) toLogin();
  const content = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw Object.assign(new Error(content?.error ?? word("error.unexpected")), { status: answer.status });
  return content;
}

// Leave for the login page and come back here afterwards.
export function toLogin() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}
