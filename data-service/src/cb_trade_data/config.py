"""Every setting of the service: unit, default, meaning. Read once, at the start, and never again."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from cb_trade_data.errors import InvalidSettingsError

PREFIX: Final = "CB_TRADE_"
ENV_FILES: Final = (".env", ".env.local")
SECRET_MIN_BYTES: Final = 32

_MAKE_ONE: Final = "`./platform.sh start` makes one, or python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"

_COPY_IT: Final = (
    "copy it whole from the storage account's access keys; where a shell reads it, in quotes, for it has semicolons"
)

# Other programs' settings, which may stand in the same environment and files.
_SECTIONS: Final = {"STORAGE", "AUTH", "LIMITS", "TLS", "EXCHANGES"}
_FOREIGN_PREFIXES: Final = ("CB_TRADE_CLIENT__", "CB_TRADE_SIMULATOR__")


Algorithm = Literal["HS256", "RS256", "ES256"]
# As a browser writes it: small letters, no path, and no port where it is the usual one.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@*\sA-Z]+(?<!:443)(?<!:80)")

_Settings = TypeVar("_Settings", bound="HousekeepingSettings")


def _json_or_text(decode: Callable[[str, FieldInfo, Any], Any], name: str, field: FieldInfo, value: Any) -> Any:
    try:
        return decode(name, field, value)
    except ValueError:
        return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _algorithms_of_the_key(settings: Mapping[str, Any]) -> tuple[Algorithm, ...]:
    """Return what the key that is set is good for, the usual first; nothing where none, or a wrong one, is set."""
    if settings.get("secret") is not None:
        return ("HS256",)
    if (pem := settings.get("public_key")) is not None:
        from cb_trade_data.models.public_key import PublicKey

        return (PublicKey.from_pem(pem).algorithm,)
    if settings.get("jwks_url") is not None:
        return ("RS256", "ES256")
    return ()


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AzureSettings(_Section):
    """How the container is reached; read only if `azure` is the backend."""

    connection_string: SecretStr | None = Field(None, description="Of the storage account, with its key or a SAS.")
    account_url: HttpUrl | None = Field(
        None,
        description="https://ACCOUNT.blob.core.windows.net, optionally with a SAS as its query; without one the "
        "service signs in with DefaultAzureCredential (managed identity, environment, Azure CLI).",
    )
    container: str = Field("cb-trade", min_length=3, max_length=63, description="The blob container.")

    @field_validator("connection_string")
    @classmethod
    def _can_be_read(cls, text: SecretStr | None) -> SecretStr | None:
        if text is not None:
            # A large import that a service on a local disk need not pay for.
            from azure.storage.blob import BlobServiceClient

            try:
                BlobServiceClient.from_connection_string(text.get_secret_value()).close()
            except ValueError:
                raise ValueError(f"is no connection string: {_COPY_IT}") from None
        return text

    @field_validator("account_url")
    @classmethod
    def _can_be_signed_in_to(cls, url: HttpUrl | None) -> HttpUrl | None:
        if url is not None and url.scheme != "https" and url.query is None:
            raise ValueError("signing in needs https: write https://, or add a SAS as its query")
        return url


class StorageSettings(_Section):
    """Where rows are kept."""

    backend: Literal["local", "azure"] = Field(
        "local", description="The place: `local` is a folder on this machine, `azure` a blob container."
    )
    layout: Literal["parquet", "arrow", "json"] = Field(
        "parquet",
        description="The files: `parquet`, readable by any engine; `arrow`, the fastest; `json`, a document per row.",
    )
    root: Path = Field(Path("data"), description="The folder of the `local` backend; made when first written to.")
    cache_max_bytes: int = Field(
        128 * 1024 * 1024,
        ge=0,
        description="How much of what was read is kept in memory, ready to be sent: 48 bytes a bar, all clients "
        "together. `0` keeps nothing.",
    )
    recheck_after_ms: int = Field(
        1000,
        ge=0,
        le=60_000,
        description="How long what is kept is taken for the newest version without looking whether another process has "
        "stored a newer one.",
    )
    azure: AzureSettings = Field(default_factory=AzureSettings)

    @model_validator(mode="before")
    @classmethod
    def _ignore_what_is_not_chosen(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("backend") != "azure":
            return {name: value for name, value in values.items() if name != "azure"}
        return values

    @model_validator(mode="after")
    def _azure_can_be_reached(self) -> StorageSettings:
        ways = [self.azure.connection_string, self.azure.account_url]
        if self.backend == "azure" and sum(way is not None for way in ways) != 1:
            raise ValueError("set exactly one of AZURE__CONNECTION_STRING and AZURE__ACCOUNT_URL")
        return self


class AuthSettings(_Section):
    """How tokens are checked; exactly one of `secret`, `public_key` and `jwks_url` says with which keys."""

    secret: SecretStr | None = Field(None, description="Key of HS256 tokens, at least 32 bytes.")
    public_key: str | None = Field(
        None, description="Of whoever signs tokens with RS256 or ES256: PEM, its lines as lines or as `\\n`."
    )
    jwks_url: HttpUrl | None = Field(
        None, description="Where whoever signs tokens publishes its keys, as Microsoft Entra ID does; https."
    )
    algorithms: tuple[Algorithm, ...] = Field(
        (),
        validate_default=True,
        description="Those that a signature may have, as JSON; empty: the one of the key, RS256 for a JWKS URL.",
    )
    audience: str | None = Field(
        None,
        validate_default=True,
        description="The `aud` claim tokens must carry; not checked when unset. A JWKS URL needs it.",
    )
    issuer: str | None = Field(
        None,
        validate_default=True,
        description="The `iss` claim tokens must carry; not checked when unset. A JWKS URL needs it.",
    )
    leeway_secs: float = Field(
        10.0, ge=0, le=300, description="By how much clocks may differ where `exp`, `nbf` and `iat` are looked at."
    )
    allowed_origins: tuple[str, ...] | None = Field(
        None, description="The pages, as JSON, that browsers may connect from; unset: all, empty: none."
    )

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < SECRET_MIN_BYTES:
            raise ValueError(f"shorter than {SECRET_MIN_BYTES} bytes: {_MAKE_ONE}")
        if secret is not None and "-----BEGIN" in secret.get_secret_value():
            raise ValueError("is a key in PEM, which others may know: that of whoever signs goes into AUTH__PUBLIC_KEY")
        return secret

    @field_validator("public_key")
    @classmethod
    def _can_be_used(cls, pem: str | None) -> str | None:
        if pem is not None:
            # A large import that commands which check no token need not pay for.
            from cb_trade_data.models.public_key import PublicKey

            PublicKey.from_pem(pem)
        return pem

    @field_validator("jwks_url")
    @classmethod
    def _can_be_trusted(cls, url: HttpUrl | None) -> HttpUrl | None:
        if url is not None and url.scheme != "https" and not _is_loopback(url.host or ""):
            raise ValueError("whoever is on the way could send keys of its own: write https://")
        return url

    @field_validator("algorithms")
    @classmethod
    def _are_those_of_the_key(cls, chosen: tuple[Algorithm, ...], others: ValidationInfo) -> tuple[Algorithm, ...]:
        possible = _algorithms_of_the_key(others.data)
        if possible and not set(chosen) <= set(possible):
            raise ValueError(f"the key that is set is good for {' and '.join(possible)} only")
        return chosen or possible[:1]

    @field_validator("audience", "issuer")
    @classmethod
    def _is_there_for_a_key_set(cls, text: str | None, others: ValidationInfo) -> str | None:
        if text is None and others.data.get("jwks_url") is not None:
            raise ValueError("is missing: who publishes the keys of JWKS_URL signs for other services, too")
        return text

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for origin in origins or ():
            if not _ORIGIN.fullmatch(origin):
                raise ValueError("an origin is https://HOST or https://HOST:PORT, in small letters and without a path")
        return origins

    @model_validator(mode="after")
    def _has_one_source_of_keys(self) -> AuthSettings:
        keys = {"SECRET": self.secret, "PUBLIC_KEY": self.public_key, "JWKS_URL": self.jwks_url}
        match [name for name, key in keys.items() if key is not None]:
            case []:
                raise PydanticCustomError("key_missing", "no key")
            case [_]:
                return self
            case names:
                raise ValueError(f"{' and '.join(names)} are set, and keys come from one place: remove the others")


class LimitSettings(_Section):
    """How much there may be at once: of one subject, and of all together."""

    connections_max: int = Field(2_000, ge=1, description="How many connections there may be.")
    connections_per_subject: int = Field(256, ge=1, description="How many connections one subject may have.")
    requests_per_subject: int = Field(
        1_024, ge=1, description="How many requests of one subject may be open, running or queued."
    )
    requests_per_sec_per_subject: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="How many requests a second one subject may begin; unset: any."
    )
    request_rows_max: int = Field(
        50_000_000, ge=1, description="How many rows the range of one request may have room for: 95 years of minutes."
    )
    memory_max_bytes: int | None = Field(
        None,
        ge=256 * 1024 * 1024,
        description="How much memory of its own the process may hold before it begins nothing new; unset: any.",
    )

    @field_validator("memory_max_bytes")
    @classmethod
    def _can_be_told(cls, limit: int | None) -> int | None:
        if limit is not None and sys.platform != "linux":
            raise ValueError("only Linux tells how much memory is a process's own: remove it")
        return limit


class TlsSettings(_Section):
    """The service's own certificate; without one it speaks plain text."""

    certificate_file: Path | None = Field(None, description="PEM: the certificate, and those between it and the root.")
    key_file: Path | None = Field(None, description="PEM: the certificate's private key, not encrypted.")


