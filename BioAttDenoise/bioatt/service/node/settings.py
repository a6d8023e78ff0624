"""The settings of `bioatt node`: one TOML file, described in Docs/node.md."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioatt.core.errors import InputError
from bioatt.service.rules import read_toml, read_values

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Tls:
    """PEM files of one end of a connection. ca: authority that must have signed the other end's certificate."""

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True)
class Listen:
    """Where the node receives images, and from whom; empty means anyone.

    quiet_s: time without an image after which a study is complete. timeout_s: time for a peer to continue.
    """

    ae_title: str = "BIOATT"
    address: str = "127.0.0.1"
    port: int = 11112
    calling_ae_titles: tuple[str, ...] = ()
    addresses: tuple[Network, ...] = ()
    associations: int = 10
    quiet_s: float = 60.0
    timeout_s: float = 30.0
    tls: Tls | None = None


@dataclass(frozen=True)
class Destination:
    """Destination of derived series: an application entity, or a folder with one subfolder per series."""

    name: str
    folder: Path | None = None
    ae_title: str = ""
    host: str = ""
    port: int = 104
    tls: Tls | None = None


@dataclass(frozen=True)
class NodeSettings:
    """Settings of a node.

    spool: the node's private folder, on a local disk. rules: the `[[rule]]` tables, for `service.rules`. free_mb: space
    to keep free on the spool's disk; images that would use it are refused.
    """

    spool: Path
    destinations: tuple[Destination, ...]
    folder: Path
    listen: Listen = Listen()
    rules: tuple[Mapping[str, Any], ...] = ()
    device: str = "auto"
    free_mb: int = 2048


def read_settings(path: Path) -> NodeSettings:
    """Read the settings from a TOML file; paths are relative to its folder.

    Raises InputError that names the invalid key and the reason.
    """
    return read_toml(path, "settings", lambda document: _settings(document, path.absolute().parent))


def server_tls(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer for the node's own port. Raises InputError if the files cannot be used."""
    with _pem_errors_reported():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.ca is not None:
            context.load_verify_locations(tls.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(_given(tls.certificate), tls.key)
    return context


def client_tls(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer for a destination; its certificate is checked against ca, or the system's list without ca.

    Raises InputError as `server_tls`.
    """
    with _pem_errors_reported():
        context = ssl.create_default_context(cafile=tls.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    return context


@contextmanager
def _pem_errors_reported() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise InputError(f"tls: the PEM files are invalid ({error}): check them") from None


def _given(path: Path | None) -> Path:
    if path is None:
        raise InputError("tls: certificate is missing: name a PEM file")
    return path


def _settings(document: Mapping[str, Any], folder: Path) -> NodeSettings:
    def path(value: Any) -> Path:
        return folder / _text(value)

    def tls(value: Any) -> Tls:
        return Tls(**read_values(_table(value), dict.fromkeys(("certificate", "key", "ca"), path)))

    listen = {
        "ae_title": _ae_title,
        "address": lambda value: str(_address(value)),
        "port": lambda value: _whole(value, 1, 65535),
        "calling_ae_titles": lambda value: tuple(map(_ae_title, _list(value))),
        "addresses": lambda value: tuple(map(_network, _list(value))),
        "associations": lambda value: _whole(value, 1, 500),
        "quiet_s": _seconds,
        "timeout_s": _seconds,
        "tls": tls,
    }
    destination = {
        "name": _name,
        "folder": path,
        "ae_title": _ae_title,
        "host": _text,
        "port": lambda value: _whole(value, 1, 65535),
        "tls": tls,
    }
    top = {
        "spool": path,
        "device": _text,
        "free_mb": lambda value: _whole(value, 0, 10**9),
        "listen": lambda value: Listen(**read_values(_table(value), listen)),
        "destination": lambda value: tuple(
            Destination(**read_values(_table(one), destination, needed=("name",))) for one in _list(value)
        ),
        "rule": lambda value: tuple(map(_table, _list(value))),
    }
    given = read_values(document, top, needed=("spool", "destination"))
    settings = NodeSettings(destinations=given.pop("destination"), rules=given.pop("rule", ()), folder=folder, **given)
    _check(settings)
    return settings


def _check(settings: NodeSettings) -> None:
    """Check conditions that involve several keys."""
    names = [one.name for one in settings.destinations]
    if not names:
        raise InputError("no [[destination]]: add one for the derived series")
    if len(set(names)) < len(names):
        raise InputError("two destinations have the same name: rename one")
    for one in settings.destinations:
        if (one.folder is None) == (not one.host):
            raise InputError(f"destination {one.name}: give either folder, or host, port and ae_title")
        if one.host and not one.ae_title:
            raise InputError(f"destination {one.name}: ae_title is missing: give that of the destination")
        if one.folder is not None and _inside(one.folder, settings.spool):
            raise InputError(f"destination {one.name}: the folder is inside the spool: name one outside")


def _inside(path: Path, folder: Path) -> bool:
    return folder.resolve() in (path.resolve(), *path.resolve().parents)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError("give a string in quotes")
    return value


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError("give a table of keys and values")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{value!r:.40} is not a list: put it in brackets")
    return value


def _whole(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"give a whole number from {low} to {high}")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 86400:
        raise InputError("give seconds above 0, up to 86400")
    return float(value)


def _ae_title(value: Any) -> str:
    """Check an AE title (PS3.5 6.2): 1 to 16 printable characters without backslash; outer spaces are insignificant."""
    title = _text(value).strip()
    if len(title) > 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise InputError(f"{title!r:.40} is not an AE title: give 1 to 16 ASCII characters without a backslash")
    return title


def _name(value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", _text(value)):
        raise InputError("give a name of 1 to 32 letters, digits, - and _")
    return str(value)


def _address(value: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(_text(value))
    except ValueError:
        raise InputError(
            f"{value!r:.60} is not an IP address: give 0.0.0.0 for every address of this machine"
        ) from None


def _network(value: Any) -> Network:
    try:
        return ipaddress.ip_network(_text(value))
    except ValueError as error:
        raise InputError(f"{error}: give 10.1.2.3 or 10.1.2.0/24") from None
