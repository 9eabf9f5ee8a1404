"""`DATABASE_URL` in every form that people write it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.database.url import parse_database_url

PASSWORD = "hunter2"
NOT_REQUIRED = ("", "sslmode=allow&", "sslmode=prefer&")  # TLS: it may be used, and the server is not verified


def parsed(text: str) -> tuple[str, dict[str, object]]:
    found = parse_database_url(text)
    return found.url.render_as_string(hide_password=False), found.connect_args


def refusal(text: str) -> str:
    with pytest.raises(ValueError, match=r"must|has an option|needs") as refused:
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
    ("text", "expected"),
    [
        ("postgresql://[::1]:5432/d", "[::1]:5432/d"),
        ("postgresql://h/d?port=5433", "h:5433/d"),
        ("postgresql://h/d?dbname=e&user=u", "u@h/e"),
        ("postgresql:///d?host=h&port=5433", "h:5433/d"),
        ("postgresql:///d?host=h:5433", "h:5433/d"),
        ("postgresql:///d", "/d"),
        ("postgresql://u@/d?host=%2Frun%2Fpostgresql", "u@/d?host=%2Frun%2Fpostgresql&port=5432"),
    ],
)
def test_a_host_is_given_in_every_usual_way(text: str, expected: str) -> None:
    url, arguments = parsed(text)
    assert url == f"postgresql+asyncpg://{expected}"
    assert arguments == {}


@pytest.mark.parametrize(
    ("text", "hosts", "ports"),
    [
        ("postgresql://u:p%40@a:1,b:2/d", "a,b", "1,2"),
        ("postgresql://u:p%40@a,b:2,[::1]/d?sslmode=require", "a,b,::1", "5432,2,5432"),
        ("postgresql://u:p%40@/d?host=a&host=b&port=1&port=65535", "a,b", "1,65535"),
        ("postgresql://u:p%40@/d?host=a,b&port=7", "a,b", "7,7"),
        ("postgresql://u:p%40@/d?host=a:1,b", "a,b", "1,5432"),
    ],
)
def test_of_several_hosts_the_one_is_chosen_that_accepts_writes(text: str, hosts: str, ports: str) -> None:
    found = parse_database_url(text)
    assert (found.url.username, found.url.password, found.url.database) == ("u", "p@", "d")
    assert found.url.query == {"host": hosts, "port": ports}
    assert found.connect_args["target_session_attrs"] == "read-write"
    assert parsed(f"{text}{'&' if '?' in text else '?'}target_session_attrs=any")[1]["target_session_attrs"] == "any"


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ("connect_timeout=7", {"timeout": 7.0}),
        ("connect_timeout=0", {}),
        ("application_name=a%20b", {"server_settings": {"application_name": "a b"}}),
        ("fallback_application_name=a", {"server_settings": {"application_name": "a"}}),
        ("options=-c%20geqo%3Doff", {"server_settings": {"options": "-c geqo=off"}}),
        ("target_session_attrs=primary", {"target_session_attrs": "primary"}),
        ("passfile=%2Fp", {"passfile": "/p"}),
        ("krbsrvname=k&gsslib=gssapi", {"krbsrvname": "k", "gsslib": "gssapi"}),
        (
            "sslmode=verify-full&sslrootcert=%2Fdev%2Fnull",
            {"ssl": "verify-full", "dsn": "postgresql:///?sslrootcert=%2Fdev%2Fnull"},
        ),
        ("sslcert=%2Fdev%2Fnull&", {"dsn": "postgresql:///?sslcert=%2Fdev%2Fnull"}),
        ("sslkey=k", {"dsn": "postgresql:///?sslkey=k"}),
        ("service=s&servicefile=f", {"dsn": "postgresql:///?service=s", "servicefile": "f"}),
        ("channel_binding=prefer&gssencmode=disable&client_encoding=UTF8&sslsni=1&load_balance_hosts=disable", {}),
    ],
)
def test_options_of_libpq_go_to_the_driver(options: str, arguments: dict[str, object]) -> None:
    assert parsed(f"postgresql://u@h/d?{options}") == ("postgresql+asyncpg://u@h/d", arguments)


def test_keepalives_go_to_the_socket() -> None:
    text = (
        "postgresql://h/d?keepalives=0&keepalives_idle=30&keepalives_interval=3&keepalives_count=4&tcp_user_timeout=9"
    )
    assert parse_database_url(text).socket_options == {
        "SO_KEEPALIVE": 0,
        "TCP_KEEPIDLE": 30,
        "TCP_KEEPINTVL": 3,
        "TCP_KEEPCNT": 4,
        "TCP_USER_TIMEOUT": 9,
    }


@pytest.mark.parametrize(
    "options",
    [
        *(f"sslmode=disable&{name}=missing" for name in ("sslcert", "sslkey", "sslrootcert", "sslcrl")),
        *(f"{mode}{name}=missing" for mode in NOT_REQUIRED for name in ("sslkey", "sslrootcert", "sslcrl")),
        "host=%2Frun%2Fpostgresql&sslcert=missing",
        "host=%2Frun%2Fa,%2Frun%2Fb&sslcert=missing",
    ],
)
def test_a_file_that_the_driver_does_not_read_is_not_looked_for(options: str) -> None:
    assert "missing" in str(parsed(f"postgresql://h/d?{options}")[1]["dsn"])


def test_the_mode_of_the_environment_counts_where_the_url_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGSSLMODE", "disable")
    assert parsed("postgresql://h/d?sslcert=missing")[1] == {"dsn": "postgresql:///?sslcert=missing"}
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert "sslrootcert must name a readable file" in refusal("postgresql://h/d?sslrootcert=missing")


def test_the_certificates_of_the_system_are_used() -> None:
    context = parse_database_url("postgresql://h/d?sslrootcert=system").connect_args["ssl"]
    assert context.check_hostname


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("channel_binding=require", "channel_binding must be disable or prefer"),
        ("gssencmode=require", "gssencmode must be"),
        ("replication=database", "replication must be"),
        ("client_encoding=latin1", "client_encoding must be"),
        ("load_balance_hosts=random", "load_balance_hosts must be"),
        ("sslrootcert=system&sslmode=require", "sslrootcert=system needs sslmode=verify-full"),
        ("sslrootcert=system&sslcert=%2Fmissing.pem", "sslcert must be a readable certificate"),
        ("sslrootcert=system&sslcert=%2Fdev%2Fnull&sslpassword=hunter2", "sslcert must be a readable certificate"),
        *(
            (f"sslmode={mode}&{name}=hunter2", f"{name} must name a readable file")
            for mode in ("require", "verify-full")
            for name in ("sslcert", "sslkey", "sslrootcert", "sslcrl")
        ),
        *((f"{mode}sslcert=hunter2", "sslcert must name a readable file") for mode in NOT_REQUIRED),
        *((f"{mode}sslcert=%2Fdev%2Fnull&sslkey=hunter2", "sslkey must name a readable file") for mode in NOT_REQUIRED),
        ("host=%2Frun%2Fpostgresql,h&sslcert=hunter2", "sslcert must name a readable file"),
        ("target_session_attrs=hunter2", "target_session_attrs must be one of"),
        ("connect_timeout=hunter2", "connect_timeout must be a number"),
        ("keepalives_idle=-1", "keepalives_idle must be a number"),
        ("host=a,b&port=1,2,3", "one port, or one for each host"),
        *((f"{name}=hunter2", f"{name} must be left out") for name in ("hostaddr", "require_auth", "sslcrldir")),
    ],
)
def test_an_option_that_cannot_be_honoured_is_named(options: str, named: str) -> None:
    message = refusal(f"postgresql://u@h/d?{options}")
    assert named in message
    assert PASSWORD not in message


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
@settings(max_examples=40)
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
