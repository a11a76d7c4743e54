"""What every test may ask for: the shared reference data, and a home of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ctp import i18n
from tests.compiled import share_compiled_code
from tests.databases import database, database_url, empty_url, postgres_server, postgres_url, sqlite_template

__all__ = ["database", "database_url", "empty_url", "postgres_server", "postgres_url", "sqlite_template"]

i18n.be_strict()

ROOT = Path(__file__).resolve().parent.parent

# Compiled code is kept between runs and shared by all workers; a test that writes takes the `home` fixture instead.
os.environ.setdefault("CTP_HOME", str(ROOT / "var" / "tests"))


def _shared(folder: str) -> Path:
    """Return a folder of reference material, or skip with the reason."""
    base = Path(os.environ.get("CTP_SHARED", ROOT.parent / "shared")) / folder
    if not base.is_dir():
        pytest.skip(f"reference material {folder!r} is not beside this checkout")
    return base


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of recorded candles, funding and market rules."""
    return _shared("data")


@pytest.fixture
def shared_vectors() -> Path:
    """Return the folder of published indicator values and recorded replies."""
    return _shared("vectors")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty CTP_HOME that this test alone uses."""
    folder = tmp_path / "home"
    folder.mkdir()
    share_compiled_code(folder)
    monkeypatch.setenv("CTP_HOME", str(folder))
    return folder


# --- tiers ------------------------------------------------------------------------------------------------------------

TIERS = ("browser", "pm2", "postgres", "soak")


def missing_for(tier: str) -> str:
    """Return what this machine lacks for a tier, or an empty string."""
    if tier == "browser" and not any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        return "no Chromium on this machine"
    if tier == "pm2" and not (shutil.which("node") and (ROOT / "node_modules/pm2").is_dir()):
        return "no PM2 in node_modules; ./run test installs it"
    return ""


def _left_out(config: pytest.Config) -> dict[str, str]:
    """Return the tiers that this run leaves out, each with the reason."""
    asked = {tier for tier in TIERS if config.getoption(f"--{tier}")}
    reasons = {tier: f"ask with --{tier}" for tier in ("postgres", "soak") if tier not in asked}
    return reasons | {tier: why for tier in ("browser", "pm2") if tier not in asked and (why := missing_for(tier))}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add one option per tier: asked for, a tier must run; unasked, browser and pm2 run where the machine can."""
    for tier in TIERS:
        parser.addoption(f"--{tier}", action="store_true", help=f"run the tests marked {tier}")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a tier that was asked for and cannot run: a green run must mean that it ran."""
    for tier in TIERS:
        if config.getoption(f"--{tier}") and (why := missing_for(tier)):
            raise pytest.UsageError(f"--{tier}: {why}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take the tests of the tiers left out away from the run."""
    left_out = set(_left_out(config))
    away = [item for item in items if left_out & {marker.name for marker in item.iter_markers()}]
    if away:
        config.hook.pytest_deselected(items=away)
        items[:] = [item for item in items if item not in set(away)]


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say in one line which tiers were left out and why."""
    reasons = _left_out(config)
    return "left out: " + "; ".join(f"{tier} ({why})" for tier, why in reasons.items()) if reasons else None
