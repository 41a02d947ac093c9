"""Where settings come from: flags > `CONDUCTOR_*` environment > TOML file > defaults.

Every given value is read, also one that a stronger source overrides, and every mistake is told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conductor_loop.adapters.handoff.own_folders import NO_STATE_IN, OWN_NAMES
from conductor_loop.core.faults import UsageError
from conductor_loop.settings.contradictions import confinement_contradictions
from conductor_loop.settings.declared.option import Option
from conductor_loop.settings.model import OPTIONS, Settings
from conductor_loop.settings.readers import Unreadable, toml_text
from conductor_loop.settings.spelling import closest, did_you_mean

_VARIABLES = {option.variable: option for option in OPTIONS.values()}
_PREFIX = "CONDUCTOR_"
# What a pod is told of each service (kubernetes.io, "Service", "Environment variables").
_OF_KUBERNETES = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_WITHOUT_PREFIX = [variable.removeprefix(_PREFIX) for variable in _VARIABLES]


class SettingsMistaken(UsageError):
    """One or more values cannot be used; nothing was started."""

    def __init__(self, mistakes: Sequence[UsageError]) -> None:
        codes = {mistake.code for mistake in mistakes}
        super().__init__(
            "\n".join(mistake.message for mistake in mistakes),
            hint=mistakes[0].hint,
            code=codes.pop() if len(codes) == 1 else None,
        )
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class _Given:
    """One value as text, and where it stands, in words."""

    option: Option
    value: str
    origin: str


def load_settings(
    flags: Sequence[tuple[str, str]],
    environ: Mapping[str, str],
    earlier: Sequence[UsageError] = (),
) -> Settings:
    """Read all sources; flags are (name without dash, value), the last of a name counts.

    Raises SettingsMistaken with `earlier` (what was wrong with the command line itself) and
    everything found here.
    """
    mistakes = [*earlier, *_twice_given(flags)]
    from_environment = list(_environment(environ))
    from_flags = [_Given(OPTIONS[name], value, f"-{name}") for name, value in flags]
    config = _config_path([*from_environment, *from_flags])
    from_file = _file(config, mistakes) if config else []

    # The weakest source first, so that a stronger one replaces its value.
    values: dict[str, Any] = {}
    for given in [*from_file, *from_environment, *from_flags]:
        try:
            values[given.option.attribute] = given.option.reader.read(given.value)
        except Unreadable as error:
            mistakes.append(UsageError(f"{given.origin}: {error}", hint=error.hint))

    settings = _composed(values, environ)
    mistakes.extend(_overlaps(settings))
    mistakes.extend(confinement_contradictions(settings))
    mistakes.extend(_exposures(settings))
    if mistakes:
        raise SettingsMistaken(mistakes)
    return settings


def _composed(values: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    settings = replace(Settings(), **values)
    if "state_dir" not in values:
        settings = replace(settings, state_dir=settings.handoff / ".conductor")
    return replace(settings, warnings=tuple(_warnings(settings, environ)))


def _twice_given(flags: Sequence[tuple[str, str]]) -> Iterator[UsageError]:
    if [name for name, _ in flags].count("handoff") > 1:
        yield UsageError(
            "-handoff is given twice, but one instance serves one folder",
            hint="run two instances, each with its own -handoff and -out",
        )


def _environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    # An empty variable counts as unset: that is what `CONDUCTOR_X=${X}` leaves of an unset X.
    for variable, option in _VARIABLES.items():
        if environ.get(variable):
            yield _Given(option, environ[variable], variable)


def _config_path(given: Sequence[_Given]) -> Path | None:
    paths = [one.value for one in given if one.option.name == "config" and one.value]
    return Path(paths[-1]) if paths else None


def _file(config: Path, mistakes: list[UsageError]) -> list[_Given]:
    import tomllib

    try:
        document = tomllib.loads(config.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        mistakes.append(
            UsageError(f"cannot read {config}: {error.strerror}", hint="give -config another file")
        )
    except UnicodeDecodeError as error:
        mistakes.append(UsageError(f"{config} is not TOML: {error}", hint="save it as UTF-8"))
    except tomllib.TOMLDecodeError as error:
        mistakes.append(UsageError(f"{config} is not TOML: {error}", hint=_toml_hint(str(error))))
    else:
        return list(_file_values(config, document, mistakes))
    return []


def _toml_hint(error: str) -> str:
    if error.startswith("Cannot"):
        return "each key and each [table] stands once"
    if error.startswith("Invalid value"):
        return 'strings stand in quotes: out = "./out"'
    return 'a line sets one thing: out = "./out"'


def _file_values(
    config: Path, document: Mapping[str, object], mistakes: list[UsageError]
) -> Iterator[_Given]:
    known = {option.name: option for option in OPTIONS.values() if option.in_file}
    for key, value in _flat(document):
        origin = f"{config}: {key}"
        if key not in known:
            hint = did_you_mean(key, known) or "a key is the name of a flag, without its dash"
            if key in OPTIONS:
                hint = "it cannot be set in the file, only by flag or environment"
            mistakes.append(UsageError(f"{origin}: unknown key", hint=hint))
            continue
        try:
            text = toml_text(value, known[key].reader)
        except Unreadable as error:
            mistakes.append(UsageError(f"{origin}: {error}", hint=error.hint))
        else:
            yield _Given(known[key], _beside(config, known[key], text), origin)


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _beside(config: Path, option: Option, text: str) -> str:
    """A relative path in a file is relative to that file, wherever the program is started."""
    is_path = option.reader.leads_to or (option.name == "porch" and "/" in text)
    return str(config.parent / text) if text and is_path else text


def _overlaps(settings: Settings) -> Iterator[UsageError]:
    handoff, out, state = map(
        os.path.realpath, (settings.handoff, settings.out, settings.state_dir)
    )
    if out == handoff:
        yield UsageError(
            f"-out and -handoff are the same folder, {settings.out}",
            hint="give -out a folder of its own",
        )
        return
    # A package is put at OUT/NAMESPACE/TARGET, in place of whatever stands there.
    for flag, folder in (("-handoff", handoff), ("-state-dir", state)):
        if folder != out and _is_inside(folder, out):
            yield UsageError(
                f"{flag} is inside -out, {settings.out}: a package could take its place",
                hint="give -out a folder of its own, beside the others",
            )
    for flag, folder, ours in (("-out", out, OWN_NAMES), ("-state-dir", state, NO_STATE_IN)):
        for name in sorted(map(os.fsdecode, ours)):
            if _is_inside(folder, os.path.join(handoff, name)):
                yield UsageError(
                    f"{flag} is inside {name}/ of the handoff folder, which belongs to the daemon",
                    hint=f"give {flag} a folder of its own",
                )
    for flag, folder in (("-out", out), ("-handoff", handoff)):
        if _is_inside(folder, state):
            yield UsageError(
                f"{flag} is inside the state folder, {settings.state_dir}",
                hint=f"give {flag} or -state-dir another folder",
            )


def _is_inside(folder: str, other: str) -> bool:
    """Whether a folder is another one or stands below it, both as real paths.

    A bind mount gives one folder two paths, so what is there is told by its inode.
    """
    if folder == other or folder.startswith(os.path.join(other, "")):
        return True
    above = (folder, *map(os.fspath, Path(folder).parents))
    return any(_is_same(each, other) for each in above)


def _is_same(folder: str, other: str) -> bool:
    try:
        return os.path.samefile(folder, other)
    except OSError:  # not made yet, or out of reach
        return False


def _exposures(settings: Settings) -> Iterator[UsageError]:
    """What would serve strangers, or could not serve at all."""
    if settings.http is None:
        return
    if (settings.http_cert is None) != (settings.http_key is None):
        yield UsageError(
            "-http-cert and -http-key belong together", hint="give both, or neither of them"
        )
    if settings.http_client_ca is not None and settings.http_cert is None:
        yield UsageError(
            "-http-client-ca needs TLS", hint="give -http-cert and -http-key, or leave it out"
        )
    if settings.http.is_loopback or settings.insecure:
        return
    knows_whom = settings.http_token_file is not None or settings.http_client_ca is not None
    if settings.http_cert is None or not knows_whom:
        yield UsageError(
            f"-http {settings.http} would serve other machines without TLS or without a token",
            hint="give -http-cert, -http-key and -http-token-file, or -insecure to have it so",
        )


def _warnings(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    for variable in sorted(name for name in environ if name.startswith(_PREFIX)):
        if variable not in _VARIABLES:
            # Their common beginning would make any two of them alike.
            name = variable.removeprefix(_PREFIX)
            guess = None if _OF_KUBERNETES.fullmatch(name) else closest(name, _WITHOUT_PREFIX)
            hint = f"; did you mean {_PREFIX}{guess}?" if guess else ""
            yield f"{variable} is not a setting and is ignored{hint}"
    for flag, mode in (("-file-mode", settings.file_mode), ("-dir-mode", settings.dir_mode)):
        if mode & 0o020:
            yield f"{flag} {mode:04o}: whoever is in the group may change what the daemon tells"
    for name in settings.child_env:
        if name not in environ:
            yield f"child.env names {name}, which is not set, so porch does not get it"
