"""Settings: the original's defaults, every variable's effect, and refusals that name the variable and not the value."""

import re
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings, load_settings

AUTH0 = "example.eu.auth0.com"

ORIGINAL_DEFAULTS = {
    "database_url": "sqlite:///./sync.db",
    "api_title": "Synchronization Service API",
    "api_version": "1.0.0",
    "api_description": "Service for handling synchronization events",
    "access_token_expire_minutes": 60,
    "api_audience": "https://cloud-api.rakai/",
    "algorithms": ("RS256",),
    "sync_event_process_interval": 5,
}
ORIGINAL_FILE = """\
# Database Configuration
DATABASE_URL=sqlite:///./sync.db
# For PostgreSQL: DATABASE_URL=postgresql://user:password@localhost/sync_db

# API Configuration
API_TITLE=Synchronization Service API
API_VERSION=1.0.0
API_DESCRIPTION=Service for handling synchronization events

# Security Settings
SECRET_KEY=your_secure_secret_key_here
ACCESS_TOKEN_EXPIRE_MINUTES=60

# Auth0 Configuration
AUTH0_DOMAIN=your-auth0-domain.auth0.com
API_AUDIENCE=https://cloud-api.rakai/
ALGORITHMS=RS256

# Service Settings
SYNC_EVENT_PROCESS_INTERVAL=5
"""
# Every variable, with a text that is not its default and what that text means.
TEXTS: dict[str, tuple[str, Any]] = {
    "DATABASE_URL": ("postgres://u:p@h/d", "postgres://u:p@h/d"),
    "DATABASE_PREPARED_STATEMENTS": ("false", False),
    "DATABASE_MIGRATE_ON_START": ("false", False),
    "API_TITLE": ("Events", "Events"),
    "API_VERSION": ("2", "2"),
    "API_DESCRIPTION": ("ü = ü", "ü = ü"),
    "SECRET_KEY": ("k" * 32, "k" * 32),
    "SECRET_KEY_FILE": ("/run/key", Path("/run/key")),
    "AUTH0_DOMAIN": ("localhost:8443", "localhost:8443"),
    "API_AUDIENCE": ("https://other/", "https://other/"),
    "ALGORITHMS": ("RS256, ES384", ("RS256", "ES384")),
    "CORS_ALLOW_ORIGINS": ("https://a.example, http://localhost:3000", ("https://a.example", "http://localhost:3000")),
    "AUTH_ENFORCE_SCOPES": ("true", True),
    "AUTH0_CONSOLE_CLIENT_ID": ("aB3_x-9", "aB3_x-9"),
    "CONSOLE_ENABLED": ("false", False),
    "CHANGES_CURSOR_VERSION": ("1", 1),
    "SYNC_EVENT_PROCESS_INTERVAL": ("0.25", 0.25),
    "ENVIRONMENT": ("production", "production"),
    "LOG_LEVEL": ("DEBUG", "DEBUG"),
    "LOG_FORMAT": ("json", "json"),
    "MAX_EVENT_BYTES": ("2048", 2048),
    "MAX_BATCH_BYTES": ("4096", 4096),
    "MAX_HEADER_BYTES": ("2048", 2048),
    "SERVER_HOST": ("0.0.0.0", "0.0.0.0"),  # noqa: S104 - nothing listens there
    "ROOT_PATH": ("/api/sync/", "/api/sync"),
    "FORWARDED_ALLOW_IPS": ("10.0.0.0/8, ::1", ("10.0.0.0/8", "::1")),
    "RATE_LIMIT_PER_SECOND": ("0.5", 0.5),
    "SHUTDOWN_DELAY": ("2.5", 2.5),
    "METADATA_SERVICE_URL": ("http://metadata:8001/", "http://metadata:8001"),
    "BLOCK_STORAGE_SERVICE_URL": ("https://blocks.example.com/api", "https://blocks.example.com/api"),
    "CONSISTENCY_TOKEN": ("eyJ.x.y", "eyJ.x.y"),
    "CONSISTENCY_TOKEN_SEES_ALL": ("true", True),
    "AUTH0_CLIENT_ID": ("me", "me"),
    "AUTH0_CLIENT_SECRET": ("se cret", "se cret"),
    "WEBHOOK_ALLOW_PRIVATE_ADDRESSES": ("true", True),
    "WEBHOOK_PORTS": ("443, 9443", (443, 9443)),
    "WEBHOOK_ENCRYPTION_KEYS": (f"{'a' * 32},{'b' * 32}", f"{'a' * 32},{'b' * 32}"),
}
TEXTS |= {
    name.upper(): ("7", 7)
    for name, field in Settings.model_fields.items()
    if field.annotation in (int, float) and name.upper() not in TEXTS
}
FRACTIONS = (
    "SYNC_EVENT_PROCESS_INTERVAL",
    "JWKS_TIMEOUT_SECONDS",
    "HEADER_TIMEOUT",
    "RATE_LIMIT_PER_SECOND",
    "SHUTDOWN_DELAY",
)
COMPANIONS = {
    "ENVIRONMENT": {"AUTH0_DOMAIN": AUTH0},
    "JWKS_MAX_AGE_SECONDS": {"JWKS_REFRESH_SECONDS": "2"},
    "METADATA_SERVICE_URL": {"BLOCK_STORAGE_SERVICE_URL": "http://blocks"},
    "BLOCK_STORAGE_SERVICE_URL": {"METADATA_SERVICE_URL": "http://metadata"},
    "AUTH0_CLIENT_ID": {"AUTH0_CLIENT_SECRET": "x", "AUTH0_DOMAIN": AUTH0},
    "AUTH0_CLIENT_SECRET": {"AUTH0_CLIENT_ID": "x", "AUTH0_DOMAIN": AUTH0},
}


