"""The runbook's commands: understood, the same in both languages, and run in a scratch folder.

In the rehearsal `/opt`, `/etc` and the home of `ctp` lie in a scratch folder, and these are not real: `apt-get`, `adduser`,
`ufw`, `systemctl`, `certbot`, `nginx -t`, `pm2 startup` and `git clone`'s address (root or a network would be needed); they
are written down and compared. Everything else runs as it stands: `./run`, PM2, migrations, the three services.
The release before is the newest commit with an older schema.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from ctp.cli import app
from ctp.storage import migrations
from tests.journeys.processes import eventually, free_port, processes_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("runbook.md", "runbook.ko.md")
FAKES = ("apt-get", "adduser", "ufw", "systemctl", "certbot", "nginx")
OPT = "/opt/crypto-trader"
VERSIONS = "ctp/storage/migrations/versions"


def blocks(page: str) -> dict[str, str]:
    """Return a page's shell blocks by name."""
    found = re.findall(r"^```sh (\S+)\n(.*?)^```", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(dict(found)) == len(found), "two blocks of one name"
    return dict(found)


def ctp_commands() -> list[str]:
    """Return every `./run ctp …` of the page, in blocks and between them."""
    text = (ROOT / "docs" / PAGES[0]).read_text("utf-8")
    quoted = re.findall(r"`(\./run ctp [^`]+)`", text) + re.findall(r"^(\./run ctp [^\n<]+)", text, re.MULTILINE)
    return sorted({command.strip() for command in quoted})


def test_both_languages_give_the_same_commands() -> None:
    assert blocks(PAGES[0]) == blocks(PAGES[1])
    inline = [sorted(set(re.findall(r"`(\./run [^`]+|sudo [^`]+)`", (ROOT / "docs" / page).read_text()))) for page in PAGES]
    assert inline[0] == inline[1]
    rows = [(ROOT / "docs" / page).read_text().count("\n|") for page in PAGES]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("name", blocks(PAGES[0]))
def test_a_block_is_shell(name: str) -> None:
    subprocess.run(["sh", "-n"], input=blocks(PAGES[0])[name], text=True, check=True)


@pytest.mark.parametrize("command", ctp_commands())
def test_a_command_is_understood(command: str) -> None:
    arguments = shlex.split(command)[2:]
    node = typer.main.get_command(app)
    while hasattr(node, "commands"):
        assert arguments[0] in node.commands, command
        node = node.commands[arguments.pop(0)]
    if "--help" not in arguments and not {"resend"} & {node.name}:
        node.make_context(node.name, arguments)


# --- the rehearsal ----------------------------------------------------------------------------------------------------


class Server(NamedTuple):
    """A pretended Ubuntu server in a folder."""

    folder: Path
    port: int

    @property
    def checkout(self) -> Path:
        """The checkout of the user `ctp`."""
        return self.folder / "opt/crypto-trader/app"

    @property
    def home(self) -> Path:
        """CTP_HOME."""
        return self.checkout / "var"

    def run(self, name: str) -> str:
        """Run a block as it stands, with the folders of this server; returns what it prints."""
        return self.do(blocks(PAGES[0])[name])

    def do(self, script: str) -> str:
        """Run shell commands with the folders of this server; returns what they print."""
        script = script.replace("/opt/", f"{self.folder}/opt/").replace("/etc/", f"{self.folder}/etc/")
        done = subprocess.run(
            ["sh", "-eu"],
            input=script,
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            start_new_session=True,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Return what a login shell of `ctp` has."""
        return {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "HOME": f"{self.folder}/opt/crypto-trader",
            "PM2_HOME": f"{self.folder}/opt/crypto-trader/.pm2",
            "REPOSITORY": "https://git.example.com/crypto-trader-pro.git",
            "LANG": "C.UTF-8",
        }

    def asked(self) -> list[str]:
        """Return what the programs that are not real were asked for."""
        return (self.folder / "asked").read_text().replace(str(self.folder), "").splitlines()

    def revision(self) -> str:
        """Return the schema of the database."""
        with contextlib.closing(sqlite3.connect(self.home / "ctp.db")) as database:
            return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])

    def beats(self) -> dict[str, int]:
        """Return each service's last sign of life."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self.home / "ctp.db")) as database:
            return dict(database.execute("SELECT process, at FROM heartbeats").fetchall())
        return {}

    def forget_beats(self) -> None:
        """Forget the signs of life so far."""
        with contextlib.closing(sqlite3.connect(self.home / "ctp.db")) as database:
            database.execute("DELETE FROM heartbeats")
            database.commit()

    def until_alive(self, what: str) -> None:
        """Wait until all three services have given a sign of life."""
        eventually(lambda: {"bot", "backup", "web"} <= self.beats().keys(), what, 120)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Return a server with nothing on it but its programs; whatever happens, nothing of it goes on running."""
    made = Server(tmp_path, free_port())
    for folder in ("bin", "etc/systemd/system", "etc/caddy", "etc/nginx/sites-available", "etc/nginx/sites-enabled"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "opt/crypto-trader").mkdir(parents=True)
    (tmp_path / "opt/crypto-trader/first-password").write_text("green horse battery\n")
    (tmp_path / "asked").write_text("")
    for name in FAKES:
        _program(made, name, f'echo "{name} $*" >>{tmp_path}/asked')
    startup = f'all="$*"; case "$all" in *"pm2 startup"*) echo "pm2 ${{all#*bin/pm2 }}" >>{tmp_path}/asked; exit 0 ;; esac'
    _program(made, "sudo", f'[ "$1" = -u ] && shift 2\n{startup}\nexec "$@"')
    _program(made, "git", f'[ "$1" = clone ] && exec {sys.executable} {tmp_path}/clone.py\nexec {shutil.which("git")} "$@"')
    try:
        yield made
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                ["node", str(ROOT / "node_modules/pm2/bin/pm2"), "kill"],
                env=made.environment(),
                capture_output=True,
                check=False,
                timeout=60,
            )
        for process in processes_of(tmp_path):
            process.kill()


def _program(server: Server, name: str, script: str) -> None:
    """Put a program on the server's path."""
    file = server.folder / "bin" / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def _release_before() -> str:
    """Return the newest commit whose schema is older, or skip."""
    newest = next((ROOT / VERSIONS).glob(f"{migrations.head()}_*.py")).name
    asked = ["git", "-C", str(ROOT), "log", "-1", "--diff-filter=A", "--format=%H^", "HEAD", "--", f"{VERSIONS}/{newest}"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if not found or subprocess.run(["git", "-C", str(ROOT), "cat-file", "-e", found], check=False).returncode:
        pytest.skip("the history of this clone does not reach back to an older schema")
    return found


def _git(*arguments: str, where: Path) -> str:
    """Run git and return what it prints."""
    return subprocess.run(
        ["git", "-c", "advice.detachedHead=false", "-c", "safe.directory=*", *arguments],
        cwd=where,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def _publish(server: Server, old: str) -> None:
    """Make the repository that the server clones: `main` is the old release; this tree is published later."""
    origin = server.folder / "origin"
    _git("clone", "--quiet", "--shared", str(ROOT), str(origin), where=server.folder)
    _git("checkout", "--quiet", "-B", "main", _git("rev-parse", old, where=ROOT), where=origin)
    command = [shutil.which("git"), "clone", "--quiet", "--branch", "main", str(origin), str(server.checkout)]
    clone = f"import subprocess, sys\nsubprocess.run({command!r}, check=True)\nsys.path.insert(0, {str(ROOT)!r})\n"
    prepare = f"from tests.house.prepared import prepare\nprepare({str(server.checkout)!r})\n"
    (server.folder / "clone.py").write_text(clone + prepare)


@pytest.mark.pm2
@pytest.mark.timeout(600)
def test_a_server_is_installed_run_and_moved(server: Server) -> None:
    _publish(server, "HEAD")
    server.run("install")
    assert "apt-get install -y git python3.12-venv nodejs npm ufw" in server.asked()
    server.run("first-start")
    assert server.home.stat().st_mode & 0o777 == 0o700
    _use_port(server)
    server.run("up")
    server.until_alive("the services under PM2")
    assert "archive" in server.run("logs")
    for name in ("boot", "systemd", "caddy", "nginx", "firewall", "modes"):
        server.run(name)
    asked = server.asked()
    assert f"pm2 startup systemd -u ctp --hp {OPT}" in asked
    assert "systemctl enable --now crypto-trader-bot crypto-trader-backup crypto-trader-web" in asked
    assert "ufw allow 80,443/tcp" in asked
    assert "nginx -t" in asked
    installed = server.folder / "etc/systemd/system/crypto-trader-bot.service"
    assert f"{server.folder}{OPT}" not in installed.read_text()
    server.run("move-pack")
    shutil.rmtree(server.home)  # the new server has a checkout and no home
    server.run("move-unpack")
    assert _users(server) == ["admin"]
    assert not (server.folder / "opt/crypto-trader/crypto-trader-home.tar.gz").exists()


@pytest.mark.pm2
@pytest.mark.timeout(600)
def test_the_release_before_is_upgraded_with_its_data_taken_back_and_upgraded_again(server: Server) -> None:
    old = _release_before()
    _publish(server, old)
    server.run("install")
    server.do(f"cd {OPT}/app; ./run ctp init --name admin --password-stdin <~/first-password; cp ctp.example.toml var/ctp.toml")
    _use_port(server)
    before = server.revision()
    assert before != migrations.head()
    server.do(f"cd {OPT}/app; ./run up")
    server.until_alive("the old services")

    _git("checkout", "--quiet", "-B", "main", _git("rev-parse", "HEAD", where=ROOT), where=server.folder / "origin")
    server.run("upgrade")
    assert server.revision() == migrations.head()
    assert _users(server) == ["admin"]
    server.forget_beats()
    server.until_alive("the services after the upgrade")

    server.run("way-back")
    assert server.revision() == before
    assert _users(server) == ["admin"]
    assert _git("rev-parse", "HEAD", where=server.checkout) == _git("rev-parse", old, where=ROOT)
    assert list((server.home / "set-aside").glob("ctp.db.before-*"))
    server.forget_beats()
    server.until_alive("the old services again")

    _git("checkout", "--quiet", "main", where=server.checkout)  # the new release was mended: forward again
    server.run("upgrade")
    assert server.revision() == migrations.head()
    server.do(f"cd {OPT}/app; ./run down")


def _use_port(server: Server) -> None:
    """Let the web listen where nobody else does."""
    file = server.home / "ctp.toml"
    text = file.read_text()
    assert "\nport = 8501\n" in text
    text = text.replace("\nport = 8501\n", f"\nport = {server.port}\n")
    file.write_text(text.replace("\nvoila_port = 8866\n", f"\nvoila_port = {free_port()}\n"))


def _users(server: Server) -> list[str]:
    """Return the people in the database."""
    with contextlib.closing(sqlite3.connect(server.home / "ctp.db")) as database:
        return [name for (name,) in database.execute("SELECT name FROM users ORDER BY id")]
