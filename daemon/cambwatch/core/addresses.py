"""
Which network addresses a webhook may lead to, and which hosts are private without resolving them.

`ipaddress.is_global` alone lets through multicast, NAT64 and 6to4 forms of
private addresses, and a cloud's host agent, and differs between patch releases
of Python: hence a table of our own besides it.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_REFUSED: tuple[IPv4Network | IPv6Network, ...] = (
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("192.0.0.0/24"),  # protocol assignments, among them the anycast address of routers
    IPv4Network("168.63.129.16/32"),  # Azure's host agent, in a public range
    IPv6Network("::/96"),  # IPv4-compatible
    IPv6Network("64:ff9b:1::/48"),  # local NAT64
    IPv6Network("fec0::/10"),  # site-local
    IPv6Network("3fff::/20"),  # documentation
    IPv6Network("5f00::/16"),  # segment routing
    IPv6Network("2001::/23"),  # Teredo and other protocol assignments
)
_NAT64 = IPv6Network("64:ff9b::/96")
# As inet_aton reads a number: hexadecimal, octal or decimal.
_NUMBER = re.compile(
    r"0x(?P<hex>[0-9a-f]{1,16})|0(?P<octal>[0-7]{1,16})|(?P<decimal>0|[1-9][0-9]{0,15})", re.IGNORECASE
)


def is_public(address: str) -> bool:
    """
    Whether *address* is one of the open internet; False for anything that is no address.

    An IPv6 address that carries an IPv4 one (mapped, NAT64, 6to4) is judged by that.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    inner = _embedded(ip) if isinstance(ip, IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        return False
    return not any(ip in net for net in _REFUSED if net.version == ip.version)


def literal_address(host: str) -> str | None:
    """
    The address in *host*, the ASCII form of a URL's host without brackets; None if it is a name.

    Also reads the forms that only a resolver accepts: 127.1, 0x7f000001, 2130706433 and
    0177.0.0.1 (inet_aton), each with or without a trailing dot.
    """
    bare = host.rstrip(".")
    try:
        ip_address(bare)
    except ValueError:
        return _odd_ipv4(bare)
    return bare


def _odd_ipv4(text: str) -> str | None:
    """*text* as inet_aton(3) reads it: one to four numbers; the last one fills the remaining bytes."""
    found = [_NUMBER.fullmatch(part) for part in text.split(".")]
    numbers = [
        int(one["hex"] or one["octal"] or one["decimal"], 16 if one["hex"] else 8 if one["octal"] else 10)
        for one in found
        if one
    ]
    if len(numbers) != len(found) or len(numbers) > 4:
        return None
    *first, last = numbers
    if any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        return None
    return str(IPv4Address(bytes(first) + last.to_bytes(4 - len(first))))


def private_host(host: str) -> str | None:
    """
    The private address or name in *host* (as above); None if it is public, or cannot be judged by its text.

    Private names are localhost and the names below it, which lead to this machine (RFC 6761,
    6.3). Any other name must be resolved first.
    """
    address = literal_address(host)
    if address is not None:
        return None if is_public(address) else address
    return host if _is_localhost(host) else None


def is_loopback(host: str) -> bool:
    """Whether *host* (as above) is this machine: 127.0.0.0/8, also mapped into IPv6, ::1, localhost or below that."""
    address = literal_address(host)
    if address is None:
        return _is_localhost(host)
    ip = ip_address(address)
    return ((ip.ipv4_mapped if isinstance(ip, IPv6Address) else None) or ip).is_loopback


def _is_localhost(host: str) -> bool:
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour
