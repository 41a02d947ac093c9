#!/usr/bin/env python3
"""Judge what pip-audit found: 1 for a vulnerability or a gap, 0 with a notice when offline."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(report: Path, log: Path) -> int:
    """Print what is known of each package, and say so when nothing could be asked."""
    try:
        packages = json.loads(report.read_bytes())["dependencies"]
    except (ValueError, KeyError):
        packages = []
    asked = [package for package in packages if "vulns" in package]
    if not asked:
        print("notice: the vulnerability service was not reached, so nothing is known; the end of")
        print('its log, in which "no known vulnerabilities" means that it could ask about none:')
        print(*log.read_text(errors="replace").strip().splitlines()[-2:], sep="\n")
        return 0
    found = [(package, vuln) for package in asked for vuln in package["vulns"]]
    for package, vuln in found:
        fixed = ", ".join(vuln["fix_versions"]) or "no release yet"
        print(f"{package['name']} {package['version']}: {vuln['id']}, mended in {fixed}")
    unknown = [package["name"] for package in packages if "vulns" not in package]
    if unknown:
        print(f"error: not known to the service: {', '.join(unknown)}")
    print(f"{len(asked)} packages asked about, {len(found)} known vulnerabilities")
    return int(bool(found or unknown))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
