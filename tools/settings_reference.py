"""Writes the tables of docs/reference/settings.md from the settings' own descriptions: `.venv/bin/python FILE`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cb_trade_data.config.leaves import Leaf, leaves

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"
BEGIN: Final = "<!-- From here on made by tools/settings_reference.py: change the descriptions in the code. -->\n"
END: Final = "<!-- Up to here. -->\n"

# The heading over each section, in the order of the page; those of the first stand in no section.
_HEADINGS: Final = {
    "": "Service",
    "auth": "Authentication",
    "tls": "TLS",
    "limits": "Limits",
    "storage": "Storage",
    "exchanges": "Exchanges",
}


def unit(leaf: Leaf) -> str:
    """Return the unit of a number; nothing for what is none."""
    return str(_extra(leaf).get("unit", ""))


def page(text: str) -> str:
    """Return the page with its tables made anew; what stands around them stays."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "".join(_sections()) + END + after


def _sections() -> Iterator[str]:
    found = list(leaves(["binance"]))  # which stands for any exchange
    for section, heading in _HEADINGS.items():
        rows = [leaf for leaf in found if (leaf.path[0] if len(leaf.path) > 1 else "") == section]
        yield f"\n## {heading}\n\n| variable | default | unit | what for |\n| --- | --- | --- | --- |\n"
        yield from (
            f"| `{leaf.variable}` | {_default(leaf)} | {unit(leaf)} | {leaf.field.description} |\n" for leaf in rows
        )
    yield "\n"


def _default(leaf: Leaf) -> str:
    default = leaf.field.get_default(call_default_factory=True)
    if default is None or default == () or default == {}:
        return str(_extra(leaf).get("unset", "none"))
    return f"`{default}`"


def _extra(leaf: Leaf) -> dict[str, object]:
    extra = leaf.field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