class ExchangeSettings(_Section):
    """How one exchange is reached."""

    base_url: HttpUrl | None = Field(
        None, description="Put in front of the exchange's addresses in place of https://, as for the simulator."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Merged into the CCXT options, as JSON.")
    plugin: str | None = Field(
        None, min_length=1, description="The distribution whose plugin serves the exchange, where several offer one."
    )
    calls_per_sec: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="How often it may be asked, in place of its plugin's pace."
    )
    budget_share: float = Field(
        1.0, gt=0, le=1, description="Which part of that this host takes, where several share one address."
    )
    api_key: SecretStr | None = Field(None, description="Of an account there: for what only accounts may ask.")
    api_secret: SecretStr | None = Field(None, description="The key's secret.")


class HousekeepingSettings(BaseSettings):
    """The settings that the storage commands need, from the sources of `Settings`: no key, no port, no exchange."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=ENV_FILES,
        env_ignore_empty=True,
        extra="ignore",  # unknown ones are found, with a better message, by `load_settings`
        frozen=True,
    )

    storage: StorageSettings = Field(default_factory=StorageSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the same sources as ever, but leave a value that should be JSON and is not to the validation.

        The library would stop at the first one, so that the other problems stayed hidden.
        """
        for source in (env_settings, dotenv_settings):
            if isinstance(source, EnvSettingsSource):
                source.decode_complex_value = partial(_json_or_text, source.decode_complex_value)  # type: ignore[method-assign]
        return init_settings, env_settings, dotenv_settings


