"""The visitor's own data as a file: theirs, without keys, and for nobody else."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import sqlalchemy as sa

from ctp.storage.tables import audit_log
from tests.web.browserless import HTML, Site
from tests.web.stories import tell


def test_a_trader_downloads_their_own_data_and_nobody_elses(home: Path) -> None:
    """The link stands in the profile; the deed is in the audit log; nothing stays on the disk."""

    async def story(running: Site) -> None:
        minsu = await running.person("minsu")
        assert "/profile/export" in (await minsu.get("/profile", headers=HTML)).text
        async with minsu.session.get(f"{minsu.base}/profile/export") as answer:
            content = await answer.read()
            assert answer.status == 200 and answer.content_type == "application/zip"
            assert answer.headers["Content-Disposition"].startswith('attachment; filename="ctp-export-')
            assert answer.headers["Cache-Control"] == "no-store"
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            everything = b"".join(map(archive.read, names))
            found = [json.loads(line)["name"] for line in archive.read("data/accounts.jsonl").splitlines()]
        assert sorted(found) == ["선물 주력", "현물 실험"] and "exchange_keys.json" not in names
        for word in (b"alice", b"Perpetuals", b"password_hash"):
            assert word not in everything, word
        assert not list(running.gateway.settings.cache.glob("export-*"))
        with running.world.database.reading() as connection:
            query = sa.select(audit_log.c.subject).where(audit_log.c.action == "user.export")
            assert len(connection.scalars(query).all()) == 1

    tell(home, story)


def test_those_who_own_no_data_find_no_export(home: Path) -> None:
    """A viewer, an operator, an administrator; and a second export waits for the first."""

    async def story(running: Site) -> None:
        for name in ("vera", "otto", "root"):
            person = await running.person(name)
            assert (await person.get("/profile/export")).status == 404
            assert "/profile/export" not in (await person.get("/profile", headers=HTML)).text
        nobody = await running.person()
        assert (await nobody.get("/profile/export")).status in (302, 401)
        minsu = await running.person("minsu")
        running.gateway.exporting.update(range(100))
        assert (await minsu.get("/profile/export")).status == 409

    tell(home, story)
