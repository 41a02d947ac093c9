"""Users by name, as files and sockets know them by number."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1_024)
def user_name(uid: int) -> str:
    """The name of a user, or `uid:N` for one that has none here."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid:{uid}"
