"""Where the rig reads and writes: the repository, the cache that outlives runs, the scratch folder that does not."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RIG = ROOT / "tests" / "rig"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nearpoint"
IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")

_STARTED = time.monotonic()


def say(text: str) -> None:
    """One progress line with the seconds since the start, on standard error so that tables stay clean."""
    print(f"[{time.monotonic() - _STARTED:7.1f}s] {text}", file=sys.stderr, flush=True)


def rustc_key() -> str:
    """A name for this compiler, so that artefacts of two compilers never meet in one folder."""
    words = subprocess.run(["rustc", "-V"], check=True, capture_output=True, text=True).stdout.split()
    return "-".join(word.strip("()") for word in words[:3])


def target_dir() -> Path:
    """Cargo's target folder: the caller's, or the cached one of this compiler."""
    chosen = os.environ.get("CARGO_TARGET_DIR")
    return Path(chosen) if chosen else CACHE / f"target-{rustc_key()}"
