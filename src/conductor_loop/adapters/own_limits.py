"""What the daemon may use up itself."""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger("conductor_loop")
# A batch of views holds 256 files open; the rest are pipes and sockets.
ENOUGH_DESCRIPTORS = 1_024
MOST_DESCRIPTORS = 16_384
"""More would only let a leak grow for longer."""


def raise_descriptor_limit() -> None:
    """Use what the hard limit grants (setrlimit(2)), up to MOST_DESCRIPTORS; warn when it is low.

    Children do not inherit it: they have limits of their own.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        wanted = soft
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted != resource.RLIM_INFINITY and wanted < ENOUGH_DESCRIPTORS:
        _log.warning(
            "only %d files may be open at a time, %d are wanted: raise the hard limit"
            " (ulimit -Hn, LimitNOFILE=)",
            wanted,
            ENOUGH_DESCRIPTORS,
        )
