"""The networks a key may be used from."""

import ipaddress
from collections.abc import Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_network(text: str) -> Network:
    """Return the network that a text names in CIDR form; an address alone is a network of one.

    Raises `ValueError` for anything else, bits set behind the network's own among it.
    """
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError("write an IPv4 network as one")
    return network


def network_around(text: str) -> Network | None:
    """Return the network that somebody meant who wrote an address within it, as `192.168.1.7/24`; None for no idea."""
    try:
        return parse_network(str(ipaddress.ip_network(text, strict=False)))
    except ValueError:
        return None


def parse_networks(texts: Iterable[str] | None) -> tuple[Network, ...] | None:
    """Return the networks of a key; None when it may be used from anywhere."""
    return None if texts is None else tuple(parse_network(text) for text in texts)


def holds(networks: Sequence[Network] | None, peer: str) -> bool:
    """Whether somebody at an address may use a key; an address that cannot be read is in no network."""
    if networks is None:
        return True
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def is_within(inner: Network, outer: Network) -> bool:
    """Whether one network is a part of another."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # of one version
