"""A control group whose memory has a limit (systemd's `MemoryMax=`), for one process: the proxy under test.

It is a child of the group that this process is in, so that every limit above it holds on; the kernel ends who goes
beyond it, inside it only.
"""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
NAME = "nearpoint-scoreboard-"  # then the process it is of


@dataclass(frozen=True)
class Names:
    """What the files of one version of control groups are called."""

    limit: str
    usage: str
    peak: str
    events: str  # has the line `oom_kill N`


V1 = Names(
    "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"
)
V2 = Names("memory.max", "memory.current", "memory.peak", "memory.events")


class Unlimited(Exception):
    """No group with a memory limit can be made here."""


class MemoryGroup:
    """One group."""

    def __init__(self) -> None:
        """Makes it, without a limit; raises Unlimited."""
        above, self.names = _above()
        self.path = above / f"{NAME}{os.getpid()}"
        _sweep(above)
        try:
            self.path.mkdir(exist_ok=True)
            self._read(self.names.peak)
        except OSError as cause:
            self.remove()
            raise Unlimited(f"{self.path}: {cause}") from cause

    def inside(self) -> tuple[str, ...]:
        """The words before a command that is to run in it."""
        return ("sh", "-c", f'echo $$ > {self.path / "cgroup.procs"} && exec "$@"', "sh")

    def limit(self, size: int) -> None:
        """From now on so many bytes and no more."""
        (self.path / self.names.limit).write_text(str(size))

    def usage(self) -> int:
        """Bytes now."""
        return int(self._read(self.names.usage))

    def peak(self) -> int:
        """The most bytes so far."""
        return int(self._read(self.names.peak))

    def kills(self) -> int:
        """Processes that the kernel has ended for want of memory."""
        words = self._read(self.names.events).split()
        return int(words[words.index("oom_kill") + 1])

    def remove(self) -> None:
        """Removes it, once whoever was in it is gone."""
        end = time.monotonic() + 2
        while self.path.exists() and time.monotonic() < end:
            with suppress(OSError):
                self.path.rmdir()
                return
            time.sleep(0.05)

    def _read(self, name: str) -> str:
        return (self.path / name).read_text()


def _sweep(above: Path) -> None:
    """Removes the groups of runs whose process is gone, and what still runs in them."""
    for left in above.glob(f"{NAME}*"):
        if Path("/proc", left.name.removeprefix(NAME)).exists():
            continue
        with suppress(OSError):
            for pid in (left / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            left.rmdir()


def _above() -> tuple[Path, Names]:
    """The group that it may be made in: this process's own, or the nearest above it that passes the memory controller on."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= {controller: path.lstrip("/") for controller in controllers.split(",")}
    if "memory" in own:
        return ROOT / "memory" / own["memory"], V1
    group = ROOT / own.get("", "")
    while group != ROOT.parent:
        with suppress(OSError):
            if "memory" in (group / "cgroup.subtree_control").read_text().split():
                return group, V2
        group = group.parent
    raise Unlimited("no control group here passes the memory controller on")


def why_not() -> str | None:
    """Why there can be none here; None where there can."""
    try:
        MemoryGroup().remove()
    except (Unlimited, OSError) as cause:
        return f"memory limits: {cause}"
    return None
