"""Which addresses and ports may be sent to, however they are spelt."""

from ipaddress import ip_address

import pytest

from app.config import Settings
from app.outbound.address import AddressPolicy, AddressRefused, is_public
from tests.outbound.support import ANYWHERE, PUBLIC_ONLY

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
