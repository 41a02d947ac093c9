"""What the settings say about who the daemon is, and what it and porch may touch."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import conductor_loop
from conductor_loop.adapters.sandbox import landlock
from conductor_loop.adapters.sandbox.choice import SandboxSection, landlock_missing
from conductor_loop.adapters.sandbox.confinement import Rule
from conductor_loop.adapters.sandbox.privileges import Footing, daemon_uid, leave_root
from conductor_loop.adapters.sandbox.rules import Places, daemon_rules
from conductor_loop.adapters.users import user_name
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.sandbox import UNCONFINED, SandboxChoice
from conductor_loop.settings.model import OPTIONS, Settings
from conductor_loop.settings.tracing import are_traces_on

_log = logging.getLogger("conductor_loop")
_PACKAGE = Path(conductor_loop.__file__)
_NEVER_SEEN = (Path("/"), Path("/etc"))
_TRACE_FILES = (
    *(
        f"OTEL_EXPORTER_OTLP_{signal}{file}"
        for signal in ("", "TRACES_")
        for file in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
    ),
    "REQUESTS_CA_BUNDLE",
)


def sandbox_section(settings: Settings, state: Path) -> SandboxSection:
    """What is asked for porch."""
    return SandboxSection(
        choice=settings.sandbox_choice(),
        network=settings.sandbox_net,
        limits=settings.child_limits(),
        read=settings.child_read,
        write=settings.child_write,
        closed=[settings.handoff, state, *(path for path in _keys(settings) if path is not None)],
    )


def leave_root_behind(settings: Settings) -> bool:
    """Be somebody who is not root; whether that somebody has to be confined. Raises CannotStart."""
    departure = leave_root(settings.run_as or "", _footing(settings), bool(landlock.abi()))
    if departure is None:
        return False
    kept = ", keeping CAP_DAC_OVERRIDE for its own folders" if departure.overrides else ""
    _log.info("started as root: goes on as uid %d%s", departure.identity.uid, kept)
    return departure.overrides


def trusted_users(settings: Settings) -> frozenset[int]:
    """Root, and whom the daemon would be if this user started it: nobody else is trusted."""
    with contextlib.suppress(CannotStart):  # -run-as names nobody, which a start tells of
        return frozenset({0, daemon_uid(settings.run_as or "", settings.handoff)})
    return frozenset({0})


def step_down(settings: Settings, reads: Sequence[Path] = ()) -> str:
    """Let a command act as the daemon's user, so that what it writes stays the daemon's.

    Returns who typed it. `reads` are files that it was given. Unlike the daemon it is not
    confined: root typed it, and it looks at no intent. Raises CannotStart.
    """
    typed_by = user_name(os.geteuid())
    footing = Footing(
        handoff=settings.handoff,
        state=settings.state_dir,
        folders=(),
        readable=[Path(sys.executable), Path(sys.base_prefix), _PACKAGE, *reads],
        unaided=(),
    )
    leave_root(settings.run_as or "", footing, can_confine=True)
    return typed_by


def confine_daemon(settings: Settings, state: Path, *, must: bool) -> str:
    """Close to this process what it has no use for; return the layer reached, as verdicts name it.

    Holds for threads that are started later, so it comes before the first. Raises CannotStart when
    it `must` and cannot, or when Landlock is demanded of a daemon that starts no program.
    """
    choice = settings.sandbox_choice()
    if not must and choice in (SandboxChoice.NONE, SandboxChoice.BWRAP):
        return UNCONFINED
    # Its temporary files would else be in a folder that all share.
    os.environ["SQLITE_TMPDIR"] = str(state)
    layer = _confine(_rules(settings, state), "daemon", must=must)
    if layer == UNCONFINED and settings.is_builtin and choice is SandboxChoice.LANDLOCK:
        raise landlock_missing()
    return layer


def leave_root_to_distribute(settings: Settings, handoffs: Sequence[Path]) -> bool:
    """As `leave_root_behind`, for a distributor. Raises CannotStart."""
    footing = Footing(
        handoff=settings.handoff,
        state=settings.state_dir,
        folders=[*handoffs, *_log_folder(settings)],
        readable=[Path(sys.executable), Path(sys.base_prefix), _PACKAGE],
        unaided=(),
    )
    departure = leave_root(settings.run_as or "", footing, bool(landlock.abi()))
    return departure is not None and departure.overrides


def confine_distributor(settings: Settings, handoffs: Sequence[Path], *, must: bool) -> None:
    """As `confine_daemon`, to inbox, handoffs and log. Raises CannotStart."""
    if not must and settings.sandbox_choice() is SandboxChoice.NONE:
        return
    inbox = os.fsencode(settings.handoff.absolute())
    others = [os.fsencode(path) for path in (settings.state_dir.absolute(), *handoffs)]
    places = Places(out=inbox, work=(), closed=others, read=(), write=())
    own = [os.fsencode(path) for path in _log_folder(settings)]
    _confine(daemon_rules(places, None, own), "distributor", must=must)


def _log_folder(settings: Settings) -> list[Path]:
    return [] if settings.log_file is None else [settings.log_file.absolute().parent]


def _confine(rules: Iterable[Rule], who: str, *, must: bool) -> str:
    try:
        version = landlock.confine(rules, tcp=True, scoped=False)
    except OSError as error:
        if must:
            raise CannotStart(
                f"started as root, and cannot be confined: {error.strerror}",
                hint="start it as a user that owns its folders",
                code="never_root",
            ) from error
        _log.warning("the %s is not confined: %s", who, error.strerror)
        return UNCONFINED
    layer = f"landlock-{version}"
    _log.info("the %s is confined by %s", who, layer)
    return layer


def _rules(settings: Settings, state: Path) -> Iterator[tuple[str, bytes]]:
    porch = _porch(settings)
    places = Places(
        out=os.fsencode(settings.out.absolute()),
        work=(),
        closed=[os.fsencode(settings.handoff.absolute()), os.fsencode(state.absolute())],
        read=[os.fsencode(path) for path in settings.child_read],
        write=[os.fsencode(path) for path in settings.child_write],
    )
    own = [b"/dev/shm"]
    if settings.log_file is not None:
        own.append(os.fsencode(settings.log_file.absolute().parent))
    own += [os.fsencode(folder) for folder in _backup_folders(settings)]
    yield from daemon_rules(places, porch, own)
    for option in OPTIONS.values():
        value = getattr(settings, option.attribute)
        if option.reader.leads_to == "file" and value is not None:
            yield "see", os.fsencode(value.absolute())
    if are_traces_on(settings, os.environ):
        yield from (("see", os.fsencode(path)) for path in trace_certificates(os.environ))
    # Read again, when another file may have their name; never /etc as a whole.
    for path in (settings.config, settings.key_file):
        if path is not None and (folder := path.absolute().parent.resolve()) not in _NEVER_SEEN:
            yield "see", os.fsencode(folder)


def trace_certificates(environ: Mapping[str, str]) -> list[Path]:
    """Files that the exporter of traces is told of by the standard variables."""
    named = (environ.get(name) for name in _TRACE_FILES)
    return [Path(name).absolute() for name in named if name]


def _backup_folders(settings: Settings) -> list[Path]:
    """Where scheduled backups go, made now: later it is too late to be let in."""
    if not settings.backup_interval or settings.backup_dir is None:
        return []
    folder = settings.backup_dir.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(
            f"there can be no backups in {folder}: {error.strerror}",
            hint="give -backup-dir a folder that the daemon's user may write to",
            code="backup_dir_not_usable",
        ) from error
    return [folder]


def _keys(settings: Settings) -> tuple[Path | None, ...]:
    return settings.key_file, settings.kek_file


def _porch(settings: Settings) -> bytes | None:
    if settings.is_builtin:
        return None
    from conductor_loop.adapters.porch.program import resolve_porch

    return resolve_porch(settings.porch).path


def _footing(settings: Settings) -> Footing:
    program = _porch(settings)
    porch = [] if program is None else [Path(os.fsdecode(program))]
    unconfined = settings.sandbox_choice() in (SandboxChoice.NONE, SandboxChoice.BWRAP)
    log = [] if settings.log_file is None else [settings.log_file.parent]
    return Footing(
        handoff=settings.handoff,
        state=settings.state_dir,
        folders=[settings.out, *log],
        readable=[Path(sys.executable), Path(sys.base_prefix), _PACKAGE, *porch],
        unaided=[settings.out, *porch] if unconfined and porch else [],
    )
