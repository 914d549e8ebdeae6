"""Child processes of the rig: started, watched, killed, frozen; none outlives the run."""

import atexit
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_RUNNING: list["Service"] = []


class NotReady(Exception):
    """A process ended or stayed silent instead of becoming ready."""


def free_port() -> int:
    """A loopback port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(ready: Callable[[], bool], seconds: float, what: str, step: float = 0.05) -> None:
    """Asks `ready` until it says so.

    Raises NotReady after `seconds`.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return
        time.sleep(step)
    raise NotReady(f"{what} after {seconds:.0f} s")


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts TCP connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


class Service:
    """One process with its log file, restartable with the same command."""

    def __init__(self, name: str, command: list[str], log: Path, env: dict | None = None):
        self.name = name
        self.command = [str(word) for word in command]
        self.log = log
        self.env = dict(os.environ, **(env or {}))
        self.process: subprocess.Popen | None = None

    def start(self) -> "Service":
        """Starts the process in a group of its own."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                self.command,
                stdout=sink,
                stderr=sink,
                stdin=subprocess.DEVNULL,
                env=self.env,
                start_new_session=True,
            )
        _as_urgent_as_we(self.process.pid)
        if self not in _RUNNING:
            _RUNNING.append(self)
        return self

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    def alive(self) -> bool:
        """Whether the process still runs (a frozen one does)."""
        return self.process is not None and self.process.poll() is None

    def await_port(self, port: int, seconds: float = 60, host: str = "127.0.0.1") -> None:
        """Waits until the port accepts; a dead process is reported with the end of its log."""

        def ready() -> bool:
            if not self.alive():
                raise NotReady(f"{self.name} ended: {self.tail()}")
            return listens(port, host)

        wait_until(ready, seconds, f"{self.name} does not listen on {port}", 0.02)

    def tail(self, size: int = 800) -> str:
        """The end of the log."""
        try:
            return self.log.read_text(errors="replace")[-size:]
        except OSError:
            return ""

    def kill(self) -> None:
        """SIGKILL to the process and its children, and waits for the end."""
        if self.process is None or self.process.poll() is not None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: accepts in the kernel, answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self, seconds: float = 10) -> int | None:
        """SIGTERM, then SIGKILL for one that does not go; answers the exit code."""
        if self.process is None:
            return None
        if self.alive():
            self.thaw()
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def rss_bytes(self) -> int:
        """Resident memory now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def descriptors(self) -> int:
        """File descriptors open now."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self) -> float:
        """User and system time so far, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _as_urgent_as_we(pid: int) -> None:
    """A session of its own is a scheduling group of its own, without the priority that the run was given."""
    with suppress(OSError, ValueError, IndexError):
        urgency = Path("/proc/self/autogroup").read_text().split()[-1]
        Path(f"/proc/{pid}/autogroup").write_text(urgency)


@atexit.register
def _end_all() -> None:
    for service in reversed(_RUNNING):
        service.kill()
