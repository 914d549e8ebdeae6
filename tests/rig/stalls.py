"""The control thread of every timing: a process of its own that only sleeps, and writes down when it woke too late.

A limit missed while this one was held up says nothing about the program under test.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEP = 0.002
NOTED = 0.004


class Stalls:
    """Starts the watcher; answers the worst stall in any span."""

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp(prefix="nearpoint-stalls-")
        os.close(handle)
        self.file = Path(name)
        self.process: subprocess.Popen | None = None

    def start(self) -> "Stalls":
        """Begins to watch."""
        with self.file.open("wb") as sink:
            self.process = subprocess.Popen([sys.executable, __file__], stdout=sink)
        return self

    def stop(self) -> None:
        """Ends the watcher and keeps what it saw."""
        if self.process:
            self.process.terminate()
            self.process.wait()
        self.seen = []
        for line in self.file.read_text().splitlines():
            words = line.split()
            if len(words) == 2:
                self.seen.append((float(words[0]), float(words[1])))
        self.file.unlink()

    def worst(self, start: float = 0.0, end: float = float("inf")) -> float:
        """The longest stall that overlaps the span, in seconds."""
        return max((gap for moment, gap in self.seen if moment >= start and moment - gap <= end), default=0.0)


def _watch() -> None:
    while True:
        before = time.monotonic()
        time.sleep(STEP)
        late = time.monotonic() - before - STEP
        if late > NOTED:
            print(f"{time.time():.6f} {late:.6f}", flush=True)


if __name__ == "__main__":
    _watch()
