"""AWS CLI, rclone and s3cmd, as their users call them."""

import json
from pathlib import Path

from clients.driver import CannotDo, CommandDriver

PATH = "/usr/local/bin:/usr/bin:/bin"


class AwsCli(CommandDriver):
    """The AWS CLI, version 1 or 2."""

    def __init__(
        self,
        target,
        scratch,
        aws: Path,
        algorithms: tuple[str, ...],
        scheme: str = "https",
        checksums: str = "default",
    ):
        super().__init__(target, scratch)
        self.algorithms = algorithms
        modes = (
            "request_checksum_calculation = when_required\nresponse_checksum_validation = when_required\n"
            if checksums == "required"
            else ""
        )
        settings = scratch / "config"
        settings.write_text(
            f"[default]\n{modes}s3 =\n  addressing_style = path\n  signature_version = s3v4\n"
            "  multipart_threshold = 5MB\n  multipart_chunksize = 5MB\n"
        )
        self.env = {
            "PATH": PATH,
            "HOME": str(scratch),
            "AWS_CONFIG_FILE": str(settings),
            "AWS_ACCESS_KEY_ID": target.access_key,
            "AWS_SECRET_ACCESS_KEY": target.secret_key,
            "AWS_DEFAULT_REGION": target.region,
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            "PYTHONUTF8": "1",
        }
        if target.ca:
            self.env["AWS_CA_BUNDLE"] = str(target.ca)
        self.aws = [aws, "--endpoint-url", target.base(scheme), "--output", "json"]

    def _api(self, call: str, *words):
        text = self.run(*self.aws, "s3api", call, "--bucket", self.target.bucket, *words)
        return json.loads(text) if text.strip() else {}

    def put(self, key, body, metadata=None):
        extra = ["--metadata", json.dumps(metadata)] if metadata else []
        self._api("put-object", "--key", key, "--body", body, *extra)

    def put_pipe(self, key, body):
        self.run(*self.aws, "s3", "cp", "--no-progress", "-", f"s3://{self.target.bucket}/{key}", stdin=body)

    def put_checked(self, key, body, algorithm):
        self._api("put-object", "--key", key, "--body", body, "--checksum-algorithm", algorithm)

    def get(self, key, into):
        self._api("get-object", "--key", key, into)

    def head(self, key):
        reply = self._api("head-object", "--key", key)
        return reply["ContentLength"], reply.get("Metadata", {})

    def delete(self, key):
        self._api("delete-object", "--key", key)

    def listing(self, prefix):
        reply = self._api("list-objects-v2", "--prefix", prefix, "--page-size", "5")
        return [entry["Key"] for entry in reply.get("Contents", [])]

    def multipart(self, key, body):
        self.run(*self.aws, "s3", "cp", "--no-progress", body, f"s3://{self.target.bucket}/{key}")

    def presign_get(self, key):
        return self.run(*self.aws, "s3", "presign", f"s3://{self.target.bucket}/{key}").strip()

    def copy(self, source, key):
        self._api("copy-object", "--key", key, "--copy-source", f"{self.target.bucket}/{source}")

    def range(self, key, first, last):
        into = self.scratch / "range"
        self._api("get-object", "--key", key, "--range", f"bytes={first}-{last}", into)
        return into.read_bytes()

    def delete_many(self, keys):
        reply = self._api(
            "delete-objects", "--delete", json.dumps({"Objects": [{"Key": key} for key in keys]})
        )
        assert not reply.get("Errors"), reply["Errors"]


