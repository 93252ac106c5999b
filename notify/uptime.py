"""A push monitor's address, as Uptime Kuma gives out: whoever stops calling it is down."""

from __future__ import annotations

import httpx


class NotTold(Exception):
    """The monitor did not take it; the text holds no address."""


def push(address: str, timeout_s: float = 3.0) -> None:
    """Say that all is well.

    Args:
        address: of the monitor, a secret: whoever has it can keep a dead service green.

    Raises:
        NotTold: no answer, or another than 2xx.
    """
    fault = ""
    try:
        with httpx.Client(timeout=timeout_s, follow_redirects=False) as client:
            status = client.get(httpx.URL(address).copy_merge_params({"status": "up", "msg": "checked"})).status_code
        fault = "" if 200 <= status < 300 else f"it answered {status}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fault = type(error).__name__
    if fault:  # raised out here, so that the exception does not carry httpx's, which holds the address
        raise NotTold(fault)
