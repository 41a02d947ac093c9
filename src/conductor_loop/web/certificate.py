"""When the certificate that is served ends."""

from __future__ import annotations

from conductor_loop.web.renewal import Renewed


class Certificate:
    """The first of a chain, which is the server's own (RFC 8446, 4.4.2); read when it changes."""

    def __init__(self, path: str) -> None:
        """Read it. Raises ValueError and OSError."""
        self._ends_at = Renewed(lambda: _ends_at(path), path)

    def ends_at(self) -> float:
        """Seconds since 1970."""
        return self._ends_at.get()


def _ends_at(path: str) -> float:
    from cryptography import x509

    with open(path, "rb") as file:
        first = x509.load_pem_x509_certificates(file.read())[0]
    return first.not_valid_after_utc.timestamp()
