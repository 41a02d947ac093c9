"""The metric that tells when the certificate of -http ends, read anew when that is renewed."""

from __future__ import annotations

import os
import re
import ssl
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.system.daemon import Site, wait_until
from tests.system.test_http import port_of

NAME = "conductor_certificate_expires_timestamp_seconds"


def certify(folder: Path, ends: datetime) -> None:
    """Put a certificate of its own making, and its key, in place at once."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=365))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    written = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.new").write_bytes(certificate.public_bytes(pem) + written)
    (folder / "both.new").chmod(0o600)
    os.replace(folder / "both.new", folder / "both.pem")


def told(port: int) -> float | None:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    address = f"https://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(address, context=trusting, timeout=20) as answer:
        found = re.search(rf"^{NAME} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(found[1]) if found else None


def test_the_end_of_the_certificate_is_told_also_of_the_next_one(tmp_path: Path) -> None:
    site = Site(tmp_path)
    folder = tmp_path / "tls"
    folder.mkdir()
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    certify(folder, soon)
    both = str(folder / "both.pem")
    flags = ("-http", "127.0.0.1:0", "-http-cert", both, "-http-key", both, "-http-rate", "0")
    with site.daemon(*flags) as daemon:
        port = port_of(daemon, "page")
        assert told(port) == soon.timestamp()
        later = soon + timedelta(days=90)
        certify(folder, later)
        wait_until(lambda: told(port) == later.timestamp(), "the renewed one is told")
