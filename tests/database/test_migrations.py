"""One history of migrations, up and down on both databases, in agreement with the models."""

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from app.config import Settings
from app.database.engine import Database
from app.database.migrations import LATER, NotMigrated, Schema, alembic_config, prepare_schema
from app.database.migrator import MIGRATION_LOCK
from app.main import create_app
from tests.conftest import ROOT, Alembic, MakeSettings
from tests.support.application import serve_in_process
from tests.support.fork_server import ForkServer
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.postgres import PostgresServer
from tests.support.waiting import get_once_connected, until

pytestmark = pytest.mark.slow

DOCUMENTED_COLUMNS = {"id", "file_id", "event_type", "created_at", "processed", "processed_at", "metadata"}


async def tables(database: Database) -> set[str]:
    async with database.read() as session:
        connection = await session.connection()
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_the_history_goes_down_and_up_again(database: Database, database_url: str, alembic: Alembic) -> None:
    webhooks = {"subscriptions", "deliveries", "full_lanes", "delivery_attempts"}
    names = ("sources", "checks", "differences", "file_checks", "findings", "repairs")
    consistency = {f"consistency_{name}" for name in names}
    ours = {"files", "ledger_head", "ledger_identity", "sweep_cursor", "sync_events", *webhooks, *consistency}
    assert await tables(database) == {"alembic_version", *ours}
    alembic(database_url, "downgrade", "base")
    assert await tables(database) == {"alembic_version"}
    alembic(database_url, "upgrade", "head")
    alembic(database_url, "downgrade", "-1")
    alembic(database_url, "upgrade", "head")
    assert "sync_events" in await tables(database)


def test_models_and_migrations_agree(database_url: str, alembic: Alembic) -> None:
    assert "No new upgrade operations detected" in alembic(database_url, "check").stdout


async def test_a_missing_migration_would_be_noticed(database: Database, database_url: str, alembic: Alembic) -> None:
    async with database.transaction() as session:
        await session.execute(text("DROP INDEX ix_sync_events_file_id_position"))
    with pytest.raises(subprocess.CalledProcessError):
        alembic(database_url, "check")


def test_a_migration_needs_its_database_alone(
    database_url: str, alembic: Alembic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("AUTH0_DOMAIN", "")
    assert "No new upgrade operations detected" in alembic(database_url, "check").stdout


# Alembic's own command line, as often as there are lists of arguments, which name a database first.
COMMANDS = """
import json, os, sys
from alembic.config import main
for url, *arguments in json.loads(sys.argv[1]):
    os.environ["DATABASE_URL"] = url
    main(arguments, "alembic")
"""


def test_a_revision_can_be_generated_and_applied(sqlite_url: str, postgres_url: str, tmp_path: Path) -> None:
    for name in ("alembic", "app", "alembic.ini"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    models = tmp_path / "app" / "files" / "models.py"
    column = "    revision: Mapped[int]\n"
    models.write_text(models.read_text().replace(column, column + "    size: Mapped[int | None]\n"))
    generate, upgrade, check = ["revision", "--autogenerate", "-m", "File sizes"], ["upgrade", "head"], ["check"]
    commands = [[sqlite_url, *generate], *([url, *do] for url in (sqlite_url, postgres_url) for do in (upgrade, check))]
    subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)], cwd=tmp_path, check=True, capture_output=True
    )
    [revision] = (tmp_path / "alembic" / "versions").glob("*file_sizes.py")
    assert "sa.Column('size', sa.BigInteger(), nullable=True)" in revision.read_text()


async def test_the_documented_columns_are_there(database: Database) -> None:
    async with database.read() as session:
        connection = await session.connection()
        columns = await connection.run_sync(lambda sync: inspect(sync).get_columns("sync_events"))
    assert {column["name"] for column in columns} >= DOCUMENTED_COLUMNS


