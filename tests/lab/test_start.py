"""As whom JupyterLab runs: one's own user alone, another one together, or not at all."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from ctp.cli.doctor_lab import listener, look_at_lab
from ctp.config import PROJECT, LabSettings, Settings, WebSettings
from ctp.errors import ConfigError
from ctp.lab.background import NICE
from ctp.lab.start import OtherUser, _way_in, environment, make_token, may_be_ourselves, other_user, people, prove_apart
from ctp.lab.workspace import lay_out
from tests.web.browserless import Site
from tests.web.seed import World, make_world
from tests.web.stories import tell

MANY = 6


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a home that six people use."""
    made = make_world(tmp_path / "home", 1_700_000_000_000)
    made.database.close()
    return made


def test_nobody_and_one_person_may_use_their_own_user(tmp_path: Path) -> None:
    assert may_be_ourselves(Settings(home=tmp_path))


def test_several_people_may_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (people(world.settings), may_be_ourselves(world.settings)) == (MANY, False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="must run as another user of this machine"):
        other_user(world.settings)


def test_root_becomes_the_named_user_or_a_number_nobody_has(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    nobody = pwd.getpwnam("nobody")
    chosen = world.settings.model_copy(update={"lab": LabSettings(os_user="nobody")})
    assert other_user(chosen) == OtherUser("nobody", nobody.pw_uid, nobody.pw_gid)
    chosen = world.settings.model_copy(update={"lab": LabSettings(os_user="61999")})
    assert other_user(chosen) == OtherUser("61999", 61_999, 61_999)
    for wrong in ("root", str(world.settings.home.stat().st_uid), "no-such-user"):
        with pytest.raises(ConfigError, match=r"lab\.os_user"):
            other_user(world.settings.model_copy(update={"lab": LabSettings(os_user=wrong)}))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_the_proof_names_the_folder_that_keeps_another_user_out(world: World) -> None:
    """Either the other user can run us and is proven unable to enter the home, or the sentence says what to open."""
    user = OtherUser("61888", 61_888, 61_888)
    closed = [
        folder
        for path in (Path(sys.executable).resolve(), PROJECT, world.settings.home)
        for folder in path.parents
        if not folder.stat().st_mode & 0o001
    ]
    try:
        prove_apart(world.settings, user)
        assert not [each for each in closed if not each.is_relative_to("/tmp")]
    except ConfigError as refused:
        assert "chmod o+x" in str(refused) or str(closed[-1]) in str(refused)
    assert world.settings.lab_home.stat().st_uid == user.number


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("cat"), reason="only root can be another user")
def test_another_user_reads_nothing_of_the_home(world: World) -> None:
    for file in ("ctp.db", "keys"):
        done = subprocess.run(["cat", world.settings.home / file], user=61_888, group=61_888, extra_groups=[],
            capture_output=True, text=True, check=False)  # fmt: skip
        assert (done.returncode, "ermission denied" in done.stderr) == (1, True)


def test_its_environment_is_made_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PASSWORD", "CTP_CONFIG", "DATABASE_URL", "PM2_HOME", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "canary-7c1")
    settings = Settings(home=tmp_path / "services")
    made = environment(settings, tmp_path / "lab")
    assert not [name for name, value in made.items() if "canary" in value or "services" in value]
    assert made["CTP_HOME"] == made["HOME"] == str(tmp_path / "lab")


def test_the_service_says_in_one_sentence_why_it_may_not_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.crypto_trader_lab", "--check"],
        env={**os.environ, "CTP_HOME": str(world.settings.home), "CTP__LAB__OS_USER": "no-such-user"},
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n"), "Traceback" in done.stderr) == (78, 1, False)
    assert done.stderr.startswith("crypto-trader-lab: ")


def test_the_token_of_ones_own_lab_is_private_and_stays(tmp_path: Path) -> None:
    file = make_token(tmp_path)
    kept = file.read_text()
    assert (len(kept) >= 40, file.stat().st_mode & 0o077) == (True, 0)
    assert make_token(tmp_path).read_text() == kept
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        make_token(tmp_path)


def test_the_link_with_its_token_is_shown_to_a_person_and_never_to_a_log(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    file = make_token(settings.keys)
    assert file.read_text() in _way_in(settings, file, is_watched=True)
    logged = _way_in(settings, file, is_watched=False)
    assert (file.read_text() in logged, str(file) in logged) == (False, True)


def test_copies_of_notebooks_follow_ours_until_somebody_changes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    for name in ("01_a.ipynb", "02_b.ipynb", "daily_report.ipynb"):
        (ours / name).write_text("one")
    monkeypatch.setattr("ctp.lab.workspace.ORIGINALS", ours)
    copies = lay_out(tmp_path / "theirs") / "research"
    assert sorted(file.name for file in copies.glob("*.ipynb")) == ["01_a.ipynb", "02_b.ipynb"]
    (copies / "02_b.ipynb").write_text("mine")
    for file in ours.glob("*.ipynb"):
        file.write_text("two")
    lay_out(tmp_path / "theirs")
    assert [(copies / name).read_text() for name in ("01_a.ipynb", "02_b.ipynb")] == ["two", "mine"]


def test_the_gateway_hands_nobody_over_to_a_lab_of_its_own_user(tmp_path: Path) -> None:
    """Whatever started it: with several people, its kernels could read every key."""

    async def story(site: Site) -> None:
        person = await site.person("quinn")
        visitor = await site.gateway.people.visitor(person.cookies()["ctp-access"])
        assert visitor is not None
        code = site.gateway.lab_codes.make(visitor.session_id, site.gateway.clock.monotonic_s())
        async with (
            aiohttp.ClientSession() as lab,
            lab.post(f"http://127.0.0.1:{site.gateway.lab_port}/api/v1/lab/enter", json={"code": code}) as answer,
        ):
            assert (answer.status, "서비스와 같은 OS 사용자" in (await answer.json())["error"]) == (403, True)

    tell(tmp_path, story)


def test_the_doctor_finds_a_lab_of_the_services_own_user(world: World, tmp_path: Path) -> None:
    with socket.socket() as running:
        running.bind(("127.0.0.1", 0))
        port = running.getsockname()[1]
        lab = LabSettings(port=port)
        several = world.settings.model_copy(update={"lab": lab})
        assert look_at_lab(several).verdict == "ok"  # bound, not listening
        running.listen()
        assert listener(port) == os.geteuid()
        assert look_at_lab(several).verdict == "wrong"
        assert look_at_lab(Settings(home=tmp_path / "alone", lab=lab)).verdict == "ok"


def test_one_host_name_for_pages_and_lab_is_refused(tmp_path: Path) -> None:
    web = WebSettings(public_url="https://trade.example.com")
    with pytest.raises(ValueError, match="a host name of its own"):
        Settings(home=tmp_path, web=web, lab=LabSettings(public_url="https://trade.example.com:8888"))
    for wrong in ("http://lab.example.com", "https://lab.example.com/x", "lab.example.com"):
        with pytest.raises(ValueError, match="public_url"):
            LabSettings(public_url=wrong)


def test_it_runs_behind_live_money(tmp_path: Path) -> None:
    """Nice, first to go when memory runs out, bounded: seen from inside a process that stepped back."""
    told = (
        "import os, resource; from ctp.lab.background import step_back; step_back(2048);"
        "print(os.nice(0), open('/proc/self/oom_score_adj').read().strip(), resource.getrlimit(resource.RLIMIT_DATA)[0])"
    )
    done = subprocess.run([sys.executable, "-c", told], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[1:] == ["500", str(2048 * 1024 * 1024)]
    assert int(done.stdout.split()[0]) >= NICE
