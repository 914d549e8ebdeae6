"""Clients in a process of their own, which takes one JSON request a line and answers each with one line.

The first line says where to: endpoint, region, bucket, keys, ca (a file or null), checksums. A reply is `value`,
`error`, or `cannot` with the reason why this client has no such call.
"""

import base64
import json
import os
import subprocess
from pathlib import Path

from clients.driver import CannotDo, Driver

END_SECONDS = 5


class LineDriver(Driver):
    """One client library behind such a process."""

    def __init__(
        self,
        target,
        scratch,
        command: list,
        scheme: str = "https",
        checksums: str = "default",
        env: dict[str, str] | None = None,
        algorithms: tuple[str, ...] = (),
        **more,
    ):
        super().__init__(target, scratch)
        self.algorithms = algorithms
        self.log = scratch / "stderr"
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                env=dict(os.environ, **(env or {})),
            )
        words = {
            "endpoint": target.base(scheme),
            "standard": target.standard,
            "region": target.region,
            "bucket": target.bucket,
            "access_key": target.access_key,
            "secret_key": target.secret_key,
            "ca": str(target.ca) if target.ca else None,
            "checksums": checksums,
        }
        self._send(words | more)

    def _send(self, words: dict) -> None:
        try:
            self.process.stdin.write(json.dumps(words) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # told by the reply that does not come

    def _ask(self, verb: str, **words):
        self._send({"verb": verb} | words)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the client's process ended: " + self.log.read_text(errors="replace")[-300:])
        reply = json.loads(line)
        if "cannot" in reply:
            raise CannotDo(reply["cannot"])
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["value"]

    def put(self, key, body, metadata=None):
        self._ask("put", key=key, body=str(body), metadata=metadata)

    def put_buffer(self, key, body):
        self._ask("put_buffer", key=key, body=str(body))

    def put_pipe(self, key, body):
        self._ask("put_pipe", key=key, body=str(body))

    def put_checked(self, key, body, algorithm):
        self._ask("put_checked", key=key, body=str(body), algorithm=algorithm)

    def get(self, key, into):
        self._ask("get", key=key, into=str(into))

    def head(self, key):
        size, metadata = self._ask("head", key=key)
        return size, metadata or {}

    def delete(self, key):
        self._ask("delete", key=key)

    def listing(self, prefix):
        return self._ask("list", prefix=prefix) or []

    def multipart(self, key, body):
        self._ask("multipart", key=key, body=str(body))

    def presign_get(self, key):
        return self._ask("presign_get", key=key)

    def presign_put(self, key):
        return self._ask("presign_put", key=key)

    def copy(self, source, key):
        self._ask("copy", source=source, key=key)

    def range(self, key, first, last):
        return base64.b64decode(self._ask("range", key=key, first=first, last=last))

    def delete_many(self, keys):
        self._ask("delete_many", keys=keys)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


ALL_ALGORITHMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")


def python(venv: Path, program: Path) -> list:
    """The command that runs a program by the Python of a venv."""
    return [venv / "bin" / "python", "-B", program]
