"""Speaks HTTPS to a name on loopback, without asking anybody where that is."""

from __future__ import annotations

import ssl

import httpx


def client(port: int | str, trust: ssl.SSLContext, name: str) -> httpx.Client:
    """A client of what serves `name` on this port, by its certificate and its Host header."""
    return httpx.Client(
        base_url=f"https://127.0.0.1:{port}",
        headers={"Host": name},
        verify=trust,
        timeout=70,
        trust_env=False,
        event_hooks={"request": [lambda request: request.extensions.update(sni_hostname=name)]},
    )
