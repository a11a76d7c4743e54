"""How research stays behind live money on the same processors: priority, order of death, bound on memory.

Where the kernel groups processes by session ("autogroup"), a priority counts only within a session, and each notebook's kernel
is a session of its own: the group's priority is set as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path

NICE, OOM_SCORE = 10, 500
_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS of <linux/prctl.h>


def step_back(memory_mb: int) -> None:
    """Put ourselves and everything we start behind whatever moves money."""
    os.umask(0o077)
    os.nice(NICE)
    lower_group(os.getpid())
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), "ascii")
    most = memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def lower_group(process: int) -> None:
    """Lower the priority of a process's group, when it is alone there: the leader of its session."""
    if os.getsid(process) != process:
        return
    with contextlib.suppress(OSError):
        Path(f"/proc/{process}/autogroup").write_text(str(NICE), "ascii")
