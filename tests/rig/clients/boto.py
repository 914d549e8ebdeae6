"""boto3, in this process: scheme, checksum mode and addressing style vary."""

import io
from pathlib import Path

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from clients.driver import Driver

class Pipe(io.RawIOBase):
    """A file that can only be read onwards, and does not tell its length."""

    def __init__(self, path: Path):
        self.source = path.open("rb")

    def readable(self) -> bool:
        return True

    def readinto(self, room) -> int:
        return self.source.readinto(room)

    def close(self) -> None:
        self.source.close()
        super().close()


class Boto(Driver):
    """boto3 in one configuration."""

    algorithms = ("CRC32", "SHA1", "SHA256")  # the others want awscrt

    def __init__(
        self, target, scratch, scheme: str = "http", checksums: str = "default", style: str = "path"
    ):
        super().__init__(target, scratch)
        base = target.base(scheme)
        if style == "virtual":
            base = base.replace("127.0.0.1", target.domain)
        options = {
            "signature_version": "s3v4",
            "retries": {"total_max_attempts": 1},
            "s3": {"addressing_style": style},
        }
        if checksums == "required":
            options |= {
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            }
        self.client = boto3.client(
            "s3",
            endpoint_url=base,
            region_name=target.region,
            aws_access_key_id=target.access_key,
            aws_secret_access_key=target.secret_key,
            verify=str(target.ca) if target.ca else None,
            config=Config(**options),
        )
        self.bucket = target.bucket

    def put(self, key, body: Path, metadata=None):
        with body.open("rb") as source:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=source, Metadata=metadata or {})

    def put_buffer(self, key, body):
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body.read_bytes())

    def put_pipe(self, key, body):
        with Pipe(body) as source:
            self.client.upload_fileobj(source, self.bucket, key)

    def put_checked(self, key, body, algorithm):
        with body.open("rb") as source:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=source, ChecksumAlgorithm=algorithm)

    def get(self, key, into: Path):
        with into.open("wb") as sink:
            for piece in self.client.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(1 << 20):
                sink.write(piece)

    def head(self, key):
        reply = self.client.head_object(Bucket=self.bucket, Key=key)
        return reply["ContentLength"], reply["Metadata"]

    def delete(self, key):
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def listing(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, PaginationConfig={"PageSize": 3}
        )
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def multipart(self, key, body: Path):
        split = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=3)
        self.client.upload_file(str(body), self.bucket, key, Config=split)

    def presign_get(self, key):
        return self.client.generate_presigned_url("get_object", {"Bucket": self.bucket, "Key": key}, 300)

    def presign_put(self, key):
        return self.client.generate_presigned_url("put_object", {"Bucket": self.bucket, "Key": key}, 300)

    def copy(self, source, key):
        self.client.copy_object(
            Bucket=self.bucket, Key=key, CopySource={"Bucket": self.bucket, "Key": source}
        )

    def range(self, key, first, last):
        return self.client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={first}-{last}")[
            "Body"
        ].read()

    def delete_many(self, keys):
        reply = self.client.delete_objects(
            Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in keys]}
        )
        assert not reply.get("Errors"), reply["Errors"]

    def close(self):
        self.client.close()
