"""A real Prometheus that scrapes one daemon, and answers queries."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.system.daemon import wait_until


class Prometheus:
    """One that runs."""

    def __init__(self, port: int) -> None:
        self._port = port

    def api(self, path: str, **parameters: str) -> Any:
        """What `/api/v1/PATH` answers; None while it is not up."""
        query = urllib.parse.urlencode(parameters)
        with contextlib.suppress(OSError):
            address = f"http://127.0.0.1:{self._port}/api/v1/{path}?{query}"
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.loads(answer.read())["data"]
        return None

    def result(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query. Raises AssertionError for one that is wrong."""
        answered = self.api("query", query=expression)
        assert answered is not None, f"refused: {expression}"
        return list(answered["result"])

    def wait_for(self, expression: str) -> None:
        """Wait until a query has a sample."""
        wait_until(
            lambda: bool((self.api("query", query=expression) or {}).get("result")),
            f"{expression} has a sample",
        )


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def scraping(folder: Path, config: dict[str, Any], target: int) -> Iterator[Prometheus]:
    """Run Prometheus on a configuration, its one target replaced by a port of this machine."""
    (scrape,) = config["scrape_configs"]
    scrape["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "1s"}
    path, port = folder / "prometheus.yml", free_port()
    path.write_text(yaml.safe_dump(config))
    with (folder / "prometheus.log").open("wb") as log:
        running = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield Prometheus(port)
    finally:
        running.terminate()
        running.wait()
