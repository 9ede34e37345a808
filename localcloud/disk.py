"""Removing folders in which jobs have worked: nested deeper, it may be, than Python can follow."""

from __future__ import annotations

import subprocess
from pathlib import Path


def remove(folder: Path) -> bool:
    """Remove it with all that is in it; False when something is left. A folder that is not there is no error.

    By rm, which needs no path to be short: `shutil.rmtree` recurses, and raises a thousand levels down.
    """
    return subprocess.run(["rm", "-rf", "--", str(folder)], stderr=subprocess.DEVNULL, check=False).returncode == 0
