"""What the three programs have in common: settings, logs, signals, exit codes.

Invariants:
1. A wrong configuration ends with exit code 78, which PM2 does not restart; any other failure with 1, which it does.
2. A program never outlives the process that started it.
3. What PM2 writes down of its output stays small, however often it crashes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from ctp.config import Settings, load_settings
from ctp.errors import ConfigError, CtpError
from ctp.lifetime import end_with_parent, until_stopped
from ctp.logs import bound_file, logger, start_logging
from ctp.strategy_files import load_strategies

EXIT_CONFIGURATION = 78  # EX_CONFIG of <sysexits.h>; named in ecosystem.config.js
MOST_OUTPUT_BYTES = 5_000_000  # of a file that PM2 writes


def run_program(name: str, serve: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Run one service until a signal stops it; never returns.

    Errors that are expected are one line, on stderr and in the log; anything else is logged with its traceback.
    """
    end_with_parent(os.getppid(), signal.SIGKILL)
    log = logger(f"services.{name}")
    try:
        settings = load_settings()
        logs = settings.logs
        start_logging(
            name,
            settings.log_folder,
            level=logs.level,
            console=logs.console,
            file_bytes=logs.file_bytes,
            files_kept=logs.files_kept,
        )
        for kind in ("out", "error"):
            bound_file(settings.log_folder / f"{name}.{kind}.log", MOST_OUTPUT_BYTES)
        log.info("service_started", pid=os.getpid())
        for one in load_strategies(settings.home):
            if one.problem:
                log.error("strategy_not_loaded", file=str(one.file), problem=one.problem)
            else:
                log.info("strategy_loaded", file=str(one.file), strategies=list(one.strategies))
        asyncio.run(until_stopped(serve(settings)))
        log.info("service_stopped")
    except CtpError as error:
        log.error("service_failed", error=str(error))
        print(f"crypto-trader-{name}: {error}", file=sys.stderr)
        sys.exit(EXIT_CONFIGURATION if isinstance(error, ConfigError) else 1)
    except Exception:
        log.exception("service_crashed")
        raise
    sys.exit(0)