class Rclone(CommandDriver):
    """rclone from Debian."""

    def __init__(self, target, scratch, scheme: str = "https"):
        super().__init__(target, scratch)
        self.env = {
            "PATH": PATH,
            "HOME": str(scratch),
            "RCLONE_CONFIG": str(scratch / "rclone.conf"),
            "RCLONE_CONFIG_RIG_TYPE": "s3",
            "RCLONE_CONFIG_RIG_PROVIDER": "Other",
            "RCLONE_CONFIG_RIG_ENDPOINT": target.base(scheme),
            "RCLONE_CONFIG_RIG_REGION": target.region,
            "RCLONE_CONFIG_RIG_ACCESS_KEY_ID": target.access_key,
            "RCLONE_CONFIG_RIG_SECRET_ACCESS_KEY": target.secret_key,
            "RCLONE_CONFIG_RIG_FORCE_PATH_STYLE": "true",
            "RCLONE_S3_NO_CHECK_BUCKET": "true",
            "RCLONE_S3_LIST_CHUNK": "3",
            "RCLONE_RETRIES": "1",
            "RCLONE_LOW_LEVEL_RETRIES": "1",
        }
        (scratch / "rclone.conf").touch()
        self.rclone = ["rclone", *(["--ca-cert", target.ca] if target.ca else [])]

    def _at(self, key: str) -> str:
        if "//" in key or ".." in key or key.endswith("/"):
            raise CannotDo("rclone cleans its paths: it cannot name such a key")
        return f"rig:{self.target.bucket}/{key}"

    def put(self, key, body, metadata=None):
        extra = [
            word
            for name, value in (metadata or {}).items()
            for word in ("--header-upload", f"x-amz-meta-{name}: {value}")
        ]
        self.run(*self.rclone, "copyto", "--s3-upload-cutoff", "64Mi", *extra, body, self._at(key))

    def put_pipe(self, key, body):
        self.run(*self.rclone, "rcat", "--streaming-upload-cutoff", "64Ki", self._at(key), stdin=body)

    def get(self, key, into):
        self.run(*self.rclone, "copyto", "--ignore-times", self._at(key), into)

    def head(self, key):
        found = json.loads(self.run(*self.rclone, "lsjson", "-M", "--stat", self._at(key)))
        if not found or found["IsDir"]:  # an absent object looks like an empty folder
            raise FileNotFoundError(key)
        return found["Size"], {
            name: value for name, value in found.get("Metadata", {}).items() if name not in OWN_METADATA
        }

    def delete(self, key):
        self.run(*self.rclone, "deletefile", self._at(key))

    def listing(self, prefix):
        folder = prefix.rstrip("/")
        found = self.run(*self.rclone, "lsf", "-R", "--files-only", f"rig:{self.target.bucket}/{folder}")
        return [f"{folder}/{line}" for line in found.splitlines()]

    def multipart(self, key, body):
        self.run(
            *self.rclone, "copyto", "--s3-upload-cutoff", "5Mi", "--s3-chunk-size", "5Mi", body, self._at(key)
        )

    def presign_get(self, key):
        return self.run(*self.rclone, "link", "--expire", "5m", self._at(key)).strip()

    def copy(self, source, key):
        self.run(*self.rclone, "copyto", self._at(source), self._at(key))

    def range(self, key, first, last):
        span = ["--offset", first, "--count", last - first + 1]
        return self.run(*self.rclone, "cat", *span, self._at(key), binary=True)


OWN_METADATA = {"mtime", "tier", "content-type", "btime"}


class S3cmd(CommandDriver):
    """s3cmd from Debian."""

    def __init__(self, target, scratch, scheme: str = "https"):
        super().__init__(target, scratch)
        base = target.base(scheme).partition("://")[2]
        settings = {
            "access_key": target.access_key,
            "secret_key": target.secret_key,
            "bucket_location": target.region,
            "host_base": base,
            "host_bucket": base,
            "use_https": str(scheme == "https"),
            "signurl_use_https": str(scheme == "https"),
            "ca_certs_file": str(target.ca or ""),
            "signature_v2": "False",
            "max_retries": "1",
        }
        conf = scratch / "s3cfg"
        conf.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
        self.env = {"PATH": PATH, "HOME": str(scratch), "PYTHONUTF8": "1"}
        self.s3cmd = ["/usr/bin/s3cmd", "-c", conf, "--no-progress"]

    def _at(self, key: str) -> str:
        return f"s3://{self.target.bucket}/{key}"

    def put(self, key, body, metadata=None):
        if key.endswith("/"):
            raise CannotDo("s3cmd takes a name with a final slash for a folder")
        extra = [f"--add-header=x-amz-meta-{name}:{value}" for name, value in (metadata or {}).items()]
        self.run(*self.s3cmd, "put", "--disable-multipart", *extra, body, self._at(key))

    def put_pipe(self, key, body):
        self.run(*self.s3cmd, "put", "--multipart-chunk-size-mb=5", "-", self._at(key), stdin=body)

    def get(self, key, into):
        self.run(*self.s3cmd, "get", "--force", self._at(key), into)

    def head(self, key):
        size, metadata = -1, {}
        for line in self.run(*self.s3cmd, "info", self._at(key)).splitlines():
            name, _, value = (part.strip() for part in line.partition(":"))
            if name == "File size":
                size = int(value)
            if name.startswith("x-amz-meta-") and name != "x-amz-meta-s3cmd-attrs":
                metadata[name.removeprefix("x-amz-meta-")] = value
        return size, metadata

    def delete(self, key):
        self.run(*self.s3cmd, "del", self._at(key))

    def listing(self, prefix):
        found = self.run(*self.s3cmd, "ls", "-r", self._at(prefix))
        start = f"s3://{self.target.bucket}/"
        return [line.partition(start)[2] for line in found.splitlines() if start in line]

    def multipart(self, key, body):
        self.run(*self.s3cmd, "put", "--multipart-chunk-size-mb=5", body, self._at(key))

    def presign_get(self, key):
        return self.run(*self.s3cmd, "signurl", self._at(key), "+300").strip()

    def copy(self, source, key):
        self.run(*self.s3cmd, "cp", self._at(source), self._at(key))

    def delete_many(self, keys):
        self.run(*self.s3cmd, "del", *[self._at(key) for key in keys])
