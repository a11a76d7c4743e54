"""Run one of our own modules in a child process that can hurt nobody: little priority, little memory, little time.

Invariants:
1. The child gets an environment made here, never ours: no setting, no address of the database, no secret.
2. It ends with us, with its time, or when its memory is used up; so does every process it started.
3. It is the first the kernel kills when memory runs out, and never competes with the bot for the processor.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ctp.config import PROJECT
from ctp.lifetime import Tie
from ctp.logs import redact

NICE = 10
OOM_SCORE = "500"
_TOLD = 20_000  # characters of what the child wrote before it failed


class Failure(NamedTuple):
    """Why a child did not do its work: in a few words, and what it wrote, without secrets, for operators' eyes."""

    reason: str
    report: str


def run_module(
    module: str,
    arguments: Sequence[str],
    *,
    scratch: Path,
    time_limit_s: float,
    memory_mb: int,
    environment: Mapping[str, str] | None = None,
) -> Failure | None:
    """Run `python -m module arguments` and wait for it; returns why it failed, or None.

    scratch: the folder it works in, its home and where it leaves what it must. environment: added to the few variables
    every child gets.
    """
    told = scratch / "child.log"
    with told.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 - our own module, named in this room
            [sys.executable, "-P", "-m", module, *arguments],
            cwd=scratch,
            env=_environment(scratch) | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_Confined(memory_mb),
        )
        try:
            code = child.wait(time_limit_s)
        except subprocess.TimeoutExpired:
            return _failure(f"not done within {time_limit_s:g} s", told)
        finally:
            _end(child)
    if code == 0:
        return None
    return _failure(f"ended by signal {-code}" if code < 0 else f"exit code {code}", told)


def _failure(reason: str, told: Path) -> Failure:
    """Return a failure with the end of what the child wrote."""
    return Failure(reason, redact(told.read_text("utf-8", "replace")[-_TOLD:]))


def _environment(scratch: Path) -> dict[str, str]:
    """Return all that a child is told."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "CTP_HOME": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        # One thread: the machine has better things to do, and each thread reserves memory.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


class _Confined:
    """A `preexec_fn`: tied to its parent, nice, first to die, bounded in memory."""

    def __init__(self, memory_mb: int) -> None:
        """Prepare what must be known before the fork."""
        self._tie, self._bytes = Tie(), memory_mb * 1024 * 1024

    def __call__(self) -> None:
        """Run in the child between fork and exec."""
        self._tie()
        os.nice(NICE)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
        resource.setrlimit(resource.RLIMIT_AS, (self._bytes, self._bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the child; a kernel it started is tied to it and follows."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
