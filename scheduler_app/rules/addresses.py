"""Which addresses and ports HTTP targets may call: the public web, and what the site's settings name."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SETTING = "http_allowed_hosts"
WEB_PORTS = frozenset({80, 443, *range(8000, 9000)})
"""What may be called anywhere; other ports may speak something that a request could do harm to."""
WEB_PORTS_TEXT = "80, 443 and 8000 to 8999"

# The later entries of a table are more general; the first that holds names the address.
_NAMED_IPV4 = [
    (ipaddress.ip_network(network), name)
    for network, name in (
        ("0.0.0.0/8", "an unspecified"),
        ("127.0.0.0/8", "a loopback"),
        ("169.254.169.254/32", "a cloud metadata"),
        # Where Azure, Alibaba and Oracle speak to the machines themselves; the first is among public addresses.
        ("168.63.129.16/32", "a cloud metadata"),
        ("100.100.100.200/32", "a cloud metadata"),
        ("192.0.0.192/32", "a cloud metadata"),
        ("169.254.0.0/16", "a link-local"),
        ("10.0.0.0/8", "a private"),
        ("172.16.0.0/12", "a private"),
        ("192.168.0.0/16", "a private"),
        ("100.64.0.0/10", "a shared carrier"),
        ("192.0.0.0/24", "a reserved"),
        ("192.88.99.0/24", "a reserved"),
        ("198.18.0.0/15", "a reserved"),
        ("224.0.0.0/4", "a multicast"),
        ("255.255.255.255/32", "a broadcast"),
        ("240.0.0.0/4", "a reserved"),
    )
]
_NAMED_IPV6 = [
    (ipaddress.ip_network(network), name)
    for network, name in (
        ("::/128", "an unspecified"),
        ("::1/128", "a loopback"),
        ("fd00:ec2::254/128", "a cloud metadata"),
        ("fe80::/10", "a link-local"),
        ("fc00::/7", "a private"),
        ("ff00::/8", "a multicast"),
        ("2001::/32", "a Teredo"),
        # For documentation, and newer than some of the Pythons that this runs on.
        ("3fff::/20", "a reserved"),
    )
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")

_NEVER_BY_NAME = frozenset(
    {"an unspecified", "a cloud metadata", "a link-local", "a multicast", "a broadcast"}
)
"""What a name cannot open: only an address or a network in the setting does."""

HOST_NAME = re.compile(
    r"(?=.{1,253}\.?\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?\Z"
)


def kind_of(address: Address) -> str:
    """What a not public address is, as in "a loopback address"; empty for a public one.

    Addresses that carry another (mapped, NAT64, 6to4) are what they carry.
    """
    carried = _carried(address)
    if carried is not None:
        return kind_of(carried)
    named = _NAMED_IPV4 if address.version == 4 else _NAMED_IPV6
    for network, name in named:
        if address in network:
            return name
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return "a reserved"
    return "" if address.is_global and not address.is_multicast else "a reserved"


def _carried(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a gateway or the system itself would make of an IPv6 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _6TO4:
        return address.sixtofour
    return address.ipv4_mapped


@dataclass(frozen=True)
class Allowance:
    """One entry of the setting: a name or a network, at one port or at all."""

    host: str | Network
    port: int | None

    def opens(self, address: Address, port: int, name: str) -> bool:
        """Whether it lets a call to `address` through that was resolved from `name`."""
        if self.port not in (None, port):
            return False
        if isinstance(self.host, str):
            return self.host == name and kind_of(address) not in _NEVER_BY_NAME
        carried = _carried(address)
        return address in self.host or (carried is not None and carried in self.host)


@lru_cache(maxsize=16)
def read_allowances(entries: tuple[str, ...]) -> tuple[Allowance, ...]:
    """The entries of the setting; one that cannot be read opens nothing."""
    found = (_read_allowance(entry) for entry in entries)
    return tuple(allowance for allowance in found if allowance is not None)


def allowance_problems(entries: Iterable[str]) -> list[str]:
    """Which entries of the setting cannot be read, one sentence each."""
    if isinstance(entries, str):
        return [f"{SETTING} must be a list of hosts, got the text {entries!r}."]
    return [
        f"{SETTING}: {entry!r} is not a host. Write a name, an address or a network, each with or without"
        " a port: internal.example, internal.example:8080, 10.0.0.5, 10.0.0.0/8, [fd00::5]:8080."
        for entry in entries
        if _read_allowance(entry) is None
    ]


def _read_allowance(entry: object) -> Allowance | None:
    if not isinstance(entry, str):
        return None
    host, port = entry.strip().lower(), None
    match = re.fullmatch(r"\[([^\]]*)\](?::(\d{1,5}))?|([^:]*):(\d{1,5})", host)
    if match:
        host = match[1] or match[3]
        digits = match[2] or match[4]
        port = int(digits) if digits else None
    if port is not None and not 0 < port < 65536:
        return None
    try:
        return Allowance(ipaddress.ip_network(host, strict=False), port)
    except ValueError:
        pass
    # A name that ends in a number is a misspelt address.
    if HOST_NAME.match(host) and not host.rstrip(".").rpartition(".")[2].isdigit():
        return Allowance(host.rstrip("."), port)
    return None


def is_opened(address: Address, port: int, name: str, allowances: tuple[Allowance, ...]) -> bool:
    """Whether the setting names this call, public or not."""
    return any(allowance.opens(address, port, name) for allowance in allowances)


def refusal(
    address: Address, port: int, *, name: str, allowances: tuple[Allowance, ...]
) -> str | None:
    """Why a call to this address, resolved from `name`, is not allowed; None when it is."""
    if is_opened(address, port, name, allowances):
        return None
    kind = kind_of(address)
    if kind:
        where = str(address) if name == str(address) else f"{name} is {address}, which"
        entry = str(address) if kind in _NEVER_BY_NAME else name
        return (
            f"{where} is {kind} address; HTTP targets call public addresses only. "
            f"To allow it, add {entry!r} to the setting {SETTING}."
        )
    if port not in WEB_PORTS:
        return port_refusal(name, port)
    return None


def refusal_before_lookup(
    name: str, address: Address | None, port: int, allowances: tuple[Allowance, ...]
) -> str | None:
    """Why no call to `name` can be allowed, whatever it resolves to; None when one may be."""
    if address is None and (name == "localhost" or name.endswith(".localhost")):
        address = ipaddress.IPv4Address("127.0.0.1")
    if address is not None:
        return refusal(address, port, name=name, allowances=allowances)
    may_open = any(
        allowance.port in (None, port)
        and (allowance.host == name or not isinstance(allowance.host, str))
        for allowance in allowances
    )
    return None if port in WEB_PORTS or may_open else port_refusal(name, port)


def port_refusal(name: str, port: int) -> str:
    """Why a call to this port is not allowed."""
    entry = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    return (
        f"Port {port} is not one that HTTP targets call: {WEB_PORTS_TEXT}. "
        f"To allow it, add {entry!r} to the setting {SETTING}."
    )
