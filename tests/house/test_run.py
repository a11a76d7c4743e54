"""`./run` on machines that lack something: one clear sentence each, and nothing half-made."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("sh", "dirname", "cat", "cksum", "df", "awk", "mkdir", "cp", "rm", "env", "touch", "flock")

Machine = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a way to run a copy of `./run` where only the tools named exist; keywords are scripts by name."""
    checkout, tools = tmp_path / "checkout", tmp_path / "tools"
    checkout.mkdir()
    tools.mkdir()
    for name in ("run", ".python-version", "pyproject.toml", "package-lock.json"):
        shutil.copy(ROOT / name, checkout / name)
    for name in ("requirements.lock", "requirements-uv.lock", "requirements-node.lock"):
        (checkout / name).write_text("")
    for tool in TOOLS:
        if found := shutil.which(tool):
            (tools / tool).symlink_to(found)

    def run(*arguments: str, **scripts: str) -> subprocess.CompletedProcess[str]:
        for name, script in scripts.items():
            file = tools / name
            file.unlink(missing_ok=True)
            file.write_text(f"#!/bin/sh\n{script}\n")
            file.chmod(0o755)
        return subprocess.run(
            [checkout / "run", *arguments],
            env={"PATH": str(tools), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def only_sentence(result: subprocess.CompletedProcess[str]) -> str:
    """Return the one line a failed run says, which is all it says."""
    assert result.returncode == 1, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_a_python_that_is_too_old_is_named(machine: Machine) -> None:
    """Python 3.11 alone: the sentence says what was found and what to install."""
    old = 'case "$1" in --version) echo "Python 3.11.2" ;; *) exit 1 ;; esac'
    line = only_sentence(machine("ctp", "--help", python3=old))
    assert "Python 3.12 or newer is needed and Python 3.11.2 was found" in line
    assert "apt-get install" in line


def test_no_python_is_said_in_one_sentence(machine: Machine) -> None:
    """Without any Python the sentence says so."""
    assert "no Python at all was found" in only_sentence(machine("ctp"))


def test_a_full_disk_is_said_before_anything_is_made(machine: Machine) -> None:
    """With 12 MB free nothing is installed and no environment is left behind."""
    df = 'echo "Filesystem 1024-blocks Used Available Capacity Mounted"; echo "/dev/vda 1000000 987712 12288 99% /"'
    line = only_sentence(machine("demo", df=df))
    assert "needs 1500 MB" in line
    assert "only 12 MB are free" in line


def test_a_python_without_venv_is_told_what_to_install(machine: Machine) -> None:
    """Debian ships venv apart: its absence must not end in a traceback."""
    python = 'case "$1" in -c) echo "$0" ;; --version) echo "Python 3.12.3" ;; *) exit 1 ;; esac'
    result = machine("ctp", **{"python3.12": python})
    assert result.returncode == 1
    assert "cannot make a virtual environment" in result.stderr.splitlines()[-1]


def test_an_unknown_command_is_wrong_use(machine: Machine) -> None:
    """A typing error prints the usage on stderr and exits 2."""
    result = machine("dmeo")
    assert (result.returncode, result.stdout) == (2, "")
    assert "./run COMMAND" in result.stderr


def test_lock_files_record_hashes_and_no_addresses() -> None:
    """A lock file that names a server would break behind another one."""
    for name in ("requirements.lock", "requirements-uv.lock", "requirements-node.lock", "package-lock.json"):
        text = (ROOT / name).read_text()
        assert "index-url" not in text, name
        assert '"resolved"' not in text, name
        assert "sha512-" in text or "--hash=sha256:" in text, name
