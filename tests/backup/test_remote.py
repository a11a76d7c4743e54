"""The second place: a real S3 protocol, a real SFTP server, a folder; unreachable, half written, restored from."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncssh
import pytest
from moto.server import ThreadedMotoServer
from pyarrow.fs import S3FileSystem

from ctp.backup.jobs import back_up, clean_up
from ctp.backup.keys import BackupKeys
from ctp.backup.points import list_points
from ctp.backup.remote import mirror, remote_target
from ctp.backup.restore import restore_home
from ctp.backup.target import LocalTarget
from ctp.backup.verify import verify_backup
from ctp.config import BackupSettings, Settings
from ctp.errors import BackupDamaged, ConfigError, StorageUnavailable
from tests.backup.made import HOUR, NOW, append, content_of, filled_home, opened
from tests.backup.made import back_up as make
from tests.backup.test_restore import home_at_empty


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Run an S3 server on this machine and give the settings that reach a bucket of it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    key_file = tmp_path / "s3-key"
    key_file.write_text("access\nCANARY-secret\n")
    key_file.chmod(0o600)
    S3FileSystem(
        access_key="access",
        secret_key="CANARY-secret",
        endpoint_override=f"{host}:{port}",
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    ).create_dir("bucket")
    yield {"remote": f"s3://bucket/ctp?endpoint=http://{host}:{port}", "remote_key_file": key_file}
    server.stop()


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Run an SFTP server on this machine that knows one key, and give the settings that reach it."""
    host_key, user_key = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    key_file = tmp_path / "sftp-key"
    user_key.write_private_key(str(key_file))
    key_file.chmod(0o600)
    root = tmp_path / "sftp-root"
    root.mkdir()
    allowed = asyncssh.import_authorized_keys(user_key.export_public_key().decode())
    started, ports, stop = threading.Event(), [], []

    async def serve() -> None:
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=allowed,
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(root).encode()),
        )
        ended = asyncio.Event()
        ports.append(server.get_port())
        stop.append((asyncio.get_running_loop(), ended))
        started.set()
        await ended.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(30)
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{ports[0]} {host_key.export_public_key().decode()}")
    address = f"sftp://ctp@127.0.0.1:{ports[0]}/backups?known_hosts={known}"
    yield {"remote": address, "remote_key_file": key_file}
    loop, ended = stop[0]
    loop.call_soon_threadsafe(ended.set)
    thread.join(30)


@pytest.fixture(params=["s3", "sftp", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return the backup settings of one kind of second place."""
    if request.param == "file":
        return {"remote": f"file://{tmp_path / 'mounted'}"}
    found: dict[str, Any] = request.getfixturevalue(request.param)
    return found


def test_every_backup_is_copied_read_back_and_restorable_from_there(
    tmp_path: Path, sqlite_template: Path, place: dict[str, Any]
) -> None:
    """The home and its archives are gone; what was copied brings everything back."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=100, daily=1, weekly=0, monthly=0, **place)
    with opened(settings) as database:
        back_up(settings, database, "full", NOW)
        append(database, 0.1)
        back_up(settings, database, "incremental", NOW + HOUR)
        expected = content_of(database)["ledger"]
    remote = remote_target(settings)
    assert remote is not None and "CANARY" not in remote.address
    points = list_points(remote)
    assert [point.kind for point in points] == ["full", "incremental"]
    keys = BackupKeys(settings.keys)
    assert all(verify_backup(remote, point.id, keys) == [] for point in points)
    bare = home_at_empty(tmp_path / "bare", settings.keys)
    restore_home(bare, remote, points[-1].id, NOW + HOUR, override="random words")
    with opened(bare) as database:
        assert content_of(database)["ledger"] == expected
    with opened(settings) as database:
        back_up(settings, database, "full", NOW + 48 * HOUR)
    clean_up(settings, NOW + 48 * HOUR)
    assert [point.id for point in list_points(remote)] == [point.id for point in list_points(LocalTarget(settings.backups))]


def test_a_place_that_cannot_be_reached_costs_nothing_but_the_copy(tmp_path: Path, sqlite_template: Path) -> None:
    """The backup here is made, the job fails with one sentence, and the next run copies what is missing."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=5)
    away = settings.model_copy(update={"backup": BackupSettings(remote="sftp://nobody@127.0.0.1:1/x")})
    with opened(settings) as database, pytest.raises(StorageUnavailable, match=r"sftp://nobody@127.0.0.1:1"):
        back_up(away, database, "full", NOW)
    near = settings.model_copy(update={"backup": BackupSettings(remote=f"file://{tmp_path / 'mounted'}")})
    with opened(settings) as database:
        back_up(near, database, "incremental", NOW + HOUR)
    remote = remote_target(near)
    assert remote is not None and [point.kind for point in list_points(remote)] == ["full", "incremental"]


def test_what_was_cut_off_on_the_way_is_copied_again(tmp_path: Path, sqlite_template: Path) -> None:
    """A manifest comes last; a short pack without one is replaced, a damaged one is told."""
    settings = filled_home(tmp_path / "home", sqlite_template, rows=5, remote=f"file://{tmp_path / 'mounted'}")
    made = make(settings)
    remote, keys, local = remote_target(settings), BackupKeys(settings.keys), LocalTarget(settings.backups)
    assert remote is not None
    remote.write(f"{made.id}.pack", b"half")
    assert mirror(local, remote, keys, NOW) == [made.id]
    assert mirror(local, remote, keys, NOW) == []
    pack = tmp_path / "mounted" / f"{made.id}.pack"
    content = pack.read_bytes()
    pack.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (tmp_path / "mounted" / f"{made.id}.manifest").unlink()
    with pytest.raises(BackupDamaged):
        mirror(local, remote, keys, NOW)


@pytest.mark.parametrize(
    "address, said",
    [
        ("ftp://host/x", "must begin with s3://, sftp://, file://"),
        ("s3://bucket/x?color=blue", "color is unknown"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused_in_a_sentence(tmp_path: Path, address: str, said: str) -> None:
    """Before anything is asked of the network."""
    with pytest.raises(ConfigError, match=said):
        remote_target(Settings(home=tmp_path, backup=BackupSettings(remote=address)))


def test_a_password_in_the_address_is_refused() -> None:
    """Settings never hold secrets."""
    with pytest.raises(ValueError, match="holds a password"):
        BackupSettings(remote="sftp://ctp:hunter2@host/x")
    assert urlsplit("sftp://ctp@host/x").password is None
