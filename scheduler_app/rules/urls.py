"""Read the URL of an HTTP target, in one spelling only: what is checked is what is called."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from .addresses import HOST_NAME, Address
from .problems import Invalid, Problem

MAX_CHARS = 2000
DEFAULT_PORTS = {"http": 80, "https": 443}
EXAMPLE = "https://api.example.com/path?query"

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<slashes>//)?"
    r"(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<fragment>#.*)?\Z",
    re.DOTALL,
)
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>.*))?\Z", re.DOTALL)
# What a URL may hold as it is; quote() turns the rest, which is not ASCII, into percent signs.
_KEPT = "!#$%&'()*+,/:;=?@[]~"
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Url:
    """An http(s) URL, taken apart."""

    scheme: str
    host: str
    """A name in lower case without a final dot, or an address in its canonical form without brackets."""
    port: int
    path: str
    """What the request line asks for: path and query, percent-encoded."""
    address: Address | None
    """The host, when it is an address."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


@lru_cache(maxsize=1024)
def parse_url(text: str) -> Url:
    """Raises `Invalid` with what is wrong, under the field `target`."""
    # A misread password must not be shown, so no message repeats the text.
    if len(text) > MAX_CHARS:
        raise _invalid(f"The URL has {len(text):,} characters; at most {MAX_CHARS:,} are allowed.")
    if match := re.search(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ud800-\udfff]", text):
        raise _invalid(
            f"The URL contains {_character(match[0])}. Write it percent-encoded"
            f"{' as %20' if match[0] == ' ' else ''}, or leave it out."
        )
    url = _URL.match(text)
    if url is None or not url["slashes"]:
        raise _invalid(f"This is not a full URL; write it like {EXAMPLE}.")
    scheme = url["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise _invalid(f"The scheme {scheme!r} is not supported; use http or https.")
    if "@" in url["authority"]:
        raise _invalid(
            "A URL with a user name or password in it is not accepted; send them in an Authorization header."
        )
    match = _HOST_AND_PORT.match(url["authority"])
    if match is None or not match["host"]:
        raise _invalid(f"The URL has no host; write it like {EXAMPLE}.")
    host, address = _host(match["host"].lower())
    return Url(
        scheme=scheme,
        host=host,
        port=_port(match["port"], scheme),
        path=quote((url["path"] or "/") + (url["query"] or ""), safe=_KEPT),
        address=address,
    )


def _host(host: str) -> tuple[str, Address | None]:
    if host.startswith("["):
        try:
            address: Address = ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise _invalid("What stands in brackets in the URL is not an IPv6 address.") from None
        if "%" in host:
            raise _invalid("An IPv6 address in a URL must not have a zone (%).")
        return str(address), address
    if not host.isascii():
        raise _invalid(
            f"The host must be written in ASCII letters, digits, dots and hyphens{_in_ascii(host)}."
        )
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        # Resolvers read 127.1, 0x7f000001 and 2130706433 as 127.0.0.1; here an address has one spelling.
        try:
            address = ipaddress.IPv4Address(host)
        except ValueError:
            raise _invalid(
                "A host that ends in a number must be an IPv4 address of four plain decimal numbers,"
                " such as 192.0.2.10."
            ) from None
        return str(address), address
    if not HOST_NAME.match(host):
        raise _invalid("The host in the URL is not a valid host name.")
    return host.rstrip("."), None


def _port(text: str | None, scheme: str) -> int:
    if not text:
        return DEFAULT_PORTS[scheme]
    if re.fullmatch(r"[0-9]{1,5}", text) and 0 < int(text) < 65536:
        return int(text)
    raise _invalid("The port in the URL must be a number from 1 to 65535.")


def _in_ascii(host: str) -> str:
    """A suggestion for an international name, where there is one."""
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        return ""
    if "xn--" not in name:
        return ""
    return f"; this one is {name}"


def _character(character: str) -> str:
    names = {" ": "a space", "\\": "a backslash", "\n": "a line break", "\r": "a line break"}
    return names.get(character, f"the character U+{ord(character):04X}")


def _invalid(message: str) -> Invalid:
    return Invalid([Problem("target", message, allowed=EXAMPLE)])
