"""
Which network addresses a webhook may lead to.

`ipaddress.is_global` alone lets through multicast, NAT64 and 6to4 forms of
private addresses, and a cloud's host agent, and differs between patch releases
of Python: hence a table of our own besides it.
"""

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


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour
