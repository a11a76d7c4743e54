"""Exchange keys, encrypted (Fernet). Web and CLI put them in; only the bot takes them out.

Invariants:
1. A ciphertext opens only for the account and owner it was made for: both are inside it.
2. A key that may withdraw money is never kept.
3. The file of encryption keys is readable by its owner alone; a wrong one stops the process before anything is
   touched, and no file of keys is ever replaced by one that lacks a key still in use.
4. Nothing here returns or logs a secret, but `open_key`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ctp.accounts.audit import record
from ctp.accounts.rights import Actor, require
from ctp.accounts.visible import Visible
from ctp.config import read_secret
from ctp.errors import ConfigError, DataDamaged, InputError, NotAllowed, NotFound
from ctp.logs import register_secret
from ctp.storage.database import Database, insert_or
from ctp.storage.tables import accounts, exchange_keys

FILE = "fernet.keys"
_KEYS_KEPT = 3  # the newest encrypts; older ones still open backups made before a rotation


class ExchangeKey(NamedTuple):
    """What an exchange gave its customer. `repr` shows nothing of it."""

    api_key: str
    secret: str
    passphrase: str = ""

    def __repr__(self) -> str:
        """Show that there is a key, and nothing of it."""
        return "ExchangeKey(***)"


class KeyPermissions(NamedTuple):
    """What the exchange says a key may do; None where it does not say."""

    may_trade: bool | None = None
    may_withdraw: bool | None = None
    is_bound_to_address: bool | None = None


class Vault:
    """The exchange keys in the database, and the file that opens them."""

    def __init__(self, folder: Path) -> None:
        """Use the key file in this folder, `CTP_HOME/keys`."""
        self.file = folder / FILE

    def create(self) -> None:
        """Make the key file, unless there is one."""
        try:
            descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        _write_keys(descriptor, [Fernet.generate_key().decode()])

    def check(self, connection: sa.Connection) -> None:
        """Raise ConfigError unless every stored key can be opened. Changes nothing.

        Without stored keys the file may be missing; it is made when the first one is stored.
        """
        rows = connection.execute(sa.select(exchange_keys.c.account_id, exchange_keys.c.ciphertext)).all()
        if not rows:
            return
        fernet = self._fernet()
        for row in rows:
            try:
                fernet.decrypt(row.ciphertext)
            except InvalidToken:
                raise ConfigError(
                    f"{self.file} does not open the exchange key of account {row.account_id}: it is not the file these"
                    " keys were encrypted with. Put the right file back; nothing was changed"
                ) from None

    def store(
        self,
        connection: sa.Connection,
        actor: Actor,
        account_id: int,
        key: ExchangeKey,
        permissions: KeyPermissions,
        now_ms: int,
    ) -> None:
        """Encrypt and keep an account's exchange key, replacing the one before.

        Raises NotAllowed for a key that may withdraw, InputError for an empty one.
        """
        account = Visible(connection, actor).for_action("exchange_key", account_id)
        for field, value in (("apiKey", key.api_key), ("secret", key.secret)):
            if not value.strip() or len(value) > 8192:
                raise InputError(field, "***", "must not be empty")
        _refuse_withdrawals(permissions)
        self.check(connection)  # a second encryption key must not sneak in beside the one in use
        self.create()
        register_secret(key.api_key)
        register_secret(key.secret)
        inside = {**key._asdict(), "account_id": account_id, "user_id": account.user_id}
        row = {
            "ciphertext": self._fernet().encrypt(json.dumps(inside).encode()),
            "hint": key.api_key[-4:] if len(key.api_key) >= 12 else "",
            "permissions": json.dumps(permissions._asdict()),
            "checked_at": now_ms if permissions != KeyPermissions() else None,
            "created_at": now_ms,
        }
        connection.execute(
            insert_or(connection, exchange_keys)
            .values(account_id=account_id, **row)
            .on_conflict_do_update(index_elements=[exchange_keys.c.account_id], set_=row)
        )
        record(connection, actor, "key.store", f"account:{account_id}", now_ms, hint=row["hint"], **permissions._asdict())

    def delete(self, connection: sa.Connection, actor: Actor, account_id: int, now_ms: int) -> None:
        """Forget an account's exchange key. Raises NotFound when there is none."""
        Visible(connection, actor).for_action("exchange_key", account_id)
        gone = connection.execute(sa.delete(exchange_keys).where(exchange_keys.c.account_id == account_id))
        if gone.rowcount == 0:
            raise NotFound(f"account {account_id} has no exchange key")
        record(connection, actor, "key.delete", f"account:{account_id}", now_ms)

    def open_key(self, connection: sa.Connection, account_id: int) -> ExchangeKey:
        """Return an account's exchange key. For the bot alone.

        Raises NotFound when there is none, ConfigError for a wrong key file, DataDamaged when the ciphertext was made
        for another account.
        """
        row = connection.execute(
            sa.select(exchange_keys.c.ciphertext, accounts.c.user_id)
            .join(accounts, accounts.c.id == exchange_keys.c.account_id)
            .where(exchange_keys.c.account_id == account_id)
        ).first()
        if row is None:
            raise NotFound(f"account {account_id} has no exchange key; enter one with `ctp key add`")
        try:
            inside: dict[str, Any] = json.loads(self._fernet().decrypt(row.ciphertext))
        except InvalidToken:
            raise ConfigError(f"{self.file} does not open the exchange key of account {account_id}") from None
        if (inside.pop("account_id"), inside.pop("user_id")) != (account_id, row.user_id):
            raise DataDamaged(f"exchange key of account {account_id}", "it was made for another account", "enter it again")
        key = ExchangeKey(**inside)
        register_secret(key.api_key)
        register_secret(key.secret)
        return key

    def note_permissions(
        self, connection: sa.Connection, account_id: int, permissions: KeyPermissions, now_ms: int
    ) -> None:
        """Keep what the exchange says a key may do today. Raises NotAllowed, after keeping it, if it may withdraw."""
        connection.execute(
            sa.update(exchange_keys)
            .where(exchange_keys.c.account_id == account_id)
            .values(permissions=json.dumps(permissions._asdict()), checked_at=now_ms)
        )
        _refuse_withdrawals(permissions)

    def rotate(self, database: Database, actor: Actor, now_ms: int) -> int:
        """Encrypt every exchange key anew under a new encryption key, and prove it; returns how many.

        Kill it at any point: what is stored can be opened with the file as it is then. Encryption keys from before
        stay in the file behind the new one, to open older backups; nothing in the database needs them any more.
        """
        require(actor, "operate")
        with self._alone():
            with database.reading() as connection:
                self.check(connection)
            self.create()
            new = Fernet.generate_key().decode()
            keys = [new, *self._keys()]
            self._replace(keys)
            fernet, newest = self._fernet(), Fernet(new)
            with database.transaction() as connection:
                rows = connection.execute(sa.select(exchange_keys.c.account_id, exchange_keys.c.ciphertext)).all()
                for row in rows:
                    connection.execute(
                        sa.update(exchange_keys)
                        .where(exchange_keys.c.account_id == row.account_id)
                        .values(ciphertext=fernet.rotate(row.ciphertext))
                    )
                for ciphertext in connection.scalars(sa.select(exchange_keys.c.ciphertext)):
                    newest.decrypt(ciphertext)  # raises, and so rolls everything back, unless the new key alone opens it
                record(connection, actor, "key.rotate", "exchange_keys", now_ms, count=len(rows))
            self._replace(keys[:_KEYS_KEPT])  # not before: a rotation killed half way leaves an old key in use
        return len(rows)

    def _keys(self) -> list[str]:
        """Read the encryption keys, newest first."""
        keys = read_secret(self.file, "exchange key encryption").split()
        for key in keys:
            register_secret(key)
        return keys

    def _fernet(self) -> MultiFernet:
        """Read the key file; each time, so that every process works with the newest after a rotation."""
        try:
            return MultiFernet([Fernet(key) for key in self._keys()])
        except ValueError:
            raise ConfigError(f"{self.file}: not a file of Fernet keys; put the right one back") from None

    def _replace(self, keys: list[str]) -> None:
        """Replace the key file at once and durably."""
        unfinished = self.file.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        _write_keys(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), keys)
        unfinished.replace(self.file)
        folder = os.open(self.file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second rotation out."""
        descriptor = os.open(self.file.parent, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _refuse_withdrawals(permissions: KeyPermissions) -> None:
    """Refuse a key that could move money out of the exchange."""
    if permissions.may_withdraw:
        raise NotAllowed("this exchange key may withdraw money; make one without that permission and enter it instead")


def _write_keys(descriptor: int, keys: list[str]) -> None:
    """Write keys, one a line, durably, and close the file."""
    with os.fdopen(descriptor, "w") as sink:
        sink.write("".join(f"{key}\n" for key in keys))
        sink.flush()
        os.fsync(sink.fileno())
