"""URLs: which are plain, which host, port and path they name, and how they are stored."""

import pytest

from app.outbound.address import AddressRefused
from tests.outbound.support import ANYWHERE, PUBLIC_ONLY

MALFORMED = [
    "",
    "example.com",
    "//example.com/",
    "/hook",
    "http:example.com",
    "http:/example.com",
    "http:///hook",
    "http://",
    "http://?a",
    "http://:80/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "ws://example.com/",
    "javascript:alert(1)",
    "http://user@example.com/",
    "http://user:word@example.com/",
    "http://@example.com/",
    "http://:@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "http://127.0.0.1\\.example.com/",
    "http://example.com/#",
    "http://example.com/#top",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:-1/",
    "http://example.com:http/",
    "http://example.com:\uff18\uff10/",
    "http://example.com:8\uff10/",
    "http://example.com:\u0668\u0660/",
    "http://example.com:80\N{SUPERSCRIPT TWO}/",
    "http://example.com:8_0/",
    "http://example.com:+80/",
    "http://example.com:80:80/",
    "http://example.com:\N{ZERO WIDTH SPACE}80/",
    "http://[2606:4700::1]:\uff18\uff10/",
    "http://[2606:4700::1]\uff18\uff10/",
    "http://[\uff12606:4700::1]/",
    "http://example.com\uff052f/",
    "http://exam\N{SOFT HYPHEN}ple.com/",
    "http://example.com\N{FULLWIDTH SOLIDUS}@127.0.0.1/",
    "http://example.com\N{FULLWIDTH COMMERCIAL AT}127.0.0.1/",
    "http://example.com\N{FULLWIDTH COLON}80/",
    "http://example.com\N{IDEOGRAPHIC SPACE}/",
    "http\N{LATIN SMALL LETTER LONG S}://example.com/",
    " http://example.com/",
    "http://example.com/ ",
    "http://example.com/a b",
    "http://exam\tple.com/",
    "http://example.com/\r\nX-Header: a",
    "http://example.com/\0",
    "http://[::1",
    "http://::1/",
    "http://[example.com]/",
    "http://[v1.a]/",
    "http://.example.com/",
    "http://example..com/",
    "http://example.com./",
    "http://-example.com/",
    "http://exa%6dple.com/",
    "http://exam,ple.com/",
    "http://*.example.com/",
    f"http://{'a' * 64}.com/",
    f"http://{'a.' * 127}com/",
    f"http://example.com/{'a' * 2048}",
    "http://xn--/",
    "http://\ud800.com/",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_what_is_not_a_plain_url_of_a_host_is_refused(url: str) -> None:
    for policy in (PUBLIC_ONLY, ANYWHERE):
        with pytest.raises(AddressRefused) as refusal:
            policy.check_url(url)
        assert "user:word" not in str(refusal.value)
        assert str(refusal.value).isprintable()


@pytest.mark.parametrize("host", ["example.com.", "example.com..", "127.0.0.1.", "localhost.", "."])
def test_a_dot_at_the_end_is_named(host: str) -> None:
    for policy in (PUBLIC_ONLY, ANYWHERE):
        with pytest.raises(AddressRefused, match="must not end with a dot"):
            policy.check_url(f"http://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/",
        "HTTPS://Example.COM/Hook?a=b&c",
        "http://example.com:8080/a;b/%20?@=:",
        "https://my_host.example.com/",
        "https://münchen.example/",
        "https://xn--mnchen-3ya.example/",
        "https://1.example/",
        "https://127.0.0.1.example.com/",
        "https://notlocalhost/",
        "https://metadata/",
    ],
)
def test_a_name_is_for_the_resolver(url: str) -> None:
    PUBLIC_ONLY.check_url(url)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("HTTPS://Example.COM", ("https", "example.com", 443, b"/")),
        ("http://a.example:8080/b;c?d=%20", ("http", "a.example", 8080, b"/b;c?d=%20")),
        ("https://münchen.example/ü", ("https", "xn--mnchen-3ya.example", 443, b"/%C3%BC")),
        ("http://[2606:4700::1]/", ("http", "2606:4700::1", 80, b"/")),
    ],
)
def test_a_url_is_taken_apart(url: str, parts: tuple[str, str, int, bytes]) -> None:
    assert PUBLIC_ONLY.get_target(url) == parts


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("https://example.com", "https://example.com"),
        ("HTTPS://Example.COM:443/Hook?A=b//c", "https://example.com/Hook?A=b//c"),
        ("http://example.com:08080?a", "http://example.com:8080?a"),
        ("http://example.com:/", "http://example.com/"),
        ("https://münchen。example:8443/ü", "https://xn--mnchen-3ya.example:8443/ü"),
        ("http://[2606:4700::1]:8080/", "http://[2606:4700::1]:8080/"),
    ],
)
def test_the_host_and_port_that_were_checked_are_what_is_stored(url: str, stored: str) -> None:
    assert PUBLIC_ONLY.check_url(url) == stored
    assert PUBLIC_ONLY.get_target(stored) == PUBLIC_ONLY.get_target(url)
    assert PUBLIC_ONLY.check_url(stored) == stored
