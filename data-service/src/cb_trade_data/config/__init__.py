"""Every setting of the service: unit, default, meaning. Read once, at the start, and never again.

The descriptions become docs/reference/settings.md (`python tools/settings_reference.py`); beside them,
`json_schema_extra` tells the `unit` of a number, and what it means that nothing is set (`unset`).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

from cb_trade_data.config.production import unfit_for_production
from cb_trade_data.config.sources import ENV_FILES, PREFIX, SecretFilesSource, leave_json_to_the_validation
from cb_trade_data.models import system
from cb_trade_data.models.addresses import is_loopback

SECRET_MIN_BYTES: Final = 32

HOW_TO_MAKE_ONE: Final = (
    "`./platform.sh start` makes one, or python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
)
_COPY_IT: Final = (
    "copy it whole from the storage account's access keys; where a shell reads it, in quotes, for it has semicolons"
)


Algorithm = Literal["HS256", "RS256", "ES256"]
# As a browser writes it: small letters, no path, and no port where it is the usual one.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@*\sA-Z]+(?<!:443)(?<!:80)")


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
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _contradictory(problems: dict[str, str]) -> PydanticCustomError:
    """Return the error that tells each problem of a section, by the name of the setting to change."""
    return PydanticCustomError("contradictory", "settings contradict each other", {"problems": problems})


class AzureSettings(_Section):
    """How the container is reached; read only if `azure` is the backend."""

    connection_string: SecretStr | None = Field(
        None,
        description="Of the storage account, with its key or a SAS; has semicolons: quote it in a shell. This or the "
        "next, if the backend is `azure`; ignored otherwise.",
    )
    account_url: HttpUrl | None = Field(
        None,
        description="`https://ACCOUNT.blob.core.windows.net`, optionally with a SAS as its query; without one the "
        "service signs in with `DefaultAzureCredential` (managed identity, environment, Azure CLI), which needs "
        "`https`.",
    )
    container: str = Field(
        "cb-trade",
        min_length=3,
        max_length=63,
        description="The container; made when first written to, if that is allowed.",
    )

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
        "local", description="Where history is kept: `local`, a folder, or `azure`, a blob container."
    )
    layout: Literal["parquet", "arrow", "json"] = Field(
        "parquet",
        description="How it is written: `parquet`, readable by any engine; `arrow`, the fastest; `json`, one document "
        "per row, for tools that look at single entries: slow, and many files. Rows that were written in another "
        "layout are not found.",
    )
    root: Path = Field(
        Path("data"),
        description="Folder of the local backend, relative to where the service is started; made when first written "
        "to.",
    )
    cache_max_bytes: int = Field(
        128 * 1024 * 1024,
        ge=0,
        description="How much of what was read is kept in memory, ready to be sent, for all clients together: a bar "
        "takes 48 bytes. `0` keeps nothing.",
        json_schema_extra={"unit": "bytes"},
    )
    recheck_after_ms: int = Field(
        1000,
        ge=0,
        le=60_000,
        description="How long what is kept is taken for the newest version without looking whether another process "
        "has stored a newer one; up to 60000. What this process stores is seen at once.",
        json_schema_extra={"unit": "milliseconds"},
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

    secret: SecretStr | None = Field(
        None,
        description="Signs and checks tokens (HS256); at least 32 bytes, random ones.",
        json_schema_extra={"unset": "one of these three"},
    )
    public_key: str | None = Field(
        None,
        description="Checks tokens that somebody else signs (RS256, ES256): PEM, its lines as lines or as `\\n`.",
        json_schema_extra={"unset": "one of these three"},
    )
    jwks_url: HttpUrl | None = Field(
        None,
        description="Where whoever signs tokens publishes its keys, as Microsoft Entra ID does; `https`. Needs "
        "audience and issuer.",
        json_schema_extra={"unset": "one of these three"},
    )
    algorithms: tuple[Algorithm, ...] = Field(
        (),
        validate_default=True,
        description="Those that a signature may have, as JSON: `HS256`, which goes with a secret, `RS256`, `ES256`.",
        json_schema_extra={"unset": 'that of the key; `["RS256"]` for a JWKS URL'},
    )
    audience: str | None = Field(
        None,
        validate_default=True,
        description="The `aud` claim a token must carry.",
        json_schema_extra={"unset": "not checked"},
    )
    issuer: str | None = Field(
        None,
        validate_default=True,
        description="The `iss` claim a token must carry.",
        json_schema_extra={"unset": "not checked"},
    )
    leeway_secs: float = Field(
        10.0,
        ge=0,
        le=300,
        description="By how much clocks may differ where `exp`, `nbf` and `iat` are looked at; up to 300.",
        json_schema_extra={"unit": "seconds"},
    )
    allowed_origins: tuple[str, ...] | None = Field(
        None,
        description='The pages that browsers may connect from, as JSON: `["https://console.example.com"]`; `[]` allows '
        "none.",
        json_schema_extra={"unset": "all"},
    )

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < SECRET_MIN_BYTES:
            raise ValueError(f"shorter than {SECRET_MIN_BYTES} bytes: {HOW_TO_MAKE_ONE}")
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
        if url is not None and url.scheme != "https" and not is_loopback(url.host or ""):
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

    connections_max: int = Field(
        2_000,
        ge=1,
        description="How many connections each process may have; more are refused with `overloaded`.",
        json_schema_extra={"unit": "connections"},
    )
    connections_per_subject: int = Field(
        256,
        ge=1,
        description="How many of them one subject may have; more are refused with `quota_exceeded`. Each of several "
        "processes counts for itself what a subject has and asks.",
        json_schema_extra={"unit": "connections"},
    )
    requests_per_subject: int = Field(
        1_024,
        ge=1,
        description="How many requests of one subject may be open, running or queued, on all its connections; more are "
        "refused with `quota_exceeded`.",
        json_schema_extra={"unit": "requests"},
    )
    requests_per_sec_per_subject: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="How many requests a second one subject may make, over HTTP and on all its connections, where "
        "every message counts, whatever it says, but for one that ends an open request; more are refused with "
        "`quota_exceeded`.",
        json_schema_extra={"unit": "requests a second", "unset": "any"},
    )
    request_rows_max: int = Field(
        50_000_000,
        ge=1,
        description="How many rows the range of one request may have room for; 95 years of minutes, or a year and a "
        "half of seconds. More is refused with `range_too_large`.",
        json_schema_extra={"unit": "rows"},
    )
    memory_max_bytes: int | None = Field(
        None,
        ge=256 * 1024 * 1024,
        description="How much memory of its own a process may hold before it begins nothing new (`overloaded`); at "
        "least 268435456. On Linux only: no other system tells.",
        json_schema_extra={"unit": "bytes", "unset": "any"},
    )

    @field_validator("memory_max_bytes")
    @classmethod
    def _can_be_told(cls, limit: int | None) -> int | None:
        if limit is not None and not system.TELLS_OWN_MEMORY:
            raise ValueError("only Linux tells how much memory is a process's own: remove it")
        return limit


class TlsSettings(_Section):
    """The service's own certificate; without one it speaks plain text."""

    certificate_file: Path | None = Field(
        None,
        description="The service's certificate and those between it and the root, PEM. Without one it speaks plain "
        "text.",
    )
    key_file: Path | None = Field(None, description="The certificate's private key, PEM, not encrypted.")

    @field_validator("certificate_file", "key_file")
    @classmethod
    def _can_be_read(cls, file: Path | None) -> Path | None:
        if file is not None:
            try:
                file.open("rb").close()
            except OSError as error:
                raise ValueError(f"cannot be read ({error.strerror}): correct the path, or its permissions") from None
        return file

    @model_validator(mode="after")
    def _both_or_none(self) -> TlsSettings:
        if self.key_file is None and self.certificate_file is not None:
            raise _contradictory({"KEY_FILE": "is missing, and a certificate needs its key: set it"})
        if self.certificate_file is None and self.key_file is not None:
            raise _contradictory({"CERTIFICATE_FILE": "is missing, and a key needs its certificate: set it"})
        if self.certificate_file is None or self.key_file is None:
            return self
        try:
            # Without the password, OpenSSL would ask for one on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate_file, self.key_file, password="")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise _contradictory(
                    {"KEY_FILE": "is not the key of the first certificate in CERTIFICATE_FILE"}
                ) from None
            raise ValueError(
                f"CERTIFICATE_FILE and KEY_FILE hold no certificate and key in PEM, not encrypted ({error.reason})"
            ) from None
        return self


