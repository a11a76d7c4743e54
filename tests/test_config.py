"""Settings come from one file and the environment, and wrong ones stop the process with a sentence that helps."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pydantic
import pytest

from ctp.config import PROJECT, PaperEndpoint, Settings, home_folder, load_settings, read_secret
from ctp.errors import ConfigError


def load(home: Path, toml: str = "", **environment: str) -> Settings:
    """Load settings from a file's text and an environment."""
    if toml:
        (home / "ctp.toml").write_text(toml)
    return load_settings({"CTP_HOME": str(home), **environment})


def test_the_defaults_need_no_file(home: Path) -> None:
    """An operator who sets nothing gets a local installation."""
    settings = load(home)
    assert settings.home == home
    assert settings.database_url == f"sqlite:///{home}/ctp.db"
    assert (settings.web.host, settings.web.port) == ("127.0.0.1", 8501)
    assert settings.trading.reconcile_every_s == 60


def test_home_is_var_in_the_project_wherever_the_command_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current directory plays no part."""
    monkeypatch.chdir(tmp_path)
    assert home_folder({}) == PROJECT / "var"
    assert home_folder({"CTP_HOME": "elsewhere"}) == tmp_path / "elsewhere"


def test_the_environment_wins_over_the_file(home: Path) -> None:
    """The same key in both places."""
    assert load(home, "[web]\nport = 9000\n").web.port == 9000
    assert load(home, "[web]\nport = 9000\n", CTP__WEB__PORT="9001").web.port == 9001


def test_settings_cannot_be_changed(home: Path) -> None:
    """Frozen, so that no part of the program can bend a rule for another."""
    with pytest.raises(pydantic.ValidationError):
        load(home).web.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[web]\nprot = 1", ["web.prot", "ctp.toml", "no such setting"]),
        ("[webb]\nport = 1", ["webb", "ctp.toml", "no such setting"]),
        ("[web]\nport = 70000", ["web.port = 70000", "ctp.toml", "65535"]),
        ("[trading]\nrecv_window_ms = 6000", ["trading.recv_window_ms = 6000", "5000"]),
        ("[trading]\nreconcile_every_s = 61", ["trading.reconcile_every_s = 61", "60"]),
        ("[trading]\nprotection_deadline_s = 3", ["trading.protection_deadline_s = 3", "2"]),
        ("[trading]\ncommand_poll_s = 1.5", ["trading.command_poll_s = 1.5", "1"]),
        ("[risk]\ndaily_loss_limit = 0.5", ["risk", "no such setting"]),
        ("[web\n", ["ctp.toml"]),
        ("home = 'x'", ["home", "CTP_HOME"]),
        ("[web]\npublic_url = 'https://x.example/path'", ["web", "without a path"]),
        ("[web]\npublic_url = 'http://x.example'", ["web", "must be https"]),
    ],
)
def test_a_wrong_file_names_key_file_and_bound(home: Path, toml: str, words: list[str]) -> None:
    """Misspelled, out of bounds, unreadable, or not a setting at all."""
    with pytest.raises(ConfigError) as caught:
        load(home, toml)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_wrong_variable_is_named(home: Path) -> None:
    """The variable is the source, not the file."""
    with pytest.raises(ConfigError, match=r"web\.port = 'many' in CTP__WEB__PORT"):
        load(home, CTP__WEB__PORT="many")
    with pytest.raises(ConfigError, match=r"web\.colour in CTP__WEB__COLOUR: there is no such setting"):
        load(home, CTP__WEB__COLOUR="red")


@pytest.mark.parametrize("name", ["CTP_JWT_SECRET", "CTP__DATABASE__PASSWORD", "CTP_FERNET_KEY", "CTP_BINANCE_API_KEY"])
def test_a_secret_in_the_environment_is_refused_and_not_repeated(home: Path, name: str) -> None:
    """The message says which variable, not what was in it."""
    with pytest.raises(ConfigError, match=name) as caught:
        load(home, **{name: "hunter2-hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_variable_may_name_the_file_of_a_secret(home: Path) -> None:
    """A path is not a secret."""
    settings = load(home, CTP__PAPER__CONTROL_TOKEN_FILE="/x/token")
    assert settings.paper.control_token_file == Path("/x/token")


@pytest.mark.parametrize("door", ["file", "environment"])
def test_a_password_in_the_database_address_is_refused_and_not_repeated(home: Path, door: str) -> None:
    """Whichever way the address came."""
    url = "postgresql://ctp:hunter2@db/ctp"
    with pytest.raises(ConfigError, match=r"database\.password_file") as caught:
        load(home, f"[database]\nurl = '{url}'") if door == "file" else load(home, CTP__DATABASE__URL=url)
    assert "hunter2" not in str(caught.value)


def test_the_database_password_comes_from_its_file(home: Path) -> None:
    """It is escaped, so that any password works."""
    secret = home / "password"
    secret.write_text("p@ss/word\n")
    secret.chmod(0o600)
    toml = f"[database]\nurl = 'postgresql://ctp@db.example.com:5433/ctp'\npassword_file = '{secret}'"
    assert load(home, toml).database_url == "postgresql://ctp:p%40ss%2Fword@db.example.com:5433/ctp"


def test_a_secret_that_others_can_read_is_refused(home: Path) -> None:
    """Also an absent one, naming the setting."""
    secret = home / "password"
    secret.write_text("x")
    secret.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_secret(secret, "database.password_file")
    secret.chmod(0o600)
    assert read_secret(secret, "database.password_file") == "x"
    with pytest.raises(ConfigError, match="cannot read"):
        read_secret(home / "none", "database.password_file")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.4", "trade.example.com"])
def test_an_open_door_without_tls_is_refused_and_says_how_in_two_lines(home: Path, host: str) -> None:
    """Every address that others could reach, and every name."""
    with pytest.raises(ConfigError, match=r"Caddy.*two lines.*reverse_proxy 127\.0\.0\.1:8501"):
        load(home, f"[web]\nhost = '{host}'")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.5"])
def test_this_machine_itself_needs_no_tls(home: Path, host: str) -> None:
    """All ways to say loopback."""
    assert load(home, f"[web]\nhost = '{host}'").web.host == host


def test_an_open_door_with_certificate_files_is_fine_and_half_of_them_is_not(home: Path) -> None:
    """Both files or none."""
    both = "[web]\nhost = '0.0.0.0'\ncertificate_file = 'a.pem'\ncertificate_key_file = 'b.pem'"
    assert load(home, both).web.certificate_file == Path("a.pem")
    with pytest.raises(ConfigError, match="belong together"):
        load(home, "[web]\ncertificate_file = 'a.pem'")


def test_folders_are_made_on_demand_for_their_owner_alone(home: Path) -> None:
    """Nothing is made by merely loading settings."""
    settings = load(home / "fresh")
    assert not settings.home.exists()
    for folder in (settings.candles, settings.keys, settings.log_folder, settings.cache, settings.archive):
        assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
    assert settings.home.stat().st_mode & 0o077 == 0


def test_an_exchange_may_have_its_own_simulator(home: Path) -> None:
    """The others share the first."""
    settings = load(home, "[paper]\nport = 9443\n[paper.exchanges.upbit]\nport = 9543\n")
    assert settings.paper.endpoint("binance").port == 9443
    assert settings.paper.endpoint("upbit") == PaperEndpoint(port=9543)


def test_a_config_file_that_was_asked_for_must_exist(home: Path) -> None:
    """A missing default file is fine, a missing named one is not."""
    with pytest.raises(ConfigError, match="CTP_CONFIG"):
        load(home, CTP_CONFIG=str(home / "none.toml"))


def leaves(model: type[pydantic.BaseModel], above: str = "") -> list[str]:
    """List the dotted path of every setting."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            found += leaves(kind, f"{above}{name}.")
        else:
            found.append(above + name)
    return found


def test_the_example_file_documents_every_setting_with_its_default(home: Path) -> None:
    """Uncommented, it holds every key; as it stands, it changes nothing."""
    text = (PROJECT / "ctp.example.toml").read_text("utf-8")
    everything = tomllib.loads(re.sub(r"(?m)^# (?=[a-z_]+ = |\[)", "", text))
    documented = {f"{section}.{key}" for section, table in everything.items() for key in table}
    assert documented == set(leaves(Settings)) - {"home"}
    (home / "ctp.toml").write_text(text)
    assert load(home) == load_settings({"CTP_HOME": str(home), "CTP_CONFIG": "/dev/null"})
