"""The doctor looks at JupyterLab: once several people use this installation, it must not run as the services' own user."""

from __future__ import annotations

from pathlib import Path

from ctp.cli.findings import Finding
from ctp.config import Settings

_LISTENING = "0A"  # in /proc/net/tcp


def look_at_lab(settings: Settings) -> Finding:
    """Say as whom JupyterLab runs, if it runs, and whether that is enough."""
    from ctp.lab.start import people

    user = listener(settings.lab.port)
    if user is None:
        return Finding("JupyterLab", "ok", "does not run; start it with: ./run lab")
    count = people(settings)
    home_owner = settings.home.stat().st_uid if settings.home.is_dir() else 0
    if user in (0, home_owner) and count > 1:
        found = f"runs as the services' own user, and {count} people use this installation: its notebooks can read every key"
        return Finding("JupyterLab", "wrong", found, "stop it; as root: ./run lab; or the systemd unit (docs/lab.md)")
    whose = "one's own user, on a machine with one person" if user in (0, home_owner) else f"user {user}, apart from the home"
    return Finding("JupyterLab", "ok", f"runs as {whose}")


def listener(port: int) -> int | None:
    """Return the id of the user whose process listens on a port of this machine; None when nobody does."""
    for file in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not file.is_file():
            continue
        for row in (line.split() for line in file.read_text("ascii").splitlines()[1:]):
            if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port:
                return int(row[7])
    return None
