"""Where settings come from: the environment, secret files, `.env.local` and `.env`; what comes first wins."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from cb_trade_data.config.secret_files import SecretFile, read_secret_files

PREFIX: Final = "CB_TRADE_"
ENV_FILES: Final = (".env", ".env.local")  # the later wins
# Where secret files are, and the one variable that is read from the environment only: files cannot tell where they are.
SECRETS_FOLDER: Final = Path("/run/secrets")
SECRETS_VARIABLE: Final = "CB_TRADE_SECRETS_DIR"
THE_ENVIRONMENT: Final = "the environment"
# Other programs' settings, which may stand in the same environment and files.
FOREIGN_PREFIXES: Final = ("CB_TRADE_CLIENT__", "CB_TRADE_SIMULATOR__")


@dataclass(frozen=True)
class Found:
    """A variable of ours as it stands somewhere.

    Attributes:
        variable: Its name, in capitals.
        text: Its value, never empty; may be a secret.
        where: The place, in words: a file's path, or the environment.
    """

    variable: str
    text: str = field(repr=False)
    where: str


@dataclass(frozen=True)
class Sources:
    """What was found where.

    Attributes:
        found: All of ours; of several for one setting, the first counts.
        files: Where was looked beside the environment: paths, in the order in which they count.
        secrets_folder: The folder of secret files; None where there is none.
        problems: Why some of it cannot be read, and what to do.
    """

    found: tuple[Found, ...]
    files: tuple[str, ...]
    secrets_folder: Path | None
    problems: tuple[str, ...]

    def origin(self, path: Sequence[str]) -> Found | None:
        """Return what counts for the setting at *path*, such as `("storage", "root")`; None where nothing is set.

        That is its own variable, or one above it that has it in its JSON.
        """
        return next((each for each in self.found if _holds(each, path)), None)


def look_around() -> Sources:
    """Return what is set in the environment and the files of this process."""
    told = next((value for name, value in os.environ.items() if name.upper() == SECRETS_VARIABLE and value), None)
    folder = SECRETS_FOLDER if told is None else Path(told).expanduser()
    secret_files: list[SecretFile] = []
    problems: list[str] = []
    is_readable = False
    try:
        secret_files, problems = read_secret_files(folder, PREFIX, FOREIGN_PREFIXES)
        is_readable = True
    except OSError as error:
        if told is not None or not isinstance(error, FileNotFoundError):
            problems = [f"{SECRETS_VARIABLE}: {folder} cannot be read ({error.strerror}): correct it, or the folder"]
    env_files = [Path(file).absolute() for file in reversed(ENV_FILES)]
    groups = [
        [Found(name, value, THE_ENVIRONMENT) for name, value in _ours(os.environ)],
        [Found(each.variable, each.text, str(each.path)) for each in secret_files if each.text],
        *([Found(name, value, str(file)) for name, value in _ours(dotenv_values(file))] for file in env_files),
    ]
    return Sources(
        # In one place, what names a setting itself beats the JSON of its section.
        tuple(each for group in groups for each in sorted(group, key=lambda one: -one.variable.count("__"))),
        (str(folder.absolute()), *map(str, env_files)),
        folder if is_readable else None,
        tuple(problems),
    )


class SecretFilesSource(EnvSettingsSource):
    """Settings from a folder's files, as if each were a variable; what cannot be read is `look_around`'s to tell.

    The library's `NestedSecretsSettingsSource` opens every file there, ends at the first it may not read, whoever it
    is meant for, and passes over links that lead out of the folder without a word.
    """

    def __init__(self, settings_cls: type[BaseSettings], folder: Path | None) -> None:
        self._folder = folder
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        if self._folder is None:
            return {}
        files, _ = read_secret_files(self._folder, PREFIX, FOREIGN_PREFIXES)
        return {each.variable.lower(): each.text for each in files if each.text}


def leave_json_to_the_validation(source: PydanticBaseSettingsSource) -> None:
    """Let *source* hand on a value that should be JSON and is not.

    The library would stop at the first one, so that the other problems stayed hidden.
    """
    if isinstance(source, EnvSettingsSource):
        source.decode_complex_value = partial(_json_or_text, source.decode_complex_value)  # type: ignore[method-assign]


def _json_or_text(decode: Callable[[str, FieldInfo, Any], Any], name: str, field: FieldInfo, value: Any) -> Any:
    try:
        return decode(name, field, value)
    except ValueError:
        return value


def _ours(values: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        variable = name.upper()
        if variable.startswith(PREFIX) and not variable.startswith(FOREIGN_PREFIXES):
            yield variable, value or ""


def _holds(found: Found, path: Sequence[str]) -> bool:
    names = found.variable.removeprefix(PREFIX).lower().split("__")
    if not found.text or names != [part.lower() for part in path[: len(names)]]:
        return False
    value: Any = None
    if len(names) < len(path):
        try:
            value = json.loads(found.text)
        except ValueError:
            return True  # what should be JSON and is not stands in the way of all that is under it
    for part in path[len(names) :]:
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True
