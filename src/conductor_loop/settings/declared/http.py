"""Probes, metrics and the live page."""

# ruff: noqa: RUF009  setting() is dataclasses.field() with what is known of the setting

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conductor_loop.core.addresses import Address
from conductor_loop.core.rates import Rate
from conductor_loop.settings import readers
from conductor_loop.settings.declared.option import OFF, setting

MOST_DISK = 1 << 50
_HTTP = "http"


@dataclass(frozen=True, kw_only=True)
class Http:
    """Probes, metrics and the live page."""

    http: Address | None = setting(
        readers.unless(OFF, readers.address()),
        "off",
        _HTTP,
        "serve probes, metrics and the live page here; elsewhere than on this machine only with "
        "TLS and a token or client certificates",
    )
    http_token_file: Path | None = setting(
        readers.unless(("",), readers.file()),
        "",
        _HTTP,
        "file with the token that -http asks for, one a line; read anew when it changes",
        shown_default="none",
    )
    http_cert: Path | None = setting(
        readers.unless(("",), readers.file()),
        "",
        _HTTP,
        "certificate chain (PEM) of -http, which then speaks TLS 1.3; read anew when it changes",
        shown_default="none",
    )
    http_key: Path | None = setting(
        readers.unless(("",), readers.file()),
        "",
        _HTTP,
        "private key (PEM) of that certificate",
        shown_default="none",
    )
    http_client_ca: Path | None = setting(
        readers.unless(("",), readers.file()),
        "",
        _HTTP,
        "certificates (PEM) that must have signed a client's own",
        shown_default="none",
    )
    http_hosts: tuple[str, ...] = setting(
        readers.hosts(),
        "",
        _HTTP,
        "names under which -http may be asked, besides addresses and localhost",
        shown_default="the host of -http",
    )
    http_rate: Rate | None = setting(
        readers.unless(OFF, readers.rate()),
        "100/m",
        _HTTP,
        "requests of one client in a time; probes do not count",
    )
    insecure: bool = setting(
        readers.switch(),
        "false",
        _HTTP,
        "let -http serve other machines without TLS or without asking who they are",
    )
    kubernetes: bool = setting(
        readers.switch(),
        "false",
        _HTTP,
        "serve the probes, and on another port metrics too, to everybody; they name no intent",
    )
    probe_port: int = setting(
        readers.number(0, 65535), "8080", _HTTP, "port of the probes with -kubernetes"
    )
    metrics_port: int = setting(
        readers.number(0, 65535), "9090", _HTTP, "port of metrics and probes with -kubernetes"
    )
    disk_floor: int = setting(
        readers.size(0, MOST_DISK),
        "64MiB",
        _HTTP,
        "not ready when a disk has less room than this; 0 = never",
        is_live=True,
    )
