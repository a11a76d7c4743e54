"""A second place for archives: an S3-compatible store, an SFTP server, or a mounted folder.

Every backup is copied there after it was read back here, its manifest last, and read back there. A place that cannot be
reached costs a failed job and nothing else: the next run copies what is missing.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ctp.backup.durable import UNFINISHED
from ctp.backup.keys import BackupKeys
from ctp.backup.manifest import SUFFIX
from ctp.backup.pieces import PACK_SUFFIX, object_name, open_archive
from ctp.backup.points import list_points
from ctp.backup.target import LocalTarget, Target
from ctp.backup.verify import note_verified, verify_backup
from ctp.config import Settings, read_secret
from ctp.errors import BackupDamaged, ConfigError, StorageUnavailable

SCHEMES = ("s3", "sftp", "file")


class FsspecTarget:
    """A folder of any fsspec filesystem."""

    def __init__(self, filesystem: Any, root: str, address: str, *, renames: bool) -> None:
        """Use a folder. renames: a file gets its name when it is whole; S3 has whole objects only."""
        self._fs, self._root, self.address, self._renames = filesystem, root.rstrip("/"), address, renames

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder, sorted, without unfinished ones."""
        with self._reached(folder):
            try:
                found = self._fs.ls(self._path(folder), detail=True)
            except FileNotFoundError:
                return []
        names = [posixpath.basename(entry["name"].rstrip("/")) for entry in found if entry["type"] == "file"]
        return sorted(name for name in names if not name.startswith(".") and not name.endswith(UNFINISHED))

    def size(self, name: str) -> int | None:
        """Return a file's length; None when it is not there."""
        with self._reached(name):
            try:
                return int(self._fs.info(self._path(name))["size"])
            except FileNotFoundError:
                return None

    def read(self, name: str) -> bytes:
        """Return a file."""
        with self._reached(name):
            return bytes(self._fs.cat_file(self._path(name)))

    def read_part(self, name: str, offset: int, length: int) -> bytes:
        """Return a part of a file."""
        with self._reached(name), self._fs.open(self._path(name), "rb") as source:
            source.seek(offset)
            return bytes(source.read(length))

    def write(self, name: str, content: bytes) -> None:
        """Keep a file."""
        with self._reached(name):
            self._make_folder(name)
            unfinished = self._path(name) + (UNFINISHED if self._renames else "")
            self._fs.pipe_file(unfinished, content)
            self._finish(name)

    def put(self, name: str, source: Path) -> None:
        """Keep a copy of a local file."""
        with self._reached(name):
            self._make_folder(name)
            self._fs.put_file(str(source), self._path(name) + (UNFINISHED if self._renames else ""))
            self._finish(name)

    def delete(self, name: str) -> None:
        """Forget a file."""
        with self._reached(name):
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def _finish(self, name: str) -> None:
        """Give a whole file its name."""
        if self._renames:
            if self._fs.exists(self._path(name)):
                self._fs.rm_file(self._path(name))  # SFTP does not rename over a file
            self._fs.mv(self._path(name) + UNFINISHED, self._path(name))

    def _path(self, name: str) -> str:
        """Return where a name lies."""
        return f"{self._root}/{name}" if name else self._root

    def _make_folder(self, name: str) -> None:
        """Make the folder of a name, where there are folders."""
        if self._renames:
            self._fs.makedirs(posixpath.dirname(self._path(name)), exist_ok=True)

    @contextmanager
    def _reached(self, name: str) -> Iterator[None]:
        """Turn what goes wrong on the way into our errors."""
        try:
            yield
        except FileNotFoundError:
            raise BackupDamaged(name, "a file", "nothing") from None
        except Exception as error:  # each filesystem has errors of its own, and none of them is ours to mend
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            raise StorageUnavailable(f"{self.address}: {reason}; nothing was lost, the next run tries again") from error


def shown_address(settings: Settings) -> str:
    """Return the address of the second place as people may see it; empty when none is set."""
    return urlsplit(settings.backup.remote)._replace(query="").geturl()


