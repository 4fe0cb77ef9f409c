"""Files that are named like a variable and hold its value, as containers are handed their secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# A certificate's chain has some kilobytes.
_FILE_MAX_BYTES: Final = 65_536


@dataclass(frozen=True)
class SecretFile:
    """One that can be read: the variable it is named for, in capitals, and its text without the newline at its end."""

    variable: str
    text: str = field(repr=False)
    path: Path


def read_secret_files(folder: Path, prefix: str, foreign_prefixes: Sequence[str]) -> tuple[list[SecretFile], list[str]]:
    """Return the files of *folder* whose names begin with *prefix*, in any case, and why some cannot be read.

    Others' files, and those under *foreign_prefixes*, are not opened: they may not be for us.

    Raises:
        OSError: The folder itself cannot be read; FileNotFoundError if it is not there.
    """
    files: dict[str, SecretFile] = {}
    problems: list[str] = []
    for path in sorted(folder.iterdir()):
        variable = path.name.upper()
        if not variable.startswith(prefix) or variable.startswith(tuple(foreign_prefixes)):
            continue
        if variable in files:
            problems.append(f"{variable}: {files[variable].path} and {path} are two files for it: remove one")
            continue
        try:
            with path.open("rb") as file:
                content = file.read(_FILE_MAX_BYTES + 1)
            if len(content) > _FILE_MAX_BYTES:
                problems.append(f"{variable}: {path} has more than {_FILE_MAX_BYTES:,} bytes: no setting has")
                continue
            files[variable] = SecretFile(variable, content.decode().rstrip("\r\n"), path)
        except OSError as error:
            problems.append(
                f"{variable}: {path} cannot be read ({error.strerror}): let the service's user read it, or remove it"
            )
        except UnicodeDecodeError:
            problems.append(f"{variable}: {path} is no text in UTF-8: write it anew")
    return list(files.values()), problems
