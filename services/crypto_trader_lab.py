"""crypto-trader-lab: JupyterLab on the notebooks, on this machine alone; optional (`./run lab`, or `CTP_LAB=1 ./run up`).

    python -m services.crypto_trader_lab [--check | --apart] [arguments of jupyter-lab]

--check: say whether it may run here, and run nothing. --apart: we are another user of the machine already.
"""

from __future__ import annotations

import os
import signal
import sys

from ctp.config import load_settings
from ctp.errors import ConfigError, CtpError
from ctp.lab.start import become_lab, may_be_ourselves, other_user, prove_apart
from ctp.lifetime import end_with_parent
from services.program import EXIT_CONFIGURATION


def main(arguments: list[str]) -> None:
    """Become JupyterLab, or say in one sentence why not."""
    end_with_parent(os.getppid(), signal.SIGKILL)
    try:
        settings = load_settings()
        if arguments[:1] != ["--check"]:
            become_lab(settings, [each for each in arguments if each != "--apart"], apart="--apart" in arguments)
        if not may_be_ourselves(settings):
            prove_apart(settings, other_user(settings))
    except CtpError as error:
        print(f"crypto-trader-lab: {error}", file=sys.stderr)
        sys.exit(EXIT_CONFIGURATION if isinstance(error, ConfigError) else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
