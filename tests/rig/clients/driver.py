"""The verbs of a client, and the endpoint it is pointed at."""

import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path


class CannotDo(Exception):
    """This client has no such call; the cell is *not run* with this reason."""


@dataclass
class Target:
    """One endpoint with what a client must know to use it."""

    http: str
    https: str | None
    ca: Path | None
    domain: str | None  # of virtual-hosted addressing
    standard: str | None  # an address with both listeners at their schemes' own ports
    alias: str | None  # of the bucket as a multi-region access point
    bucket: str
    region: str
    access_key: str
    secret_key: str

    def base(self, scheme: str) -> str:
        """The endpoint's URL."""
        return self.https if scheme == "https" and self.https else self.http


class Driver(ABC):
    """One client in one configuration. Keys are text, bodies are files."""

    algorithms: tuple[str, ...] = ()  # of additional checksums that it can be told to send
    opaque = False  # what it stores is its own affair: only what it fetches is compared

    def __init__(self, target: Target, scratch: Path):
        self.target = target
        self.scratch = scratch
        scratch.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def put(self, key: str, body: Path, metadata: dict[str, str] | None = None) -> None:
        """Stores the file in one PUT, or as the client does it by default."""

    @abstractmethod
    def get(self, key: str, into: Path) -> None:
        """Fetches the object."""

    @abstractmethod
    def head(self, key: str) -> tuple[int, dict[str, str]]:
        """Size and user metadata."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Deletes one object."""

    @abstractmethod
    def listing(self, prefix: str) -> list[str]:
        """Every key under the prefix, in pages of few where the client can be told so."""

    def put_buffer(self, key: str, body: Path) -> None:
        """Stores bytes held in memory."""
        raise CannotDo("uploads files and streams, no buffers")

    def put_pipe(self, key: str, body: Path) -> None:
        """Stores a stream whose length it is not told."""
        raise CannotDo("uploads nothing of unknown length")

    def put_checked(self, key: str, body: Path, algorithm: str) -> None:
        """Stores the file with a checksum of one of its `algorithms`."""
        raise CannotDo("sends no additional checksums")

    def multipart(self, key: str, body: Path) -> None:
        """Stores the file in parts."""
        raise CannotDo("no multipart call of its own")

    def presign_get(self, key: str) -> str:
        """A URL that fetches."""
        raise CannotDo("presigns no GET")

    def presign_put(self, key: str) -> str:
        """A URL that stores."""
        raise CannotDo("presigns no PUT")

    def copy(self, source: str, key: str) -> None:
        """Copies within the bucket, at the store."""
        raise CannotDo("no copy at the store")

    def range(self, key: str, first: int, last: int) -> bytes:
        """The bytes from first to last, both included."""
        raise CannotDo("no ranges")

    def delete_many(self, keys: list[str]) -> None:
        """One DeleteObjects call."""
        raise CannotDo("no DeleteObjects")

    def close(self) -> None:
        """Ends whatever it started."""


class CommandDriver(Driver):
    """A client that is a command."""

    env: dict[str, str] = {}

    def run(self, *words, binary: bool = False, stdin: Path | None = None):
        """Runs the command, with this file at the other end of a pipe to it; its standard output.

        Raises RuntimeError with the end of standard error.
        """
        done = subprocess.run(
            [str(word) for word in words],
            input=stdin.read_bytes() if stdin else None,
            capture_output=True,
            env=self.env,
            timeout=300,
        )
        if done.returncode:
            text = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise RuntimeError(f"exit {done.returncode}: {text[-300:]}")
        return done.stdout if binary else done.stdout.decode()
