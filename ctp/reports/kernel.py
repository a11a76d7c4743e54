"""The kernel of a report's notebook: an ordinary IPython kernel that cannot outlive the process that started it."""

from __future__ import annotations

import signal
import sys

from ctp.lifetime import end_with_parent


def main() -> None:
    """Tie this process to its parent and become a kernel; jupyter gives the connection file as an argument."""
    end_with_parent(death_signal=signal.SIGKILL)
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance(argv=sys.argv[1:])


if __name__ == "__main__":
    main()