def remote_target(settings: Settings) -> Target | None:
    """Return the second place; None when none is set. Raises ConfigError for an address that cannot be one."""
    if not settings.backup.remote:
        return None
    address = urlsplit(settings.backup.remote)
    shown = shown_address(settings)
    if address.scheme == "s3":
        return FsspecTarget(_s3(settings), address.netloc + address.path, shown, renames=False)
    if address.scheme == "sftp":
        return FsspecTarget(_sftp(settings), address.path, shown, renames=True)
    if address.scheme == "file":
        from fsspec.implementations.local import LocalFileSystem

        return FsspecTarget(LocalFileSystem(), address.path, shown, renames=True)
    raise ConfigError(f"backup.remote = {shown!r}: must begin with " + ", ".join(f"{one}://" for one in SCHEMES))


def _s3(settings: Settings) -> Any:
    """Return the filesystem of an S3-compatible store, on Arrow's own client."""
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import S3FileSystem

    query = {name: values[0] for name, values in parse_qs(urlsplit(settings.backup.remote).query).items()}
    if unknown := set(query) - {"endpoint", "region"}:
        raise ConfigError(f"backup.remote: {', '.join(sorted(unknown))} is unknown; after ? come endpoint and region")
    options: dict[str, Any] = {"region": query.get("region", "us-east-1"), "connect_timeout": 10, "request_timeout": 60}
    if "endpoint" in query:
        endpoint = urlsplit(query["endpoint"])
        options |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
    if settings.backup.remote_key_file is not None:
        lines = read_secret(settings.backup.remote_key_file, "backup.remote_key_file").split()
        if len(lines) != 2:
            raise ConfigError(
                f"backup.remote_key_file: {settings.backup.remote_key_file} must hold the access key and the secret,"
                " one a line"
            )
        options |= {"access_key": lines[0], "secret_key": lines[1]}
    return ArrowFSWrapper(S3FileSystem(**options))


def _sftp(settings: Settings) -> Any:
    """Return the filesystem of an SFTP server whose host key is in the known hosts."""
    try:
        from sshfs import SSHFileSystem
    except ImportError:
        raise ConfigError('backup.remote: SFTP needs one more package; run `pip install "ctp[sftp]"`') from None
    address = urlsplit(settings.backup.remote)
    query = {name: values[0] for name, values in parse_qs(address.query).items()}
    options: dict[str, Any] = {"port": address.port or 22, "username": address.username, "skip_instance_cache": True}
    if settings.backup.remote_key_file is not None:
        options["client_keys"] = [str(settings.backup.remote_key_file)]
    if "known_hosts" in query:
        options["known_hosts"] = query["known_hosts"]
    try:
        return SSHFileSystem(address.hostname, **options)
    except Exception as error:  # asyncssh and the network have many errors of their own
        raise StorageUnavailable(f"{address._replace(query='').geturl()}: {error}") from error


def mirror(local: LocalTarget, remote: Target, keys: BackupKeys, now_ms: int) -> list[str]:
    """Copy what the second place lacks, oldest first, and read it back there; returns the backups it got."""
    there = set(remote.names())
    shared = {f"objects/{name}" for name in remote.names("objects")}
    copied = []
    for point in list_points(local):
        manifest_name = point.id + SUFFIX
        if not point.is_readable or (manifest_name in there and remote.size(manifest_name) == local.size(manifest_name)):
            continue
        manifest = open_archive(local, point.id, keys).manifest
        names = [pack.id + PACK_SUFFIX for pack in manifest.packs]
        names += [object_name(file.address) for file in manifest.files if not file.pack]
        for name in names:
            if name not in there | shared or remote.size(name) != local.size(name):
                remote.put(name, local.folder / name)
                shared.add(name)
        remote.write(manifest_name, local.read(manifest_name))
        damages = verify_backup(remote, point.id, keys, only_own=True)
        note_verified(remote, point.id, now_ms, thorough=False, damages=damages)
        if damages:
            raise damages[0]
        copied.append(point.id)
    return copied
