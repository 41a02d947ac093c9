"""The reference of all settings, as Markdown: `python -m conductor_loop.settings.reference`."""

from __future__ import annotations

import sys

from conductor_loop.settings.declared.option import Option
from conductor_loop.settings.model import OPTIONS

_OPENING = """\
# Settings

This page is printed from the code by `python -m conductor_loop.settings.reference`; a test keeps
the two equal.

A setting can be given in three places. The strongest wins: a **flag**, then an **environment
variable**, then the **file** named by `-config`, then the default. Every value that is given is
checked, also one that a stronger place overrides, and all mistakes are reported together.

- **Flags** take one dash or two and a space or `=`: `-timeout 30s`, `--timeout=30s`. A boolean
  flag never takes the next word: `-once`, `-once=true`, `-once=false`. Of a flag given twice the
  last counts, except that `-handoff` given twice is an error.
- **Environment variables** that are empty count as unset. An unknown `CONDUCTOR_*` variable only
  causes a warning, because Kubernetes makes such variables for services of that name.
- **The file** is TOML. A key is the name of the flag without its dash. An unknown key is an error.
  Relative paths in it are relative to the folder of the file; those of flags and variables are
  relative to where the program was started.
- **Durations** are written as in Go: `500ms`, `30s`, `1m30s`, `168h`; `0` needs no unit.
- **Sizes** are bytes, or have `KiB`, `MiB` or `GiB` behind them.

Most settings are built into the parts of the daemon and hold until it is started again. Those
marked **live** take effect when the settings are read again, by `conductor-loop config reload` or
`SIGHUP`, for whatever comes next: an attempt that runs ends as it began. `config reload` names what
changed and what waits for the next start; a mistake changes nothing.

```toml
handoff = "/var/lib/conductor/handoff"
out = "/var/lib/conductor/out"
porch = "builtin"
workers = "auto"
timeout = "1m30s"
log-level = "warn"

[child]
env = ["HOME", "KUBECONFIG"]
```
"""


def reference() -> str:
    """Write the whole page."""
    groups = dict.fromkeys(option.group for option in OPTIONS.values())
    return "\n".join([_OPENING, *(_section(group) for group in groups)])


def _section(group: str) -> str:
    lines = [
        f"## {group.capitalize()}",
        "",
        "| flag | file | environment | value | default | meaning |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(option) for option in OPTIONS.values() if option.group == group]
    return "\n".join([*lines, ""])


def _row(option: Option) -> str:
    cells = [
        f"`-{option.name}`" if option.has_flag else "none",
        f"`{option.name}`" if option.in_file else "none",
        f"`{option.variable}`",
        f"`{option.reader.metavar}`".replace("|", "\\|"),
        option.shown_default or f"`{option.default}`",
        f"{option.purpose} (**live**)" if option.is_live else option.purpose,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(reference())
