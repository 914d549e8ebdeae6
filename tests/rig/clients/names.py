"""Names that no resolver knows: looked up here, for whatever runs in this process."""

import socket

_KNOWN = {".rig.test": "127.0.0.1"}
_getaddrinfo = socket.getaddrinfo


def stands_for(domain: str, address: str) -> None:
    """From now on every name under this domain has this address."""
    _KNOWN["." + domain] = address


def _look_up(host, *rest, **named):
    if isinstance(host, str):
        host = next((address for end, address in _KNOWN.items() if host.endswith(end)), host)
    return _getaddrinfo(host, *rest, **named)


socket.getaddrinfo = _look_up
