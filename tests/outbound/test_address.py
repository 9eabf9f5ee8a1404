"""Which URLs and addresses may be sent to."""

from ipaddress import ip_address

import pytest

from app.config import Settings
from app.outbound.address import AddressPolicy, AddressRefused, is_public

PUBLIC_ONLY = AddressPolicy(allow_private=False, ports=frozenset())
ANYWHERE = AddressPolicy(allow_private=True, ports=frozenset())

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - to be refused
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
IS_PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "198.17.255.255",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450::1",
]
LOOPBACK_SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "127.0.0.01",
    "127.0.0.0x1",
    "0",
    "0x",
    "127.0.0.1.",
    "2130706433.",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "127。0。0。1",
    "127\uff0e0\uff0e0\uff0e1",
    "\uff11\uff12\uff17.0.0.1",
    "①②⑦.0.0.1",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7F00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "\uff4cocalhost",
]
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


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_it_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))
    with pytest.raises(AddressRefused, match="not public"):
        PUBLIC_ONLY.check_address(address)
    with pytest.raises(AddressRefused, match="WEBHOOK_ALLOW_PRIVATE_ADDRESSES"):
        PUBLIC_ONLY.check_url(f"https://{f'[{address}]' if ':' in address else address}/")
    ANYWHERE.check_address(address)


@pytest.mark.parametrize("address", IS_PUBLIC)
def test_it_is_public(address: str) -> None:
    assert is_public(ip_address(address))
    PUBLIC_ONLY.check_address(address)
    PUBLIC_ONLY.check_url(f"https://{f'[{address}]' if ':' in address else address}/hook")


def test_a_zone_makes_no_address_public() -> None:
    with pytest.raises(AddressRefused):
        PUBLIC_ONLY.check_address("fe80::1%eth0")


@pytest.mark.parametrize("text", ["", "example.com", "127.1", "1.2.3.4.5", "::1::"])
def test_what_is_no_address_is_refused_also_where_all_are_allowed(text: str) -> None:
    for policy in (PUBLIC_ONLY, ANYWHERE):
        with pytest.raises(AddressRefused, match="not an IP address"):
            policy.check_address(text)


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
def test_no_spelling_of_this_machine_gets_by(host: str) -> None:
    with pytest.raises(AddressRefused):
        PUBLIC_ONLY.check_url(f"http://{host}/")


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "[fe80::1%25eth0]"])
def test_an_odd_spelling_is_refused_also_where_all_are_allowed(host: str) -> None:
    with pytest.raises(AddressRefused):
        ANYWHERE.check_url(f"http://{host}/")


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


def test_ports_may_be_limited() -> None:
    policy = AddressPolicy(allow_private=False, ports=frozenset({443, 8443}))
    policy.check_url("https://example.com/")
    policy.check_url("http://example.com:8443/")
    for url in ("http://example.com/", "https://example.com:444/"):
        with pytest.raises(AddressRefused, match="WEBHOOK_PORTS"):
            policy.check_url(url)


def test_the_policy_comes_from_the_settings() -> None:
    usual = AddressPolicy(allow_private=False, ports=frozenset({80, 443, 8080, 8443}))
    assert AddressPolicy.of(Settings(_env_file=None)) == usual
    opened = Settings(_env_file=None, webhook_ports=(0,), webhook_allow_private_addresses=True)
    assert AddressPolicy.of(opened) == AddressPolicy(allow_private=True, ports=frozenset())
