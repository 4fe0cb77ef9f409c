"""What is good enough for a laptop, and not for a service that others rely on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from cb_trade_data.models import system
from cb_trade_data.models.addresses import is_loopback

if TYPE_CHECKING:
    from cb_trade_data.config import AuthSettings, ExchangeSettings, LimitSettings, StorageSettings

# Of Azurite, the emulator, whose account and key are the same everywhere: enough of each to know it by.
_DEVELOPMENT_ACCOUNT: Final = (
    "usedevelopmentstorage=true",
    "accountname=devstoreaccount1",
    "accountkey=eby8vdm02xnocq",
)


def unfit_for_production(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each of *settings* that production refuses: which, why, and what to set.

    Args:
        settings: Those of `Settings` that are valid, by their names; what is not there is not judged.
    """
    if "auth" in settings:
        yield from _auth(settings["auth"])
    if "storage" in settings:
        yield from _storage(settings["storage"])
    if "limits" in settings:
        yield from _limits(settings["limits"])
    if "host" in settings and "tls" in settings:
        host = settings["host"]
        if not is_loopback(host) and settings["tls"].certificate_file is None:
            yield (
                f"CB_TRADE_HOST: {host} can be reached from elsewhere, and tokens would travel in clear: set "
                "CB_TRADE_TLS__CERTIFICATE_FILE and CB_TRADE_TLS__KEY_FILE, or 127.0.0.1 behind a proxy that has TLS"
            )
    if settings.get("log_level") == "debug":
        yield "CB_TRADE_LOG_LEVEL: debug tells too much, too often: set info"
    for name, exchange in settings.get("exchanges", {}).items():
        yield from _exchange(name, exchange)


def _auth(auth: AuthSettings) -> Iterator[str]:
    for name, claim in (("AUDIENCE", auth.audience), ("ISSUER", auth.issuer)):
        if claim is None:
            yield f"CB_TRADE_AUTH__{name} is missing: a token made for something else would be good here; set it"
    if auth.allowed_origins is None:
        yield (
            "CB_TRADE_AUTH__ALLOWED_ORIGINS is missing: browsers could connect from any page; list the pages as JSON, "
            "[] for none"
        )


def _storage(storage: StorageSettings) -> Iterator[str]:
    if storage.backend == "local" and not storage.root.is_absolute():
        yield (
            f"CB_TRADE_STORAGE__ROOT: {storage.root} depends on where the service is started, and is another folder "
            "elsewhere: set an absolute path"
        )
    text = storage.azure.connection_string
    if text is not None and _is_the_emulators(text.get_secret_value()):
        yield (
            "CB_TRADE_STORAGE__AZURE__CONNECTION_STRING: is that of the emulator, whose key everybody knows: set that "
            "of your storage account"
        )


def _is_the_emulators(connection_string: str) -> bool:
    return any(part.strip().lower().startswith(_DEVELOPMENT_ACCOUNT) for part in connection_string.split(";"))


def _limits(limits: LimitSettings) -> Iterator[str]:
    # What cannot be kept to cannot be asked for.
    if limits.memory_max_bytes is None and system.TELLS_OWN_MEMORY:
        yield (
            "CB_TRADE_LIMITS__MEMORY_MAX_BYTES is missing: the system would end the service where it holds too much; "
            "set about three quarters of what it may have"
        )
    if limits.requests_per_sec_per_subject is None:
        yield (
            "CB_TRADE_LIMITS__REQUESTS_PER_SEC_PER_SUBJECT is missing: one client could take what all share; set how "
            "many are plenty"
        )


def _exchange(name: str, exchange: ExchangeSettings) -> Iterator[str]:
    if exchange.base_url is not None and exchange.base_url.scheme != "https":
        yield (
            f"CB_TRADE_EXCHANGES__{name.upper()}__BASE_URL: what comes in clear may be anybody's, and this may be a "
            "simulator: remove it, or write https://"
        )
