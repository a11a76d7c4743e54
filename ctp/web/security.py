"""What every answer carries and every request must show: security headers, content policies, origin, cookies.

Invariants:
1. A request that changes something, and every websocket, names our own origin or is refused.
2. Over https the cookies are `__Host-`, Secure, HttpOnly, SameSite=Lax; plain http exists on loopback only.
3. `X-Forwarded-*` is believed only when it comes from loopback and `public_url` says that a proxy is there.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from ctp.config import WebSettings, is_loopback

_BASE_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:;"
    " connect-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
PAGE_POLICY = f"{_BASE_POLICY}; script-src 'self'"
# Voila's page holds inline scripts, and the widget library compiles schema validators and loads widgets from blobs.
DASHBOARD_POLICY = f"{_BASE_POLICY}; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Content-Security-Policy": PAGE_POLICY,
    "Cache-Control": "no-store",
}
_TRANSPORT = "max-age=31536000"
ACCESS, REFRESH = "access", "refresh"


class Transport:
    """How this gateway is reached from outside, and what follows for origins and cookies."""

    def __init__(self, settings: WebSettings) -> None:
        """Settle what does not change while the gateway runs."""
        self._public = settings.public_url.rstrip("/")
        self.is_https = settings.certificate_file is not None or urlsplit(self._public).scheme == "https"

    def origin(self, request: web.Request) -> str:
        """Return the only origin whose pages may act here; empty when this host name is not ours."""
        if self._public:
            return self._public
        # Without a public address we answer to loopback names, or to the host the certificate is for. A foreign name that
        # was made to point to loopback (DNS rebinding) is not ours.
        if not self.is_https and not is_loopback(urlsplit(f"//{request.host}").hostname or ""):
            return ""
        return f"{'https' if self.is_https else 'http'}://{request.host}"

    def is_ours(self, request: web.Request) -> bool:
        """Tell whether a request comes from a page of ours."""
        own = self.origin(request)
        return bool(own) and request.headers.get("Origin") == own

    def client_address(self, request: web.Request) -> str:
        """Return the address the request came from; the proxy's word counts when a proxy is configured."""
        remote = request.remote or ""
        forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        return forwarded[:64] if self._public and forwarded and is_loopback(remote) else remote

    def cookie(self, name: str) -> str:
        """Return the full name of a cookie of ours."""
        return f"__Host-ctp-{name}" if self.is_https else f"ctp-{name}"

    def set_cookie(self, response: web.StreamResponse, name: str, value: str, seconds: int) -> None:
        """Give the browser a cookie no script can read."""
        response.set_cookie(
            self.cookie(name), value, max_age=seconds, path="/", httponly=True, samesite="Lax", secure=self.is_https
        )

    def drop_cookies(self, response: web.StreamResponse) -> None:
        """Take our cookies back."""
        for name in (ACCESS, REFRESH):
            response.set_cookie(
                self.cookie(name), "", max_age=0, path="/", httponly=True, samesite="Lax", secure=self.is_https
            )

    def harden(self, response: web.StreamResponse) -> None:
        """Set the security headers; what a handler has set on purpose stays."""
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        if self.is_https:
            response.headers.setdefault("Strict-Transport-Security", _TRANSPORT)


def safe_next(address: str | None) -> str:
    """Return a path of this site to go to after login; anything else becomes the home page."""
    if not address or not address.startswith("/") or address.startswith(("//", "/\\")):
        return "/"
    parts = urlsplit(address)
    is_plain = not parts.scheme and not parts.netloc and all(" " <= letter <= "~" for letter in address)
    return address if is_plain and "\\" not in address else "/"
