"""For the site (see mkdocs.yml): what a page links to outside of docs/, or folders, are names on it, not links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
_LINK: Final = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)\s#]+|[^)\s#:]+)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Return the page's text; called by mkdocs. A link that leads nowhere stays, and fails the build."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def shown(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        is_elsewhere = target.is_dir() or not target.is_relative_to(ROOT / "docs")
        return link[1] if is_elsewhere and target.exists() else link[0]

    return _LINK.sub(shown, markdown)
