"""@aws-sdk/client-s3 and minio-js, in a Node.js process that takes one JSON request a line."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import provision
from places import RIG

from clients.driver import Driver


class JavaScript(Driver):
    """One of the two JavaScript clients."""

    def __init__(self, target, scratch, library: str, modules: Path):
        super().__init__(target, scratch)
        self.name = {"aws": "aws-sdk-js", "minio": "minio-js"}[library]
        script = modules / "clients.mjs"  # beside node_modules, since ES modules resolve from where they lie
        shutil.copy(RIG / "js" / "clients.mjs", script)
        env = dict(os.environ, NODE_NO_WARNINGS="1")
        if target.ca:
            env["NODE_EXTRA_CA_CERTS"] = str(target.ca)
        words = {
            "endpoint": target.https or target.http,
            "region": target.region,
            "bucket": target.bucket,
            "access_key": target.access_key,
            "secret_key": target.secret_key,
        }
        self.log = (scratch / "stderr").open("wb")
        self.process = subprocess.Popen(
            [provision.node(), str(script), library, json.dumps(words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=env,
        )

    def _ask(self, verb: str, **words):
        self.process.stdin.write(json.dumps({"verb": verb} | words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("node ended: " + (self.scratch / "stderr").read_text(errors="replace")[-300:])
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["value"]

    def put(self, key, body, metadata=None):
        self._ask("put", key=key, body=str(body), metadata=metadata)

    def get(self, key, into):
        self._ask("get", key=key, into=str(into))

    def head(self, key):
        size, metadata = self._ask("head", key=key)
        return size, metadata

    def delete(self, key):
        self._ask("delete", key=key)

    def listing(self, prefix):
        return self._ask("list", prefix=prefix)

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
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()
