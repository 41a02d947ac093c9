"""What a daemon keeps out of its memory, and where it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.daemon import Site

TELLS = "import hashlib; print(type(hashlib.sha256(b'')).__module__ == '_hashlib')"


def has_openssl(before: str, fips: Path) -> bool:
    """Whether a fresh Python takes its digests from it after it was told to do without."""
    program = (
        f"{before}\nfrom conductor_loop.cli.footprint import do_without_openssl\n"
        f"do_without_openssl({str(fips)!r})\n{TELLS}"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert told.stderr == ""
    return {"True": True, "False": False}[told.stdout.strip()]


@pytest.fixture
def no_fips(tmp_path: Path) -> Path:
    return tmp_path / "a-kernel-without-it"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into /proc")
def test_a_daemon_holds_no_openssl_but_the_one_it_signs_with(tmp_path: Path) -> None:
    with Site(tmp_path).daemon() as daemon:
        mapped = Path(f"/proc/{daemon.pid}/maps").read_text()
    assert "_rust.abi3.so" in mapped
    assert not [line for line in mapped.splitlines() if "libcrypto" in line or "libssl" in line]


def test_digests_are_pythons_own(no_fips: Path) -> None:
    assert not has_openssl("", no_fips)


@pytest.mark.parametrize("missing", ["_md5", "_sha3"])
def test_a_python_that_was_built_without_a_digest_of_its_own_keeps_openssl(
    missing: str, no_fips: Path
) -> None:
    assert has_openssl(f"import sys; sys.modules[{missing!r}] = None", no_fips)


@pytest.mark.parametrize(("fips", "expected"), [("0\n", False), ("1\n", True)])
def test_where_the_kernel_keeps_to_fips_the_systems_library_hashes(
    tmp_path: Path, fips: str, *, expected: bool
) -> None:
    (tmp_path / "fips_enabled").write_text(fips)
    assert has_openssl("", tmp_path / "fips_enabled") is expected
