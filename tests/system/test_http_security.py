"""What HTTP does about strangers: tokens, TLS, rates, forged hosts, slow clients, confinement."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conductor_loop.adapters.sandbox import landlock
from conductor_loop.operations import http as operations_http
from conductor_loop.settings import load_settings
from tests.certificates import Authority
from tests.system.daemon import Site, intent, wait_until
from tests.system.test_http import Server, http_process, port_of, serving

TOKEN, NEXT_TOKEN = "a" * 32, "b" * 32


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One without a token, that several tests only ask."""
    with serving(Site(tmp_path_factory.mktemp("open"))) as server:
        yield server


def secret(file: Path, text: str) -> Path:
    file.write_text(text + "\n")
    file.chmod(0o600)
    return file


def swap(link: Path, folder: Path) -> None:
    """What the kubelet does to renew a mounted Secret."""
    fresh = link.with_name("..data_tmp")
    fresh.symlink_to(folder.name)
    fresh.replace(link)


def raw(port: int, request: bytes) -> bytes:
    """Send bytes and read the answer to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall(request)
        return b"".join(iter(lambda: link.recv(65536), b""))


def test_row_41_without_the_token_nobody_gets_in_but_the_probes(site: Site) -> None:
    file = secret(site.top / "token", TOKEN)
    with serving(site, "-http-token-file", str(file)) as server:
        for path in ("/", "/metrics", "/api/intents", "/page/page.js"):
            refused = server.get(path)
            assert refused.status == 401
            assert refused.headers["www-authenticate"].startswith("Basic ")
        assert server.get("/", Authorization=f"Bearer {NEXT_TOKEN}").status == 401
        assert server.get("/", Authorization="Basic ***").status == 401
        assert server.get("/", Authorization=f"Bearer {TOKEN}").status == 200
        password = base64.b64encode(f"ann:{TOKEN}".encode()).decode()
        assert server.get("/", Authorization=f"Basic {password}").status == 200


def test_a_token_is_read_anew_when_a_mounted_secret_is_swapped(site: Site) -> None:
    mount = site.top / "mount"
    for version, token in (("v1", TOKEN), ("v2", NEXT_TOKEN)):
        (mount / version).mkdir(parents=True)
        secret(mount / version / "token", token)
    (mount / "..data").symlink_to("v1")
    (mount / "token").symlink_to("..data/token")
    with serving(site, "-http-token-file", str(mount / "token")) as server:
        assert server.get("/", Authorization=f"Bearer {TOKEN}").status == 200
        swap(mount / "..data", mount / "v2")
        assert server.get("/", Authorization=f"Bearer {NEXT_TOKEN}").status == 200
        assert server.get("/", Authorization=f"Bearer {TOKEN}").status == 401


@pytest.mark.parametrize(("text", "mode"), [(TOKEN, 0o644), ("short", 0o600), ("", 0o600)])
def test_a_token_that_anybody_may_know_stops_the_start(site: Site, text: str, mode: int) -> None:
    file = secret(site.top / "token", text)
    file.chmod(mode)
    done = site.command("-porch", "builtin", "-http", ":0", "-http-token-file", str(file))
    assert done.returncode == 1
    assert "cannot be used" in done.stderr


def peer(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that is shown, once an answer has come: only then both sides agreed."""
    link = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    with contextlib.closing(link):
        link.connect()
        assert isinstance(link.sock, ssl.SSLSocket)
        shown = link.sock.getpeercert(binary_form=True)
        link.request("GET", "/healthz")
        assert link.getresponse().status == 200
        assert shown is not None
        return shown


