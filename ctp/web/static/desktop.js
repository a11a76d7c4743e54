// Notices of the browser itself, outside the page: asked for by a button, never unbidden, and kept per browser and person.
// They come through a service worker because browsers on phones offer no other way.

import { page } from "/static/page.js";

const ON = `ctp-desktop:${page.user}`;
const PRIVATE = `ctp-desktop-private:${page.user}`;
const isPossible = "Notification" in window && "serviceWorker" in navigator && window.isSecureContext;

// Return "impossible", "denied", "off" or "on".
export function desktopState() {
  if (!isPossible) return "impossible";
  if (Notification.permission === "denied") return "denied";
  return Notification.permission === "granted" && localStorage.getItem(ON) === "1" ? "on" : "off";
}

export const isPrivate = () => localStorage.getItem(PRIVATE) === "1";

export function setPrivate(value) {
  localStorage.setItem(PRIVATE, value ? "1" : "0");
}

// Ask the browser for permission; only a click may call this.
export async function turnOn() {
  if (isPossible && (await Notification.requestPermission()) === "granted") {
    localStorage.setItem(ON, "1");
    await worker();
  }
  return desktopState();
}

export function turnOff() {
  localStorage.removeItem(ON);
  return desktopState();
}

async function worker() {
  return navigator.serviceWorker.register("/static/notifier.js");
}

// Show a notice outside the page while nobody looks at the page. The same tag from two tabs is one notice.
export async function showOutside(notice) {
  if (!document.hidden || desktopState() !== "on") return;
  const hidden = isPrivate();
  try {
    const registration = await worker();
    await registration.showNotification(hidden ? notice.name : notice.title, {
      body: hidden ? "" : notice.text,
      tag: `ctp-${notice.id}`,
      icon: "/static/icon.svg",
      lang: page.language,
      timestamp: notice.created_at,
      requireInteraction: notice.urgent,
      data: { address: notice.link && !hidden ? notice.link : "/notices" },
    });
  } catch (error) {
    console.warn("the browser did not show a notice", error);
  }
}