@on_sqlite
async def test_sqlite_migrates_itself(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings(database_url=f"sqlite:///{tmp_path}/new.db")
    async with serve_in_process(create_app(settings)) as client:
        assert (await get_once_connected(client)).json()["status"] == "healthy"
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_index_on_a_table_of_an_earlier_migration_holds_up_no_writer(postgres_url: str, alembic: Alembic) -> None:
    _, *migrations = alembic(postgres_url, "upgrade", "head", "--sql").stdout.split("-- Running upgrade ")
    assert len(migrations) >= 7
    for migration in migrations:
        created = re.findall(r"CREATE TABLE (\w+)", migration)
        assert [
            (migration.partition("\n")[0], table)
            for table in re.findall(r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)\w+ ON (\w+)", migration)
            if table not in created
        ] == []
    assert "CREATE INDEX CONCURRENTLY" in "".join(migrations)


async def prepare(settings: Settings) -> None:
    """Do what a start does to the schema."""
    database = Database(settings)
    try:
        await prepare_schema(database, settings, Schema())
    finally:
        await database.close()


async def test_a_start_migrates_or_is_refused_as_the_setting_says(
    make_settings: MakeSettings, database_url: str, alembic: Alembic, database: Database
) -> None:
    alembic(database_url, "downgrade", "base")
    with pytest.raises(NotMigrated, match=r"run `alembic upgrade head`$"):
        await prepare(make_settings(database_migrate_on_start=False))
    assert await tables(database) == {"alembic_version"}
    await prepare(make_settings())
    assert "sync_events" in await tables(database)
    await prepare(make_settings(database_migrate_on_start=False))


@on_postgresql
async def test_replicas_that_start_together_migrate_once(
    make_settings: MakeSettings, database_url: str, alembic: Alembic, caplog: pytest.LogCaptureFixture
) -> None:
    alembic(database_url, "downgrade", "base")
    caplog.set_level("INFO")
    await asyncio.gather(*(prepare(make_settings()) for _ in range(4)))
    assert caplog.text.count("Running upgrade  -> 0001") == 1
    assert caplog.text.count("another process migrates the database") >= 1


@on_postgresql
async def test_a_start_that_waits_for_a_later_release_to_migrate_leaves_it_at_that(
    make_settings: MakeSettings, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with database.engine.connect() as later:
        await later.execute(text("UPDATE alembic_version SET version_num = '0009'"))
        await later.execute(text(f"SELECT pg_advisory_lock({MIGRATION_LOCK})"))
        await later.commit()
        starting = asyncio.create_task(prepare(make_settings()))
        await until(lambda: "another process migrates the database" in caplog.text)
        await later.execute(text("UPDATE alembic_version SET version_num = 'later'"))
        await later.execute(text(f"SELECT pg_advisory_unlock({MIGRATION_LOCK})"))
        await later.commit()
    await starting
    assert LATER in caplog.text


@on_postgresql
async def test_behind_a_pooler_or_without_rights_a_start_says_who_has_to_migrate(
    make_settings: MakeSettings, database_url: str, alembic: Alembic, postgres: PostgresServer
) -> None:
    alembic(database_url, "downgrade", "base")
    with pytest.raises(NotMigrated, match="run `alembic upgrade head`, with a DATABASE_URL that leads past the pooler"):
        await prepare(make_settings(database_prepared_statements=False))
    name = database_url.rpartition("/")[2]
    postgres.sql(f"CREATE ROLE guest_{name} LOGIN; GRANT SELECT ON alembic_version TO guest_{name}", name)
    guest = database_url.replace("postgres@", f"guest_{name}@")
    with pytest.raises(NotMigrated, match="as the owner of the tables; this role may not migrate"):
        await prepare(make_settings(database_url=guest))
    postgres.sql(f"DROP OWNED BY guest_{name}; DROP ROLE guest_{name}", name)


def test_the_configuration_is_found_from_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(str(alembic_config().get_main_option("script_location"))) == ROOT / "alembic"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://postgres@127.0.0.1:1/sync", "Connect call failed"),
        ("postgresql://guarded:secret@{address}/postgres", 'password authentication failed for user "guarded"'),
        ("{server}/no_such_database", 'database "no_such_database" does not exist'),
        ("postgresql://nobody:secret@{address}/postgres", 'role "nobody" does not exist'),
    ],
)
def test_alembic_says_in_one_sentence_why_it_cannot_connect(
    postgres: PostgresServer, postgres_url: str, fork_server: ForkServer, url: str, expected: str
) -> None:
    postgres.require_password("guarded")
    server = postgres_url.rpartition("/")[0]
    url = url.format(server=server, address=server.rpartition("@")[2])
    environment = {**os.environ, "DATABASE_URL": url, "LOG_LEVEL": "WARNING"}
    done = fork_server.run(("alembic", "upgrade", "head"), environment)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("DATABASE_URL: ")
    assert expected in line
    assert "secret" not in line
