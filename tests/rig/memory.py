"""Bounded memory: what nearpoint's resident set grows by under many large bodies and many readers that stop reading."""

import hashlib
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from nearpoint import LOGICAL_REGION, AccessPoint, Client, Gateway
from places import RIG, say
from processes import NotReady, Service, free_port
from report import Report, table
from stores.region import Region
from wire import Signer

MIB = 1 << 20
LIMIT = 100 * MIB
STREAMS = 64
STREAM_BYTES = {"ci": 64 * MIB, "full": 1024 * MIB}
STALLED, STALLED_BYTES = 100, 64 * MIB
STALL_SECONDS = 5
BUCKET = "large"
PATIENCE = 900


class Load:
    """Many blocking connections at once to one gateway."""

    def __init__(self, gateway: Gateway):
        self.port = gateway.ports["http"]
        self.signer = Signer(gateway.client.access_key, gateway.client.secret_key, LOGICAL_REGION)
        self.faults: list[str] = []

    def connect(self, method: str, key: str, length: int = 0) -> socket.socket:
        """A connection with its signed request head sent."""
        fields = {"host": f"127.0.0.1:{self.port}"}
        unsigned = method == "PUT" and length
        payload = "UNSIGNED-PAYLOAD" if unsigned else hashlib.sha256(b"").hexdigest()
        path = f"/{BUCKET}/{key}"
        self.signer.sign(method, path, "", fields, payload)
        if method == "PUT":
            fields["content-length"] = str(length)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        connection.sendall(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
        return connection

    def at_once(self, count: int, one: Callable[[int], None]) -> None:
        """Runs `one` on this many threads; faults are kept."""

        def guarded(number: int) -> None:
            try:
                one(number)
            except (OSError, ValueError) as cause:
                self.faults.append(f"{type(cause).__name__}: {cause}")

        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def download(self, size: int) -> None:
        """Fetches and drops a body of this size."""
        with self.connect("GET", f"down/{size}") as connection:
            sink = bytearray(MIB)
            left = size - len(_after_head(connection, b"200"))
            while left > 0:
                got = connection.recv_into(sink)
                if not got:
                    raise ValueError(f"the body ended {left} bytes early")
                left -= got

    def upload(self, size: int) -> None:
        """Sends a body of this size."""
        piece = bytes(MIB)
        with self.connect("PUT", f"up/{secrets.token_hex(4)}", size) as connection:
            for start in range(0, size, MIB):
                connection.sendall(piece[: min(MIB, size - start)])
            _after_head(connection, b"200")

    def stall(self, size: int, held: list) -> None:
        """Fetches the head and then reads no more."""
        connection = self.connect("GET", f"stalled/{size}")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        held.append(connection)
        _after_head(connection, b"200")


def _after_head(connection: socket.socket, status: bytes) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        more = connection.recv(4096)
        if not more:
            raise ValueError("closed before an answer")
        got += more
    if got.split(b" ", 2)[1] != status:
        raise ValueError(f"answered {got[:200]!r}")
    return got.partition(b"\r\n\r\n")[2]


def peak_growth(service: Service, act: Callable[[], None]) -> int:
    """Bytes by which the resident set's high-water mark exceeds what it was at rest before."""
    before = service.rss_bytes()
    status = Path(f"/proc/{service.pid}")
    (status / "clear_refs").write_text("5")  # resets the high-water mark
    act()
    for line in (status / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 - before
    return 0


def execute(report: Report, scratch: Path, pems, tier: str) -> None:
    """Measures the three cases and adds their results."""
    port = free_port()
    origin = Service("origin", [sys.executable, RIG / "origin.py", port], scratch / "origin.log").start()
    origin.await_port(port)
    region = Region("origin", "us-east-1", "org", port, "ORIGIN", secrets.token_hex(16))
    point = AccessPoint(BUCKET, BUCKET, ["origin"], "origin")
    gateway = Gateway("memory", scratch, [region], "ceph", [point], Client(), pems, secrets.token_hex(32))
    try:
        gateway.start()
    except NotReady as cause:
        report.check("memory", "origin", "starts", False, str(cause))
        return
    load = Load(gateway)
    size = STREAM_BYTES[tier]
    load.at_once(STREAMS, lambda _: load.download(4096))  # at rest, but with its pools and caches made
    held: list[socket.socket] = []

    def stalled() -> None:
        load.at_once(STALLED, lambda _: load.stall(STALLED_BYTES, held))
        time.sleep(STALL_SECONDS)

    cases = {
        f"{STREAMS} downloads of {size // MIB} MiB": lambda: load.at_once(
            STREAMS, lambda _: load.download(size)
        ),
        f"{STREAMS} uploads of {size // MIB} MiB": lambda: load.at_once(STREAMS, lambda _: load.upload(size)),
        f"{STALLED} stalled readers of {STALLED_BYTES // MIB} MiB": stalled,
    }
    lines = [["memory", "growth MiB", "limit MiB", "seconds", "faults"]]
    for name, act in cases.items():
        load.faults.clear()
        begin = time.monotonic()
        grown = peak_growth(gateway.service, act)
        spent = time.monotonic() - begin
        lines.append([name, f"{grown / MIB:.1f}", str(LIMIT // MIB), f"{spent:.1f}", str(len(load.faults))])
        good = grown <= LIMIT and not load.faults
        report.check("memory", "origin", name, good, f"grew {grown / MIB:.0f} MiB; {load.faults[:2]}")
        say(f"memory: {name}: {grown / MIB:.1f} MiB")
    for connection in held:
        connection.close()
    print(table(lines), flush=True)
    gateway.stop()
    origin.kill()
