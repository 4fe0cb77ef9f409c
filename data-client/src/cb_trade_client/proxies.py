"""Which proxy leads to a service, by the environment's word (`https_proxy`, `no_proxy`, …)."""

from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from cb_trade_client.errors import RequestError
from cb_trade_client.service_url import is_loopback, printable

# A tunnel is needed even without TLS, so a proxy for HTTPS comes before one for HTTP (RFC 6455, section 4.1).
_VARIABLES = {"wss": ("wss", "socks", "https"), "ws": ("ws", "socks", "https", "http")}
# The names that have the proxy look up the host: what our library does anyway.
_SCHEMES = {"http": "http", "https": "https", "socks5": "socks5", "socks5h": "socks5", "socks4": "socks4"}


def proxy_for(url: str) -> str | None:
    """Return the address of the proxy that leads to the WebSocket address *url*; None where none does.

    Raises:
        RequestError: The environment names a proxy of a kind that this SDK cannot use (`invalid_url`).
    """
    parts = urlsplit(url)
    # A proxy is for other machines; it cannot reach this one's loopback.
    if is_loopback(url) or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    known = getproxies()
    variable = next((name for name in _VARIABLES[parts.scheme] if name in known), None)
    if variable is None:
        return None
    proxy = urlsplit(known[variable])
    # Systems tell a SOCKS proxy as `socks` = `http://…`.
    scheme = "socks5" if (variable, proxy.scheme) == ("socks", "http") else _SCHEMES.get(proxy.scheme)
    if scheme is None or not proxy.hostname:
        raise RequestError(f"{printable(known[variable])} is no proxy this SDK can use", code="invalid_url")
    return urlunsplit((scheme, proxy.netloc, "", "", ""))
