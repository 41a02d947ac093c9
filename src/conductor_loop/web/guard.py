"""Who may ask what: the host asked for, the token, the rate; and headers on every answer."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from conductor_loop.core.rates import Buckets, Rate
from conductor_loop.core.vitals import Serving
from conductor_loop.web.probes import PATHS as PROBES
from conductor_loop.web.renewal import Tokens

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
_STRICT_TRANSPORT = "max-age=31536000"
_NAMES = ("localhost",)


class Guard:
    """ASGI around an application that tells of intents."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        """Raises CannotStart when the token cannot be read."""
        self._app = app
        self._hosts = frozenset((*_NAMES, *serving.hosts))
        self._tokens = Tokens(serving.token_file) if serving.token_file else None
        rate = Rate(serving.rate_count, serving.rate_seconds) if serving.rate_count else None
        self._buckets = Buckets[str](rate, serving.rate_count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._is_known(headers.getlist("host")):
            return PlainTextResponse("this is not the host that was asked for\n", 421)
        if scope["path"] in PROBES:
            return None
        client = scope["client"][0] if scope.get("client") else ""
        now = time.monotonic()
        if not self._buckets.take(client, now):
            wait = str(int(self._buckets.ready_at(client) - now) + 1)
            return PlainTextResponse("too many requests\n", 429, {"retry-after": wait})
        if self._tokens is not None and not self._is_let_in(headers, self._tokens):
            # Basic, so that a browser asks for it: any user name, the token as the password.
            ask = {"www-authenticate": 'Basic realm="Conductor Loop", charset="UTF-8"'}
            return PlainTextResponse("a token is needed\n", 401, ask)
        return None

    def _is_known(self, hosts: list[str]) -> bool:
        """Whether it was asked for by a name of ours, or an address, which no DNS can forge."""
        if len(hosts) != 1:
            return False
        host = hosts[0].rpartition(":")[0] if _has_port(hosts[0]) else hosts[0]
        host = host.lower().rstrip(".")
        if host in self._hosts or host.strip("[]") in self._hosts:
            return True
        try:
            ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    def _is_let_in(self, headers: Headers, tokens: Tokens) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return tokens.accepts(given.strip().encode("latin-1"))
        if kind.lower() == "basic":
            try:
                decoded = base64.b64decode(given, validate=True)
            except binascii.Error:
                return False
            return tokens.accepts(decoded.partition(b":")[2])
        return False


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdecimal() and not host.endswith("]")


class SafeHeaders:
    """ASGI around everything: what browsers are told on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, text in _HEADERS.items():
                    headers.setdefault(name, text)
                if scope["scheme"] == "https":
                    headers["strict-transport-security"] = _STRICT_TRANSPORT
            await send(message)

        await self._app(scope, receive, send_safely)
