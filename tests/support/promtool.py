"""promtool, which proves what is written for Prometheus.

As a program it prints where the promtool of this machine is, and fails if there is none.
"""

from __future__ import annotations

import os
import shutil
import sys


def find_promtool() -> str | None:
    """Return the promtool of this machine; PROMTOOL in the environment names another one."""
    return shutil.which(os.environ.get("PROMTOOL", "promtool"))


if __name__ == "__main__":
    found = find_promtool()
    if found is None:
        sys.exit(1)
    print(found)  # noqa: T201 - it is what the program is for
