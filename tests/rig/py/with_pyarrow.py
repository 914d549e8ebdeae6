"""Arrow's C++ file system over S3 (the AWS SDK for C++), from Python."""

import base64
import os
from urllib.parse import urlsplit

from verbs import Cannot, Verbs, pieces


class Library(Verbs):
    """One file system without retries."""

    def __init__(self, target):
        if target["checksums"] == "required":
            # the SDK for C++ reads its modes here, when it is first used
            os.environ["AWS_REQUEST_CHECKSUM_CALCULATION"] = "WHEN_REQUIRED"
            os.environ["AWS_RESPONSE_CHECKSUM_VALIDATION"] = "WHEN_REQUIRED"
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
        from pyarrow import fs

        self.fs = fs
        url = urlsplit(target["endpoint"])
        self.files = fs.S3FileSystem(
            access_key=target["access_key"],
            secret_key=target["secret_key"],
            region=target["region"],
            scheme=url.scheme,
            endpoint_override=url.netloc,
            tls_ca_file_path=target["ca"],
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
            request_timeout=60,
            connect_timeout=10,
            check_directory_existence_before_creation=False,
        )
        self.bucket = target["bucket"]

    def _at(self, key):
        if "//" in key or key.endswith("/"):
            raise Cannot("Arrow has paths: such a key is none")
        if "/../" in key:
            raise Cannot("the SDK for C++ signs a path with dots and sends it without them")
        return f"{self.bucket}/{key}"

    def put(self, key, body, metadata=None):
        if metadata:
            raise Cannot("Arrow sets S3's own headers only, no metadata")
        with self.files.open_output_stream(self._at(key)) as sink:
            for piece in pieces(body):
                sink.write(piece)

    def put_buffer(self, key, body):
        with open(body, "rb") as source, self.files.open_output_stream(self._at(key)) as sink:
            sink.write(source.read())

    put_pipe = put  # none of its streams is told a length
    multipart = put  # every upload of more than a part is one

    def get(self, key, into):
        with self.files.open_input_stream(self._at(key)) as source, open(into, "wb") as sink:
            while piece := source.read(1 << 20):
                sink.write(piece)

    def head(self, key):
        found = self.files.get_file_info(self._at(key))
        if found.type != self.fs.FileType.File:
            raise FileNotFoundError(key)
        return found.size, {}

    def delete(self, key):
        self.files.delete_file(self._at(key))

    def list(self, prefix):
        chosen = self.fs.FileSelector(self._at(prefix.rstrip("/")), recursive=True, allow_not_found=True)
        start = self.bucket + "/"
        found = [each for each in self.files.get_file_info(chosen) if each.type == self.fs.FileType.File]
        return sorted(each.path.removeprefix(start) for each in found)

    def copy(self, source, key):
        self.files.copy_file(self._at(source), self._at(key))

    def range(self, key, first, last):
        with self.files.open_input_file(self._at(key)) as source:
            source.seek(first)
            return base64.b64encode(source.read(last - first + 1)).decode()