class ExchangeSettings(_Section):
    """How one exchange is reached."""

    base_url: HttpUrl | None = Field(
        None,
        description="Where to call the exchange instead: `https://` in its addresses becomes this and a slash. For the "
        "simulator: its address and `/h`.",
        json_schema_extra={"unset": "the exchange's own hosts"},
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="JSON, merged into the CCXT options of this exchange."
    )
    plugin: str | None = Field(
        None,
        min_length=1,
        description="The distribution whose plugin serves the exchange, where several installed packages offer one: "
        "`cb-trade-data` is ours.",
        json_schema_extra={"unset": "the only one"},
    )
    calls_per_sec: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="How many calls a second we allow ourselves instead, above zero: less where others share the "
        "address, more where the exchange grants more.",
        json_schema_extra={"unit": "calls a second", "unset": "what the exchange allows"},
    )
    budget_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Which part of its calls a second this host takes, where several hosts share one address: 0.5 for "
        "each of two.",
        json_schema_extra={"unit": "part of one"},
    )
    # Long enough to be told apart from what else stands in an answer, where an exchange quotes it.
    api_key: SecretStr | None = Field(
        None,
        min_length=8,
        description="Key of an account there, for calls that only accounts may make; one that may read suffices. Read "
        "at the start, so a restart is all that a new one takes.",
    )
    api_secret: SecretStr | None = Field(None, min_length=8, description="That key's secret.")

    @model_validator(mode="after")
    def _both_or_none(self) -> ExchangeSettings:
        if self.api_secret is None and self.api_key is not None:
            raise _contradictory({"API_SECRET": "is missing, and a key needs its secret: set it"})
        if self.api_key is None and self.api_secret is not None:
            raise _contradictory({"API_KEY": "is missing, and a secret needs its key: set it"})
        return self


