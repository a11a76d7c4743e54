"""Kill a piece of work at its n-th checkpoint, in a process of its own, by SIGKILL."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator

Work = Callable[[Callable[[str], None]], object]


def kill_at_every_point(work: Work, *, reset: Callable[[], None], most: int = 200) -> Iterator[str]:
    """Yield the name of each checkpoint after a run that was killed there; ends after a run that got through.

    work: takes the checkpoint function. reset: called before each run. Fails when the work fails by itself.
    """
    for number in range(1, most):
        reset()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _run(work, number, writer)
        os.close(writer)
        with os.fdopen(reader) as told:
            name = told.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            yield name
            continue
        assert os.WEXITSTATUS(status) == 0, f"the work failed by itself before point {number}"
        assert number > 1, "the work has no checkpoint"
        return
    raise AssertionError(f"more than {most} checkpoints")


def _run(work: Work, number: int, writer: int) -> None:
    """Work in the child until the checkpoint comes; never returns."""
    seen = 0

    def checkpoint(name: str) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.write(writer, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        work(checkpoint)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
