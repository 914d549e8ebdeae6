"""What the libraries share."""

import io


class Cannot(Exception):
    """This library has no such call."""


class Verbs:
    """Every verb, for those that a library does not have."""

    def _lacks(self, what: str):
        raise Cannot(what)

    def put_buffer(self, key, body):
        self._lacks("uploads no buffers")

    def put_pipe(self, key, body):
        self._lacks("uploads nothing of unknown length")

    def put_checked(self, key, body, algorithm):
        self._lacks("sends no additional checksums")

    def multipart(self, key, body):
        self._lacks("has no multipart call of its own")

    def presign_get(self, key):
        self._lacks("presigns no GET")

    def presign_put(self, key):
        self._lacks("presigns no PUT")

    def copy(self, source, key):
        self._lacks("has no copy at the store")

    def delete_many(self, keys):
        self._lacks("has no DeleteObjects")


class Pipe(io.RawIOBase):
    """A file that can only be read onwards, and does not tell its length."""

    def __init__(self, path: str):
        self.source = open(path, "rb")  # noqa: SIM115 closed with this

    def readable(self) -> bool:
        return True

    def readinto(self, room) -> int:
        return self.source.readinto(room)

    def close(self) -> None:
        self.source.close()
        super().close()


def pieces(path: str, size: int = 1 << 20):
    """A file's contents, piece by piece."""
    with open(path, "rb") as source:
        while piece := source.read(size):
            yield piece
