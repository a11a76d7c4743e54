"""Exchange keys go in by right, come out for the bot alone, and survive a rotation killed at any point."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from ctp.accounts.audit import read_audit
from ctp.accounts.vault import FILE, ExchangeKey, KeyPermissions, Vault
from ctp.accounts.visible import Visible
from ctp.errors import ConfigError, DataDamaged, InputError, NotAllowed, NotFound
from ctp.logs import redact
from ctp.storage.database import Database
from ctp.storage.tables import exchange_keys
from tests.accounts.people import NOW, SHELL, Scene, set_scene

KEY = ExchangeKey("public-api-key-1234", "very-secret-secret-5678")
SAFE = KeyPermissions(may_trade=True, may_withdraw=False, is_bound_to_address=True)


@pytest.fixture
def scene(database: Database) -> Scene:
    """Return people and two accounts."""
    return set_scene(database)


@pytest.fixture
def vault(tmp_path: Path, database: Database, scene: Scene) -> Vault:
    """Return a vault that has Minsu's key."""
    folder = tmp_path / "keys"
    folder.mkdir()
    made = Vault(folder)
    with database.transaction() as connection:
        made.store(connection, scene.minsu, scene.minsus, KEY, SAFE, NOW)
    return made


def opened(vault: Vault, database: Database, account_id: int) -> ExchangeKey:
    """Open a key as the bot does."""
    with database.reading() as connection:
        return vault.open_key(connection, account_id)


def test_the_bot_gets_the_key_and_the_page_only_its_last_letters(vault: Vault, database: Database, scene: Scene) -> None:
    """Neither the row nor the representation shows more."""
    assert opened(vault, database, scene.minsus) == KEY
    with database.reading() as connection:
        hint = Visible(connection, scene.minsu).key_hint(scene.minsus)
        row = connection.execute(sa.select(exchange_keys)).one()
        log = repr(read_audit(connection, SHELL))
    assert hint is not None and hint.hint == "1234" and hint.permissions["may_withdraw"] is False
    for text in (repr(hint), repr(row), log, repr(KEY), str(KEY)):
        assert KEY.secret not in text and KEY.api_key not in text
    assert vault.file.stat().st_mode & 0o777 == 0o600


