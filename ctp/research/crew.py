"""Threads that work off jobs which make further jobs: walks before builds, so that few tables are in memory at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from threading import Condition, Thread

type Step = Callable[[], None]
type Build = Callable[[], Sequence[Step]]


def work_off(builds: Iterator[Build], workers: int) -> None:
    """Run every build and every step that it returns, on this thread and `workers - 1` more.

    The first error, an interrupt too, ends the work after the steps under way and is raised here.
    """
    crew = _Crew(builds)
    threads = [Thread(target=crew.work, daemon=True) for _ in range(workers - 1)]
    for thread in threads:
        thread.start()
    try:
        crew.work()
    except BaseException as error:
        crew.stop(error)
    for thread in threads:
        thread.join()
    if crew.error is not None:
        raise crew.error


class _Crew:
    """The work that is left, and who is at it."""

    def __init__(self, builds: Iterator[Build]) -> None:
        """Begin with all builds left."""
        self.builds = builds
        self.steps: deque[Step] = deque()
        self.building = 0
        self.error: BaseException | None = None
        self.changed = Condition()

    def stop(self, error: BaseException) -> None:
        """Let nobody begin anything more."""
        with self.changed:
            self.error = self.error or error
            self.changed.notify_all()

    def work(self) -> None:
        """Work until nothing is left."""
        while True:
            with self.changed:
                while not self.steps and self.error is None:
                    build = next(self.builds, None)
                    if build is not None:
                        self.building += 1
                        break
                    if self.building == 0:
                        return
                    self.changed.wait()
                if self.error is not None:
                    return
                step = self.steps.popleft() if self.steps else None
            try:
                if step is not None:
                    step()
                elif build is not None:
                    self._build(build)
            except BaseException as error:
                self.stop(error)
                return

    def _build(self, build: Build) -> None:
        """Run a build and leave its steps to everybody."""
        steps: Sequence[Step] = ()
        try:
            steps = build()
        finally:
            with self.changed:
                self.building -= 1
                self.steps.extend(steps)
                self.changed.notify_all()
