"""`DATABASE_URL` in every form that people write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.database.url import parse_database_url

PASSWORD = "hunter2"


def parsed(text: str) -> tuple[str, dict[str, object]]:
    found = parse_database_url(text)
    return found.url.render_as_string(hide_password=False), found.connect_args


def refusal(text: str) -> str:
    with pytest.raises(ValueError, match=r"must|has an option") as refused:
        parse_database_url(text)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///./sync.db", "./sync.db"),
        ("sqlite:////var/lib/sync.db", "/var/lib/sync.db"),
        ("sqlite+aiosqlite:///sync.db", "sync.db"),
        ("sqlite+pysqlite:///sync.db", "sync.db"),
        (" sqlite:///sync.db\n", "sync.db"),
        ("sqlite:///sync.db?check_same_thread=false", "sync.db"),
    ],
)
def test_sqlite_is_a_file(text: str, path: str) -> None:
    found = parse_database_url(text)
    assert found.is_sqlite
    assert (found.url.drivername, found.url.database, found.url.query) == ("sqlite+aiosqlite", path, {})
    assert found.connect_args == {}


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"]
)
def test_postgresql_has_many_names(scheme: str) -> None:
    assert not parse_database_url(f"{scheme}://h/d").is_sqlite
    assert parsed(f"{scheme}://u:p%40@h:5433/d") == ("postgresql+asyncpg://u:p%40@h:5433/d", {})


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
@pytest.mark.parametrize("option", ["sslmode", "ssl"])
def test_the_ssl_mode_goes_to_the_driver(option: str, mode: str) -> None:
    assert parsed(f"postgresql://u@h/d?{option}={mode}") == ("postgresql+asyncpg://u@h/d", {"ssl": mode})


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://[::1]:5432/d",
        "postgresql://u@/d?host=%2Frun%2Fpostgresql",
        "postgresql:///d?host=h&port=5433",
        "postgresql:///d?host=a&host=b&port=1&port=65535",
    ],
)
def test_hosts_are_given_in_every_usual_way(text: str) -> None:
    found = parse_database_url(text)
    assert found.url.render_as_string() == text.replace("postgresql:", "postgresql+asyncpg:")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sync.db",
        "http://h/d",
        "mysql://u:hunter2@h/d",
        "sqlite",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///%3Amemory%3A",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:hunter2?mode=memory&uri=true",
        "sqlite://hunter2/sync.db",
        "sqlite:///hunter2\0.db",
        "sqlite:///sync.db?timeout=hunter2",
        "postgresql://u:hunter2@h",
        "postgresql://u:hunter2@h/",
        "postgresql://u:hunter2@h:port/d",
        "postgresql://u:hunter2@h:0/d",
        "postgresql://u:hunter2@h:65536/d",
        "postgresql://u:hunter2@h/d?port=hunter2",
        "postgresql://u:hunter2@h/d?sslmode=hunter2",
        "postgresql://u:hunter2@h/d?sslmode=require&sslmode=disable",
        "postgresql://u:hunter2@h/d?hunter2=1",
        "postgresql://u:p@ss/?hunter2=@h/d",
    ],
    ids=repr,
)
def test_nonsense_is_refused_without_a_word_of_it(text: str) -> None:
    assert PASSWORD not in refusal(text)


@pytest.mark.slow
@given(
    st.sampled_from(["", "sqlite:///", "postgresql://", "postgresql://u:hunter2@", "postgresql://h/d?"]),
    st.text() | st.text(":/?#@[]%&=hunter2", max_size=30),
)
def test_any_text_is_parsed_or_refused_without_the_password(start: str, rest: str) -> None:
    try:
        found = parse_database_url(start + rest)
    except ValueError as error:
        assert PASSWORD not in str(error)  # noqa: PT017 - a URL is as good as a refusal
    else:
        assert found.url.drivername in ("sqlite+aiosqlite", "postgresql+asyncpg")
        assert found.url.database
