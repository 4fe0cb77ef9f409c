"""What the system that the service runs on can do, where systems differ."""

from __future__ import annotations

import sys
from typing import Final

# From /proc. Elsewhere the standard library knows only the most that a process ever held, which never falls again.
TELLS_OWN_MEMORY: Final[bool] = sys.platform == "linux"