def test_what_the_vault_has_seen_is_redacted_from_logs(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a library may write."""
    logging.getLogger("ccxt").warning("%s", KEY.secret)
    assert KEY.secret not in redact(caplog.text)


def test_only_the_owner_enters_a_key(vault: Vault, database: Database, scene: Scene) -> None:
    """Others do not even see the account; an administrator neither."""
    with database.transaction() as connection:
        for who in (scene.alice, scene.ada, scene.olaf, scene.vera):
            with pytest.raises(NotFound):
                vault.store(connection, who, scene.minsus, KEY, SAFE, NOW)
            with pytest.raises(NotFound):
                vault.delete(connection, who, scene.minsus, NOW)


@pytest.mark.parametrize("permissions", [KeyPermissions(may_withdraw=True), KeyPermissions(True, True, True)])
def test_a_key_that_may_withdraw_is_refused_and_not_kept(
    vault: Vault, database: Database, scene: Scene, permissions: KeyPermissions
) -> None:
    """The one before stays."""
    other = ExchangeKey("another-api-key-99", "another-secret-99")
    with pytest.raises(NotAllowed, match="withdraw"), database.transaction() as connection:
        vault.store(connection, scene.minsu, scene.minsus, other, permissions, NOW)
    assert opened(vault, database, scene.minsus) == KEY


def test_a_key_that_gained_the_right_to_withdraw_is_noticed(vault: Vault, database: Database, scene: Scene) -> None:
    """The daily check keeps what it found."""
    with database.transaction() as connection:
        vault.note_permissions(connection, scene.minsus, SAFE, NOW + 1)
        with pytest.raises(NotAllowed):
            vault.note_permissions(connection, scene.minsus, KeyPermissions(may_withdraw=True), NOW + 2)
        hint = Visible(connection, scene.minsu).key_hint(scene.minsus)
    assert hint is not None and hint.checked_at == NOW + 2 and hint.permissions["may_withdraw"] is True


def test_an_empty_key_is_refused_by_field(vault: Vault, database: Database, scene: Scene) -> None:
    """Without repeating the other half."""
    with database.transaction() as connection:
        for key, field in ((ExchangeKey(" ", "s3cr3t-value"), "apiKey"), (ExchangeKey("k3y-value", ""), "secret")):
            with pytest.raises(InputError) as caught:
                vault.store(connection, scene.minsu, scene.minsus, key, SAFE, NOW)
            assert caught.value.field == field
            assert "s3cr3t" not in str(caught.value) and "k3y" not in str(caught.value)


def test_a_ciphertext_moved_to_another_account_does_not_open(vault: Vault, database: Database, scene: Scene) -> None:
    """Whoever can write rows still cannot make the bot trade for somebody else."""
    with database.transaction() as connection:
        stolen = connection.scalar(sa.select(exchange_keys.c.ciphertext))
        connection.execute(
            sa.insert(exchange_keys).values(account_id=scene.alices, ciphertext=stolen, hint="", created_at=NOW)
        )
    with pytest.raises(DataDamaged, match="another account"):
        opened(vault, database, scene.alices)


def test_a_wrong_key_file_is_refused_before_anything_is_touched(vault: Vault, database: Database, scene: Scene) -> None:
    """Neither the file nor the ciphertexts change, whatever is tried."""
    right = vault.file.read_text()
    wrong = Fernet.generate_key().decode() + "\n"
    vault.file.write_text(wrong)
    with database.reading() as connection:
        before = connection.scalar(sa.select(exchange_keys.c.ciphertext))
        with pytest.raises(ConfigError, match=rf"{FILE} does not open .* nothing was changed"):
            vault.check(connection)
    with pytest.raises(ConfigError):
        opened(vault, database, scene.minsus)
    with pytest.raises(ConfigError):
        vault.rotate(database, SHELL, NOW)
    with pytest.raises(ConfigError), database.transaction() as connection:
        vault.store(connection, scene.alice, scene.alices, KEY, SAFE, NOW)
    with database.reading() as connection:
        assert connection.scalar(sa.select(exchange_keys.c.ciphertext)) == before
    assert vault.file.read_text() == wrong
    vault.file.write_text(right)
    assert opened(vault, database, scene.minsus) == KEY


@pytest.mark.parametrize("content", ["", "not a key\n", None])
def test_a_broken_or_missing_key_file_is_named_and_never_replaced(
    vault: Vault, database: Database, scene: Scene, content: str | None
) -> None:
    """A new one would make every stored key worthless."""
    vault.file.unlink() if content is None else vault.file.write_text(content)
    with pytest.raises(ConfigError, match=FILE), database.transaction() as connection:
        vault.store(connection, scene.alice, scene.alices, KEY, SAFE, NOW)
    assert vault.file.exists() == (content is not None)


def test_after_a_rotation_the_old_encryption_key_opens_nothing(vault: Vault, database: Database, scene: Scene) -> None:
    """While everything still opens with the file, and a backup from before does too."""
    old = vault.file.read_text().split()
    with database.reading() as connection:
        backup = connection.scalar(sa.select(exchange_keys.c.ciphertext))
    assert vault.rotate(database, SHELL, NOW) == 1
    keys = vault.file.read_text().split()
    assert keys[1:] == old and keys[0] not in old
    assert opened(vault, database, scene.minsus) == KEY
    (tmp := vault.file.with_name("only-old")).mkdir()
    (tmp / FILE).write_text(old[0])
    (tmp / FILE).chmod(0o600)
    with pytest.raises(ConfigError):
        opened(Vault(tmp), database, scene.minsus)
    with database.transaction() as connection:
        connection.execute(sa.update(exchange_keys).values(ciphertext=backup))
    assert opened(vault, database, scene.minsus) == KEY


def test_rotations_killed_half_way_lose_nothing(
    vault: Vault, database: Database, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five times in a row after the file was written, then one that succeeds."""
    real = Database.transaction
    for _ in range(5):
        monkeypatch.setattr(Database, "transaction", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            vault.rotate(database, SHELL, NOW)
        monkeypatch.setattr(Database, "transaction", real)
        assert opened(vault, database, scene.minsus) == KEY
    vault.rotate(database, SHELL, NOW)
    assert opened(vault, database, scene.minsus) == KEY
    assert len(vault.file.read_text().split()) == 3


def test_only_operators_rotate(vault: Vault, database: Database, scene: Scene) -> None:
    """A trader does not."""
    with pytest.raises(NotAllowed):
        vault.rotate(database, scene.minsu, NOW)


def test_a_deleted_key_is_gone(vault: Vault, database: Database, scene: Scene) -> None:
    """And deleting again says so."""
    with database.transaction() as connection:
        vault.delete(connection, scene.minsu, scene.minsus, NOW)
        with pytest.raises(NotFound, match="ctp key add"):
            vault.open_key(connection, scene.minsus)
        with pytest.raises(NotFound):
            vault.delete(connection, scene.minsu, scene.minsus, NOW)