class HousekeepingSettings(BaseSettings):
    """The settings that the storage commands need, from the sources of `Settings`: no key, no port, no exchange."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=ENV_FILES,
        env_ignore_empty=True,
        extra="ignore",  # unknown ones are found, with a better message, by `load_settings`
        frozen=True,
        hide_input_in_errors=True,  # any of it may be a secret in the wrong place
    )

    storage: StorageSettings = Field(default_factory=StorageSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, secret files and env files, in this order; a folder of secrets is an argument."""
        folder = file_secret_settings.secrets_dir if isinstance(file_secret_settings, SecretsSettingsSource) else None
        secret_files = SecretFilesSource(settings_cls, folder if isinstance(folder, Path) else None)
        for source in (env_settings, secret_files, dotenv_settings):
            leave_json_to_the_validation(source)
        return init_settings, env_settings, secret_files, dotenv_settings


class Settings(HousekeepingSettings):
    """The service's settings: from the environment, secret files, `.env.local` and `.env` in the working folder."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8700, description="TCP port; `0` takes a free one.", json_schema_extra={"unit": "port"}
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="How many processes answer; each gets its part of the exchanges' budgets.",
        json_schema_extra={"unit": "processes"},
    )
    drain_secs: float = Field(
        10.0,
        ge=0,
        le=600,
        description="How long what is under way may go on when the service is told to end.",
        json_schema_extra={"unit": "seconds"},
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged: `debug`, `info`, `warning` or `error`."
    )
    exchange_preference: tuple[str, ...] = Field(
        (),
        description='The exchanges that come first where a request leaves open which one answers, as JSON: `["kraken", '
        '"coinbase"]`. The others follow in the order of the request, or by name.',
        json_schema_extra={"unset": "none"},
    )
    auth: AuthSettings
    tls: TlsSettings = Field(default_factory=TlsSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    exchanges: dict[str, ExchangeSettings] = Field(default_factory=dict)
    # Last, so that it is looked at in the light of all others.
    mode: Literal["laptop", "production"] = Field(
        "laptop",
        description="`production` does not start with "
        "[what is only good enough for a laptop](../how-to/run-in-production.md#what-production-refuses).",
    )

    @model_validator(mode="after")
    def _memory_has_room_for_the_cache(self) -> Settings:
        """What is kept in memory is let go for nothing but what is newer: full, it must leave room for work."""
        limit = self.limits.memory_max_bytes
        if limit is not None and self.storage.cache_max_bytes > limit / 2:
            problem = "is more than half of LIMITS__MEMORY_MAX_BYTES, so that nothing could be done once it is full"
            raise _contradictory({"STORAGE__CACHE_MAX_BYTES": problem})
        return self

    @field_validator("exchange_preference")
    @classmethod
    def _names_each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("names an exchange twice: remove one of them")
        return names

    @field_validator("mode")
    @classmethod
    def _production_is_no_laptop(cls, mode: str, others: ValidationInfo) -> str:
        """Look at whatever is valid, so that all is told at once, what else is wrong or not."""
        if mode == "production" and (problems := list(unfit_for_production(others.data))):
            raise PydanticCustomError("unfit_for_production", "not fit for production", {"problems": problems})
        return mode
