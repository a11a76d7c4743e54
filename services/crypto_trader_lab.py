"""crypto-trader-lab: JupyterLab on the notebooks, on this machine alone; optional (`CTP_LAB=1 ./run up`).

The token that opens it lies in CTP_HOME/keys/lab-token: it is in no log and on no command line.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from pathlib import Path

from ctp.config import PROJECT, load_settings, read_secret
from ctp.lifetime import end_with_parent


def make_token(folder: Path) -> Path:
    """Return the file that holds the token, made when there is none. Raises ConfigError when others can read it."""
    file = folder / "lab-token"
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
            made.write(secrets.token_urlsafe(32))  # without a newline: Jupyter takes the file as it is
    read_secret(file, "keys/lab-token")
    return file


def main() -> None:
    """Become JupyterLab."""
    end_with_parent(os.getppid(), signal.SIGKILL)
    settings = load_settings()
    os.environ["JUPYTER_TOKEN_FILE"] = str(make_token(settings.keys))
    program = Path(sys.executable).with_name("jupyter-lab")
    options = ["--no-browser", "--ip=127.0.0.1", f"--port={settings.lab.port}", "--ServerApp.port_retries=0"]
    if os.geteuid() == 0:
        options.append("--allow-root")
    os.execv(program, [str(program), *options, f"--ServerApp.root_dir={PROJECT / 'notebooks'}"])  # noqa: S606


if __name__ == "__main__":
    main()
