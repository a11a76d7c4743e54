"""Make a checkout look as `./run` leaves it, with the packages that run this test: no network, no minute of installing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def prepare(folder: str) -> None:
    """Give a checkout its `.venv`, `node_modules` and front-end bundle; it stays prepared on every commit."""
    checkout = Path(folder)
    programs = checkout / ".venv/bin"
    programs.mkdir(parents=True)
    wrapper = f'#!/bin/sh\nPYTHONPATH="{checkout}" exec "{sys.executable}" "$@"\n'
    (programs / "python").write_text(wrapper)
    (programs / "python").chmod(0o755)
    modules = checkout / "node_modules"
    modules.mkdir()
    for entry in (ROOT / "node_modules").iterdir():
        if entry.name != "prepared":
            (modules / entry.name).symlink_to(entry)
    hook = checkout / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nexec {sys.executable} {Path(__file__)} {checkout}\n")
    hook.chmod(0o755)
    shutil.copy(hook, hook.with_name("post-merge"))
    stamp(checkout)


def stamp(checkout: Path) -> None:
    """Say that what the locks of this commit ask for is installed."""
    locks = subprocess.run(
        "cat requirements.lock pyproject.toml | cksum", shell=True, cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.strip()
    (checkout / ".venv/prepared").write_text(f"{checkout} {locks}\n")
    nodes = subprocess.run(
        "cksum <package-lock.json", shell=True, cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.strip()
    (checkout / "node_modules/prepared").write_text(f"{nodes}\n")


if __name__ == "__main__":
    stamp(Path(sys.argv[1]))