@pytest.fixture(autouse=True)
def blank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable is set, and there is no `.env`."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def set_variables(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_the_originals_defaults_stand() -> None:
    settings = load_settings()
    assert {name: getattr(settings, name) for name in ORIGINAL_DEFAULTS} == ORIGINAL_DEFAULTS


def test_the_originals_file_loads(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(ORIGINAL_FILE)
    settings = load_settings()
    assert {name: getattr(settings, name) for name in ORIGINAL_DEFAULTS} == ORIGINAL_DEFAULTS
    assert settings.auth0_domain == "your-auth0-domain.auth0.com"


def test_there_is_no_default_secret_and_no_default_tenant() -> None:
    settings = load_settings()
    assert (settings.secret_key, settings.auth0_domain, settings.local_mode) == ("", "", True)


def test_the_two_ports_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_PORT", "8000")
    with pytest.raises(SystemExit, match="METRICS_PORT must differ from SERVER_PORT"):
        load_settings()


def test_the_table_has_every_variable() -> None:
    assert {name.upper() for name in Settings.model_fields} == set(TEXTS)


@pytest.mark.parametrize("name", TEXTS)
def test_a_variable_takes_effect(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text, value = TEXTS[name]
    assert getattr(load_settings(), name.lower()) != value
    variables = {**COMPANIONS.get(name, {}), name: text}
    (tmp_path / ".env").write_text("".join(f"{key}={one}\n" for key, one in variables.items()))
    assert getattr(load_settings(), name.lower()) == value
    (tmp_path / ".env").unlink()
    set_variables(monkeypatch, variables)
    assert getattr(load_settings(), name.lower()) == value


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_TITLE=file\nAPI_VERSION=file\nUNKNOWN=1\n")
    monkeypatch.setenv("API_TITLE", "environment")
    assert (load_settings().api_title, load_settings().api_version) == ("environment", "file")


@pytest.mark.parametrize("name", TEXTS)
def test_an_empty_variable_means_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    assert getattr(load_settings(), name.lower()) == Settings.model_fields[name.lower()].default


def refusal(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    set_variables(monkeypatch, variables)
    with pytest.raises(SystemExit) as refused:
        load_settings()
    return str(refused.value.code)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, "hunter2") for name, (_, value) in TEXTS.items() if not isinstance(value, str | Path | tuple)),
        *((name, "-987654") for name, (_, value) in TEXTS.items() if isinstance(value, int | float)),
        *((name, "98765432109") for name, (_, value) in TEXTS.items() if type(value) in (int, float)),
        *((name, text) for name in FRACTIONS for text in ("nan", "inf")),
        ("MAX_HEADER_BYTES", "1023"),
        ("RATE_LIMIT_BURST", "0"),
        ("MAX_CONCURRENT_REQUESTS", "0"),
        ("SERVER_PORT", "65536"),
        ("SERVER_PORT", "0"),
        ("METRICS_PORT", "65536"),
        ("KEEP_ALIVE_TIMEOUT", "1.5"),
        ("DATABASE_STATEMENT_TIMEOUT", "0.0001"),
        ("DATABASE_URL", "mysql://user:hunter2@host/db"),
        ("DATABASE_URL", "hunter2"),
        ("SECRET_KEY", "hunter2"),
        *(
            ("AUTH0_DOMAIN", f"{text}")
            for text in ("https://hunter2/", "hunter2/", "a hunter2", "hunter2:", "hunter2:x")
        ),
        *(("AUTH0_DOMAIN", f"{text}") for text in ("hunter2:65536", "hunter2:0", "u@hunter2", "hünter2", "hunter2\n")),
        *(
            ("CORS_ALLOW_ORIGINS", text)
            for text in ("b.example", "https://a.example/", "HTTPS://A.example", "*,http://a")
        ),
        *(("ALGORITHMS", text) for text in ("HS256", "none", "RS256,HUNTER2", ",")),
        *(("ROOT_PATH", text) for text in ("api/hunter2", "https://hunter2", "//hunter2", "/a?hunter2")),
        *(("FORWARDED_ALLOW_IPS", text) for text in ("hunter2", "10.0.0.1/8", ",127.0.0.1:80")),
        ("ENVIRONMENT", "hunter2"),
        ("LOG_LEVEL", "hunter2"),
        *(
            ("METADATA_SERVICE_URL", text)
            for text in ("hunter2", "ftp://hunter2", "http://u:hunter2@h", "http://h/?hunter2", "http://h/#hunter2")
        ),
        ("BLOCK_STORAGE_SERVICE_URL", "hunter2"),
        *(("CONSISTENCY_TOKEN", text) for text in ("hunter2 x", "hünter2", "hunter2\n")),
        ("AUTH0_CONSOLE_CLIENT_ID", "hunter2!"),
        ("LOG_FORMAT", "hunter2"),
    ],
)
def test_nonsense_is_refused_by_name(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal({name: text}, monkeypatch)
    assert re.fullmatch(rf"Sync Service cannot start: {name}: [^\n]+", message), message
    assert "hunter2" not in message.lower()
    assert text not in message.partition(f"{name}:")[2] or text in ("nan", "inf", ",")


def test_every_wrong_variable_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal({"LOG_LEVEL": "loud", "WEB_CONCURRENCY": "0", "DATABASE_URL": "x"}, monkeypatch)
    assert re.findall(r"^  (\w+):", message, re.MULTILINE) == ["DATABASE_URL", "WEB_CONCURRENCY", "LOG_LEVEL"]


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"METADATA_SERVICE_URL": "http://metadata"}, "BLOCK_STORAGE_SERVICE_URL"),
        ({"AUTH0_CLIENT_ID": "x", "AUTH0_DOMAIN": AUTH0}, "AUTH0_CLIENT_SECRET"),
        ({"AUTH0_CLIENT_ID": "x", "AUTH0_CLIENT_SECRET": "y"}, "AUTH0_DOMAIN"),
    ],
)
def test_what_is_set_alone_is_refused(variables: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert named in refusal(variables, monkeypatch)


def test_keys_may_not_age_out_between_refreshes(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"JWKS_REFRESH_SECONDS": "60", "JWKS_MAX_AGE_SECONDS": "119"}
    assert "JWKS_REFRESH_SECONDS" in refusal(variables, monkeypatch)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"API_TITLE=\xff\n")
    with pytest.raises(SystemExit, match=r"\.env"):
        load_settings()


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, "AUTH0_DOMAIN"),
        ({"AUTH0_DOMAIN": "your-auth0-domain.auth0.com"}, "AUTH0_DOMAIN"),
        ({"AUTH0_DOMAIN": AUTH0, "WEB_CONCURRENCY": "2"}, "WEB_CONCURRENCY"),
    ],
)
def test_production_refuses_what_is_only_good_for_development(
    variables: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_variables(monkeypatch, variables)
    assert load_settings().environment == "development"
    assert named in refusal({"ENVIRONMENT": "production"}, monkeypatch)


def test_a_placeholder_of_a_key_that_signs_nothing_is_no_reason_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"ENVIRONMENT": "production", "AUTH0_DOMAIN": AUTH0, "SECRET_KEY": "your_secure_secret_key_here"}
    set_variables(monkeypatch, variables)
    assert load_settings().environment == "production"


def test_production_takes_sqlite_with_one_worker_and_postgresql_with_many(monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, {"ENVIRONMENT": "production", "AUTH0_DOMAIN": AUTH0})
    assert load_settings().log_json
    set_variables(monkeypatch, {"WEB_CONCURRENCY": "4", "DATABASE_URL": "postgresql://h/db"})
    assert load_settings().web_concurrency == 4


def test_secrets_are_not_in_the_representation() -> None:
    shown = repr(Settings(_env_file=None, secret_key="k" * 32, database_url="postgresql://u:hunter2@h/d"))
    assert "hunter2" not in shown
    assert "k" * 32 not in shown
    assert "api_title" in shown
