"""A name server of the rig's, and a resolver configuration that only one process sees: the proxy under test."""

import os
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

TTL = 1  # the proxy clamps it to its own least
A = 1
NXDOMAIN = 3


class Dns:
    """Answers A queries for any name with `answer`: addresses, an empty list, "nxdomain", or None for silence."""

    NAME = "region-a.scoreboard.test"

    def __init__(self, scratch: Path):
        self.address = f"127.77.{os.getpid() % 250 + 1}.1"
        self.answer: list[str] | str | None = []
        self.asked = 0
        self._ended = False
        self.file = scratch / "resolv.conf"
        self.file.write_text(f"nameserver {self.address}\noptions timeout:1 attempts:2\n")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        """Begins to answer."""
        self._socket.bind((self.address, 53))
        self._thread.start()

    def stop(self) -> None:
        """Ends; the address is free again once nobody waits on the socket any more."""
        self._ended = True
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waking:
            waking.sendto(b"", (self.address, 53))
        if self._thread.is_alive():
            self._thread.join(5)
        self._socket.close()

    def inside(self) -> tuple[str, ...]:
        """The words before a command whose process is to ask this server, in a mount namespace of its own."""
        script = f'mount --bind {self.file} /etc/resolv.conf && exec "$@"'
        return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")

    def _serve(self) -> None:
        while not self._ended:
            try:
                question, peer = self._socket.recvfrom(2048)
            except OSError:
                return
            self.asked += 1
            answer = self.answer
            if answer is not None and len(question) >= 12:
                self._socket.sendto(reply_to(question, answer), peer)


def reply_to(question: bytes, answer: list[str] | str) -> bytes:
    """The answer to one question; only A records are known."""
    end = 12
    while question[end]:
        end += question[end] + 1
    kind = struct.unpack("!H", question[end + 1 : end + 3])[0]
    asked = question[12 : end + 5]
    addresses = answer if isinstance(answer, list) and kind == A else []
    flags = 0x8180 | (NXDOMAIN if answer == "nxdomain" else 0)
    head = question[:2] + struct.pack("!HHHHH", flags, 1, len(addresses), 0, 0)
    records = b"".join(
        b"\xc0\x0c" + struct.pack("!HHIH", A, 1, TTL, 4) + socket.inet_aton(address) for address in addresses
    )
    return head + asked + records
