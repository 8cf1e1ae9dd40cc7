"""Where a webhook may lead."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network
from socket import inet_aton, inet_ntoa

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.addresses import is_loopback, is_public, literal_address, private_host

# What `ipaddress.is_global` lets through, in some release of Python or in all of them.
SLIPS = [
    "224.0.0.1",
    "ff02::1",
    "ff0e::1",
    "192.88.99.1",
    "168.63.129.16",
    "::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "fec0::1",
    "3fff::1",
    "5f00::1",
    "192.0.0.9",
    "192.0.0.10",
    "2001::1",
    "2001:1::1",
    "2001:20::1",
]
PRIVATE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "100::1",
    "2001:db8::1",
    "2002:a00:1::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "ff01::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "192.167.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]
NONSENSE = [
    "",
    " ",
    "localhost",
    "example.com",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "1.1.1.1.",
    " 1.1.1.1",
    "1.1.1.1/32",
    "[::1]",
    "1.1.1.1%eth0",
    "1.1.1.1:80",
    "::%",
    "1.1.1.256",
    "١.1.1.1",
    "\0",
    "\ud800",
]

NAT64 = IPv6Network("64:ff9b::/96")


@pytest.mark.parametrize("address", SLIPS + PRIVATE)
def test_addresses_of_other_networks_are_refused(address: str) -> None:
    """Ours, the machine's, the cloud's, the documentation's, everybody's at once."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_allowed(address: str) -> None:
    """Also one that carries such an IPv4 address, as in a network that has only IPv6."""
    assert is_public(address)


@pytest.mark.parametrize("address", NONSENSE)
def test_what_is_no_address_is_refused(address: str) -> None:
    """However some library may read it."""
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_form_of_an_address_does_not_matter(address: IPv4Address) -> None:
    """Mapped, NAT64 and 6to4 are what they carry."""
    number = int(address)
    forms = [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address(0x2002 << 112 | number << 80),
    ]
    assert {is_public(str(form)) for form in forms} == {is_public(str(address))}


@given(st.ip_addresses())
def test_public_addresses_are_global(address: IPv4Address | IPv6Address) -> None:
    """Our table only takes away; what carries another address is judged by that one alone."""
    carries = isinstance(address, IPv6Address) and (address.ipv4_mapped or address.sixtofour or address in NAT64)
    assert not is_public(str(address)) or carries or (address.is_global and not address.is_multicast)


@given(st.text())
def test_every_text_has_an_answer(text: str) -> None:
    """And none raises."""
    assert is_public(text) in {True, False}


LITERALS = {
    "127.0.0.1": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "127.1": "127.0.0.1",
    "0x7f.1": "127.0.0.1",
    "0X7F.0.0.1": "127.0.0.1",
    "0x7f000001": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "017700000001": "127.0.0.1",
    "0177.0.0.1": "127.0.0.1",
    "10.1": "10.0.0.1",
    "0": "0.0.0.0",
    "134744072": "8.8.8.8",
    "0x08.8.010.8": "8.8.8.8",
    "::1": "::1",
    "::ffff:10.0.0.1": "::ffff:10.0.0.1",
    "fe80::1%eth0": "fe80::1%eth0",
    "fe80::1%25eth0": "fe80::1%25eth0",
}
NAMES = [
    "",
    ".",
    "a",
    "cafe",
    "0xcafe.x",
    "example.com",
    "127.0.0.1.example.com",
    "1.1.1.1.1",
    "256.1.1.1",
    "08.1",
    "1e3",
    "1.1.1.1 x",
]


@pytest.mark.parametrize(("host", "address"), LITERALS.items())
def test_an_address_is_found_in_every_form_that_a_resolver_takes(host: str, address: str) -> None:
    assert literal_address(host) == address
    assert private_host(host) == (None if is_public(address) else address)


@given(st.lists(st.from_regex(r"\A(0x[0-9a-fA-F]{1,9}|[0-9]{1,11}|[a-f0-9x]{0,3})\Z"), min_size=1, max_size=5))
def test_addresses_are_read_as_the_resolver_reads_them(parts: list[str]) -> None:
    """The C library's own reader is the witness."""
    host = ".".join(parts)
    try:
        expected = inet_ntoa(inet_aton(host))
    except OSError:
        expected = None
    assert literal_address(host) == expected or host.endswith(".")


@pytest.mark.parametrize("host", NAMES)
def test_a_name_is_no_address(host: str) -> None:
    assert literal_address(host) is None
    assert private_host(host) is None


@given(st.ip_addresses(v=4), st.sampled_from(["{}", "{:#x}", "0{:o}"]), st.integers(1, 4))
def test_every_odd_form_of_an_address_is_that_address(address: IPv4Address, form: str, parts: int) -> None:
    packed = address.packed
    numbers = [*packed[: parts - 1], int.from_bytes(packed[parts - 1 :])]
    assert literal_address(".".join(form.format(number) for number in numbers)) == str(address)


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "localhost.", "a.localhost", "A.b.LOCALHOST."])
def test_localhost_and_the_names_below_it_are_private(host: str) -> None:
    assert private_host(host) == host
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1", "127.1", "0x7f000001", "127.0.0.1."]
)
def test_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "::ffff:10.0.0.1", "localhost.example", "xlocalhost", "", "cafe"]
)
def test_other_machines_and_every_interface_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@given(st.text())
def test_every_host_has_an_answer(text: str) -> None:
    assert is_loopback(text) in {True, False}
    assert private_host(text) is None or literal_address(text) or text.lower().rstrip(".").endswith("localhost")
