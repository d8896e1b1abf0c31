"""Pages in a browser without a window."""

from __future__ import annotations

import subprocess
from pathlib import Path

from line_records import program

__all__ = ["browse"]


def browse(address: str, profile: Path, *words: str) -> str:
    """What Chromium prints of a page, such as ``--dump-dom``; skips the test where there is none.

    Args:
        address: of the page.
        profile: a folder that it may write to.
        words: further options.
    """
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
    command = [program("chromium", "google-chrome"), *flags, "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
    done = subprocess.run([*command, *words, address], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
