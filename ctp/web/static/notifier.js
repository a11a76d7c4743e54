// The service worker behind notices of the browser: it opens the page a notice is about, and does nothing else.

addEventListener("notificationclick", (event) => {
  event.notification.close();
  const address = event.notification.data?.address ?? "/notices";
  event.waitUntil(clients.openWindow(address));
});