def test_row_41_only_tls_1_3_is_spoken_and_a_renewed_certificate_is_used(site: Site) -> None:
    authority = Authority()
    first = authority.issue(site.top)
    cert, key = site.top / "cert.pem", site.top / "key.pem"
    context = ssl.create_default_context(cafile=str(authority.write(site.top / "ca.pem")))
    old = ssl.create_default_context(cafile=str(site.top / "ca.pem"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    flags = ("-http", "127.0.0.1:0", "-http-cert", str(cert), "-http-key", str(key))
    with site.daemon(*flags) as daemon:
        port = port_of(daemon, "page")
        from cryptography.hazmat.primitives.serialization import Encoding

        assert peer(port, context) == first.public_bytes(Encoding.DER)
        with pytest.raises(ssl.SSLError):
            peer(port, old)
        second = authority.issue(site.top)
        wait_until(
            lambda: peer(port, context) == second.public_bytes(Encoding.DER), "the new one is shown"
        )
        cert.write_text("broken")
        assert peer(port, context) == second.public_bytes(Encoding.DER)


def test_with_a_client_ca_only_those_with_a_certificate_get_in(site: Site) -> None:
    authority = Authority()
    authority.issue(site.top)
    ca = authority.write(site.top / "ca.pem")
    cert, key = site.top / "cert.pem", site.top / "key.pem"
    flags = ("-http-cert", str(cert), "-http-key", str(key), "-http-client-ca", str(ca))
    with site.daemon("-http", "127.0.0.1:0", *flags) as daemon:
        port = port_of(daemon, "page")
        stranger = ssl.create_default_context(cafile=str(ca))
        friend = ssl.create_default_context(cafile=str(ca))
        friend.load_cert_chain(cert, key)

        assert peer(port, friend)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            peer(port, stranger)


def test_row_41_a_host_that_is_not_ours_is_misdirected(open_server: Server) -> None:
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        assert open_server.get("/", Host=host).status == 421, host
    for host in ("localhost", "127.0.0.1:1", "[::1]:8443", "LOCALHOST."):
        assert open_server.get("/", Host=host).status == 200, host
    twice = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert raw(open_server.port, twice).split()[1] in (b"400", b"421")


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/page/../probes.py", "/page/%2e%2e/probes.py", "/page//etc/passwd"],
)
def test_row_41_no_path_leads_out_of_the_page(open_server: Server, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    assert raw(open_server.port, head).startswith(b"HTTP/1.1 404")


def test_row_41_a_client_that_does_not_finish_asking_is_let_go(open_server: Server) -> None:
    with socket.create_connection(("127.0.0.1", open_server.port), timeout=30) as link:
        link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        with contextlib.suppress(ConnectionResetError):
            assert link.recv(1) == b""


def test_nothing_can_be_changed(open_server: Server) -> None:
    for method in ("POST", "PUT", "DELETE"):
        head = f"{method} /api/intents HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert raw(open_server.port, head.encode()).startswith(b"HTTP/1.1 405")


def test_every_answer_tells_browsers_to_be_careful(open_server: Server) -> None:
    for path in ("/", "/healthz", "/nothing"):
        headers = open_server.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_a_client_that_asks_too_often_waits_and_probes_do_not_count(site: Site) -> None:
    with serving(site, "-http-rate", "5/m") as server:
        for _ in range(20):
            assert server.get("/healthz").status == 200
        statuses = [server.get("/metrics").status for _ in range(6)]
        assert statuses == [200] * 5 + [429]
        assert int(server.get("/metrics").headers["retry-after"]) > 0


def test_in_kubernetes_mode_probes_and_metrics_are_open_and_name_no_intent(site: Site) -> None:
    ports = ("-kubernetes", "-probe-port", "0", "-metrics-port", "0")
    with site.daemon(*ports) as daemon:
        probes = Server(daemon, port_of(daemon, "probes"))
        metrics = Server(daemon, port_of(daemon, "metrics"))
        site.hand_over("intent-secretname.json", intent("secrettarget"))
        site.wait_for_final(1)
        wait_until(lambda: metrics.metric("conductor_files_processed_total") == 1, "it is counted")
        for server in (probes, metrics):
            for path in ("/healthz", "/readyz", "/livez"):
                answer = server.get(path, Host="conductor-loop.oran-sim.svc")
                assert answer.status == 200
                assert b"secret" not in answer.body
            assert server.get("/").status == 404
            assert server.get("/api/intents").status == 404
        assert probes.get("/metrics").status == 404
        assert b"secret" not in metrics.get("/metrics").body


ATTACKS = """
import os, socket, sys
sys.path.append(sys.argv[1])
from conductor_loop.adapters.sandbox import confinement
from pathlib import Path
state = Path(sys.argv[2])
confinement.obey(sys.argv[3:])
def attempt(what, deed):
    try:
        deed()
    except OSError:
        return
    print(what)
attempt("wrote into the state", lambda: (state / "new").write_text("x"))
attempt("changed the journal", lambda: os.open(state / "journal.db", os.O_RDWR))
attempt("cut the journal", lambda: os.truncate(state / "journal.db", 0))
attempt("read the signing key", lambda: [f.read_bytes() for f in (state / "keys").iterdir()])
attempt("read the shadow file", lambda: Path("/etc/shadow").read_bytes())
attempt("wrote to /tmp", lambda: Path("/tmp/conductor-attack").write_text("x"))
attempt("connected", lambda: socket.create_connection(("127.0.0.1", int(os.environ["PORT"])), 5))
attempt("stopped its parent", lambda: os.kill(os.getppid(), 0))
(state / "journal.db").read_bytes()
print("read the journal")
"""


@pytest.mark.skipif(landlock.abi() < 6, reason="needs Landlock 6")
def test_whoever_breaks_in_can_read_the_journal_and_do_nothing_else(site: Site) -> None:
    with serving(site) as server:
        flags = [("handoff", str(site.handoff)), ("out", str(site.out)), ("http", "127.0.0.1:0")]
        words = operations_http.sealed_off(load_settings(flags, {}))
        package = str(Path(operations_http.__file__).parents[2])
        attacked = subprocess.run(
            [sys.executable, "-c", ATTACKS, package, str(site.state), *words],
            env={**os.environ, "PORT": str(server.port)},
            capture_output=True,
            text=True,
        )
        status = Path(f"/proc/{http_process(server.daemon)}/status").read_text()
    assert (attacked.stdout, attacked.stderr) == ("read the journal\n", "")
    assert "NoNewPrivs:\t1" in status
