"""Become JupyterLab: as whom, with which environment, and how far behind live money.

Invariants:
1. Several people, one user of the machine: refused. Notebooks run code, and code reads what its user can read.
2. Apart, its environment is made here: no secret, no name of the services' home or database is in it.
3. It and everything it starts run at nice 10, are the first to go when memory runs out, and have a bound on memory.
4. It listens on this machine alone.
"""

from __future__ import annotations

import os
import pwd
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from ctp.accounts.users import count_people
from ctp.api_client import LAB_API
from ctp.config import PROJECT, Settings, read_secret
from ctp.errors import ConfigError, CtpError
from ctp.lab.background import step_back
from ctp.lifetime import end_with_parent
from ctp.storage.database import Database

USUAL_USER, UNUSED_NUMBER = "ctp-lab", 61_888  # the number lies where systemd takes its passing users from
CONFIGURATION = PROJECT / "jupyter_config"
_HOME_IS_OPEN = 3
_PROBE = f"import os, sys; import ctp.lab; sys.exit({_HOME_IS_OPEN} if os.access(sys.argv[1], os.X_OK) else 0)"
_INHERITED = ("LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")


class OtherUser(NamedTuple):
    """The user of the machine that JupyterLab becomes."""

    name: str
    number: int
    group: int


def people(settings: Settings) -> int:
    """Return how many people use this installation; 0 before `ctp init`, or when there is no database to be read."""
    if not settings.database.url and not (settings.home / "ctp.db").is_file():
        return 0
    database = Database(settings.database_url)
    try:
        with database.reading() as connection:
            return count_people(connection)
    except CtpError:
        return 0
    finally:
        database.close()


def may_be_ourselves(settings: Settings) -> bool:
    """Tell whether JupyterLab may run as the user that owns the home: on a machine of one's own."""
    return people(settings) <= 1


def other_user(settings: Settings) -> OtherUser:
    """Return the user to become, once there are several people. Raises ConfigError saying how to have one."""
    if os.geteuid() != 0:
        raise ConfigError(
            f"{people(settings)} people use this installation, so JupyterLab must run as another user of this machine: its"
            " notebooks could read everybody's keys otherwise. Start it as root, which changes to that user by itself, or"
            " use services/systemd/crypto-trader-lab.service (docs/lab.md)"
        )
    wanted = settings.lab.os_user
    try:
        found = pwd.getpwuid(int(wanted)) if wanted.isdecimal() else pwd.getpwnam(wanted or USUAL_USER)
        user = OtherUser(found.pw_name, found.pw_uid, found.pw_gid)
    except KeyError:
        if wanted and not wanted.isdecimal():
            raise ConfigError(f"lab.os_user {wanted!r}: this machine has no such user; sudo useradd --system {wanted}") from None
        number = int(wanted or UNUSED_NUMBER)
        user = OtherUser(str(number), number, number)
    if user.number == 0 or user.number == settings.home.stat().st_uid:
        raise ConfigError(f"lab.os_user {user.name}: owns the services' home; JupyterLab needs a user of its own")
    return user


def prove_apart(settings: Settings, user: OtherUser) -> None:
    """Raise ConfigError unless this user can run us and cannot enter the services' home."""
    lab_home = settings.lab_home
    lab_home.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(lab_home, user.number, user.group)
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", _PROBE, str(settings.home)],
            cwd=PROJECT, user=user.number, group=user.group, extra_groups=[], env=environment(settings, lab_home),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(_unreachable(user, str(error))) from None
    if done.returncode == _HOME_IS_OPEN:
        raise ConfigError(f"user {user.name} can enter {settings.home}; chmod 700 {settings.home}")
    if done.returncode != 0:
        raise ConfigError(_unreachable(user, (done.stderr.strip().splitlines() or ["it does not start"])[-1]))


def _unreachable(user: OtherUser, why: str) -> str:
    """Say which folder keeps another user from running us."""
    for path in (Path(sys.executable).resolve(), PROJECT):
        closed = [folder for folder in path.parents if not folder.stat().st_mode & 0o001]
        if closed:
            return (
                f"JupyterLab runs as another user ({user.name}) once several people use it, and that user cannot enter"
                f" {closed[-1]}: chmod o+x {closed[-1]}, or install below /opt with the system's Python"
            )
    return f"user {user.name} cannot run JupyterLab: {why}"


def environment(settings: Settings, lab_home: Path) -> dict[str, str]:
    """Return the whole environment of JupyterLab apart, and so of every kernel."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(lab_home),
        "CTP_HOME": str(lab_home),
        LAB_API: f"127.0.0.1:{settings.lab.api_port}",
        "CTP__LAB__PORT": str(settings.lab.port),
        "CTP__LAB__API_PORT": str(settings.lab.api_port),
        "CTP__LAB__PUBLIC_URL": settings.lab.public_url,
        "CTP__LAB__MEMORY_MB": str(settings.lab.memory_mb),
        "JUPYTER_CONFIG_DIR": str(CONFIGURATION),
        "JUPYTER_CONFIG_PATH": str(CONFIGURATION),
        "JUPYTER_DATA_DIR": str(lab_home / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(lab_home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(lab_home / "jupyter" / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(lab_home / "jupyter" / "workspaces"),
        "IPYTHONDIR": str(lab_home / "ipython"),
        "PYTHONPATH": str(PROJECT),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def become_lab(settings: Settings, arguments: Sequence[str], *, apart: bool) -> NoReturn:
    """Become JupyterLab. apart: we are another user already, and `settings` are of that user's own home."""
    if apart:
        step_back(settings.lab.memory_mb)
        _become(arguments, environment(settings, settings.folder("")))
    if may_be_ourselves(settings):
        file = make_token(settings.keys)
        print(_way_in(settings, file, is_watched=sys.stderr.isatty()), file=sys.stderr)
        step_back(settings.lab.memory_mb)
        ours = {"JUPYTER_TOKEN_FILE": str(file), "JUPYTER_CONFIG_PATH": str(CONFIGURATION)}
        _become(arguments, {name: value for name, value in os.environ.items() if name != LAB_API} | ours)
    user = other_user(settings)
    prove_apart(settings, user)
    chosen = environment(settings, settings.lab_home)
    step_back(settings.lab.memory_mb)
    os.setgroups([])
    os.setgid(user.group)
    os.setuid(user.number)
    end_with_parent(os.getppid(), signal.SIGKILL)  # changing the user has undone it
    _become(arguments, chosen)


def _way_in(settings: Settings, file: Path, *, is_watched: bool) -> str:
    """Say how to open it: the whole link to a person at a terminal, never into a log."""
    address = f"http://127.0.0.1:{settings.lab.port}/lab"
    if is_watched:
        return f"Open {address}?token={file.read_text('ascii')}"
    return f"Open {address} with the token in {file}"


def make_token(folder: Path) -> Path:
    """Return the file that holds the token, made when there is none. Raises ConfigError when others can read it."""
    file = folder / "lab-token"
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
            made.write(secrets.token_urlsafe(32))  # without a newline: Jupyter takes the file as it is
    read_secret(file, "keys/lab-token")
    return file


def _become(arguments: Sequence[str], chosen: dict[str, str]) -> NoReturn:
    """Replace this process by JupyterLab."""
    program = Path(sys.executable).with_name("jupyter-lab")
    os.chdir(PROJECT / "notebooks")
    os.execve(sys.executable, [sys.executable, str(program), *arguments], chosen)  # noqa: S606
