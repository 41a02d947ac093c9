"""`conductor-loop keys`: which keys sign and have signed, a new one, and their public halves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from conductor_loop.adapters.keys.formats import jwk, public_pem
from conductor_loop.adapters.keys.public import PublicKeys, keys_of, read_chain
from conductor_loop.cli.checking import fault_fields, print_faults
from conductor_loop.cli.steering import steer
from conductor_loop.cli.terminal import print_error, print_json, print_line, print_table
from conductor_loop.core.control import RotateKey
from conductor_loop.core.custody import Custody
from conductor_loop.core.faults import ConductorError, Fault, UsageError
from conductor_loop.settings import Settings

NAME = "keys"
HELP = (
    "show: the keys that sign and have signed, newest first, and who vouches for each; exit 8\n"
    "when that chain of custody does not hold. rotate: sign with a new key from the next verdict\n"
    "on; the old one vouches for it, and its verdicts still verify. export: the public keys,\n"
    "newest first, as a JWK set or as PEM, for those who verify elsewhere."
)
EXAMPLES = """\
conductor-loop keys show
conductor-loop keys rotate
conductor-loop keys export --format jwks > trusted.jwks
conductor-loop keys export --format pem --kid KID > key.pem
"""
_NOT_GOOD = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do."""
    parser.add_argument("action", choices=("show", "rotate", "export"))
    parser.add_argument("--format", choices=("pem", "jwks"), default="jwks", help="for export")
    parser.add_argument("--kid", default="", help="export this key alone")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Show, rotate or export."""
    if args.action == "rotate":
        return _rotate(settings, as_json=args.json)
    chain = read_chain(settings.state_dir)
    if not chain:
        raise UsageError(
            f"there are no keys in {settings.state_dir}",
            hint="the daemon's first run makes one; name its folders by -handoff or -state-dir",
        )
    keys, faults = keys_of(chain)
    if args.action == "show":
        return _show(chain, faults, as_json=args.json)
    return _export(keys, faults, args.kid, as_pem=args.format == "pem" and not args.json)


def _rotate(settings: Settings, *, as_json: bool) -> int:
    reply = steer(settings, RotateKey())
    if as_json:
        refusals = fault_fields(reply.refusals)
        print_json({"kid": reply.kid, "daemon_pid": reply.pid or None, "refusals": refusals})
    elif reply.kid:
        begin = "the next verdict on" if reply.pid else "the daemon's next start on"
        print_line(f"signing with {reply.kid} from {begin}")
    for refusal in () if as_json else reply.refusals:
        print_error(refusal.message, refusal.hint)
    return 1 if reply.refusals else 0


def _show(chain: Sequence[Custody], faults: Sequence[Fault], *, as_json: bool) -> int:
    newest_first = chain[::-1]
    if as_json:
        print_json(
            {
                "ok": not faults,
                "faults": fault_fields(faults),
                "keys": [_fields(one, is_current=one is chain[-1]) for one in newest_first],
            }
        )
    else:
        print_table(
            ("KEY", "SINCE", "WHY", "BY", "VOUCHED FOR BY"),
            [(one.kid, one.since, one.reason, one.by, _vouched(one)) for one in newest_first],
        )
        print_faults(faults)
    return _NOT_GOOD if faults else 0


def _fields(record: Custody, *, is_current: bool) -> dict[str, object]:
    return {
        "kid": record.kid,
        "since": record.since,
        "reason": record.reason,
        "by": record.by,
        "signs_now": is_current,
        "vouched_for_by": record.voucher if record.is_vouched_for else None,
    }


def _vouched(record: Custody) -> str:
    if record.is_vouched_for:
        return record.voucher
    return "nobody" if record.previous else "-"


def _export(keys: PublicKeys, faults: Sequence[Fault], kid: str, *, as_pem: bool) -> int:
    for fault in faults:
        raise ConductorError(fault.message, hint=fault.hint, code=fault.code)
    chosen = [public for name, public in reversed(tuple(keys.by_kid.items())) if kid in ("", name)]
    if not chosen:
        raise UsageError(f"there is no key {kid}", hint="conductor-loop keys show lists them")
    if as_pem:
        sys.stdout.write(b"".join(map(public_pem, chosen)).decode("ascii"))
    else:
        print_json({"keys": [jwk(public) for public in chosen]})
    return 0