class Settings(HousekeepingSettings):
    """The service's settings, from the environment, then `.env.local`, then `.env` in the working folder."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8700, description="Port to listen on; 0 takes any free one.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    mode: Literal["laptop", "production"] = Field(
        "laptop", description="`production` does not start with what is only good enough for a laptop."
    )
    workers: int = Field(1, ge=1, le=64, description="How many processes answer; each gets its part of the budgets.")
    drain_secs: float = Field(
        10.0, ge=0, le=600, description="How long what is under way may go on when the service is told to end."
    )
    auth: AuthSettings
    limits: LimitSettings = Field(default_factory=LimitSettings)
    tls: TlsSettings = Field(default_factory=TlsSettings)
    exchanges: dict[str, ExchangeSettings] = Field(default_factory=dict)


@dataclass(frozen=True)
class _ExchangeNames:
    """The names that may be configured under `exchanges`."""

    served: Sequence[str]
    servable: Sequence[str]

    def __contains__(self, name: object) -> bool:
        return name in self.served or name in self.servable

    def none_is_called(self, name: str) -> str:
        """Return the sentence that says so, with the names that are, or may have been meant."""
        close = get_close_matches(name, [*self.served, *self.servable])
        meant = f"; did you mean {' or '.join(close)}?" if close else ""
        others = f", and {len(self.servable)} more by their CCXT ids" if self.servable else ""
        return f"no exchange is called {name!r}; known: {', '.join(self.served)}{others}{meant}"


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    *,
    known_exchanges: Sequence[str],
    servable_exchanges: Sequence[str] = (),
) -> Settings:
    """Return the settings of this process.

    Args:
        overrides: Top-level values that beat every other source (the command line).
        known_exchanges: The names under `exchanges` that are served in any case.
        servable_exchanges: Those that are served if they are named there.

    Raises:
        InvalidSettingsError: With every problem there is, not only the first.
    """
    names = _ExchangeNames(known_exchanges, servable_exchanges)
    settings = _loaded(Settings, overrides or {}, names)
    if unknown := [name for name in settings.exchanges if name not in names]:
        raise _invalid([f"{PREFIX}EXCHANGES: {names.none_is_called(name)}" for name in unknown])
    return settings


def load_storage_settings(*, known_exchanges: Sequence[str], servable_exchanges: Sequence[str] = ()) -> StorageSettings:
    """Return where this process finds the rows: what else is set may be missing or wrong, but not misspelled.

    Arguments and errors are those of `load_settings`.
    """
    return _loaded(HousekeepingSettings, {}, _ExchangeNames(known_exchanges, servable_exchanges)).storage


def _loaded(kind: type[_Settings], overrides: Mapping[str, Any], exchanges: _ExchangeNames) -> _Settings:
    problems = list(_misspelled(exchanges))
    try:
        settings = kind(**overrides)
    except ValidationError as error:
        raise _invalid(problems + [_describe(details) for details in error.errors()]) from error
    if problems:
        raise _invalid(problems)
    return settings


def _invalid(problems: list[str]) -> InvalidSettingsError:
    return InvalidSettingsError(problems, [str(Path(file).absolute()) for file in ENV_FILES])


def _misspelled(exchanges: _ExchangeNames) -> Iterator[str]:
    """Yield a problem for each variable with our prefix that no setting will read; deeper parts are pydantic's task."""
    settings = {name.upper() for name in Settings.model_fields}
    names = {name.upper() for name in (*os.environ, *(name for file in ENV_FILES for name in dotenv_values(file)))}
    for name in sorted(names):
        if not name.startswith(PREFIX) or name.startswith(_FOREIGN_PREFIXES):
            continue
        parts = name.removeprefix(PREFIX).split("__")
        if parts[0] not in settings or (len(parts) > 1 and parts[0] not in _SECTIONS):
            yield f"{name} is no setting of cb-trade: remove it, or correct its spelling"
        elif parts[0] == "EXCHANGES" and len(parts) > 1 and (exchange := parts[1].lower()) not in exchanges:
            yield f"{name}: {exchanges.none_is_called(exchange)}"


def _describe(details: ErrorDetails) -> str:
    variable = PREFIX + "__".join(str(part) for part in details["loc"]).upper()
    match details["type"]:
        case "key_missing" | "missing" if details["loc"] == ("auth",):
            return f"{PREFIX}AUTH__SECRET is missing, and so are AUTH__PUBLIC_KEY and AUTH__JWKS_URL: {_MAKE_ONE}"
        case "missing":
            return f"{variable} is missing: set it"
        case "extra_forbidden":
            return f"{variable} is no setting of cb-trade: remove it, or correct its spelling"
        case _:
            # Pydantic's message tells the rule that was broken, not the value, which may be a secret.
            return f"{variable}: {details['msg'].removeprefix('Value error, ')}"
