"""boto3 with awscrt: signatures, checksums and transfers are the C runtime's.

Transfers are made as the AWS CLI makes them, since boto3's own way to the runtime forgets the endpoint. With an `alias` the
bucket is a multi-region access point, called by its ARN: boto3 signs with SigV4A, and makes the endpoint's name of the ARN,
which is looked up here; the runtime's transfers look up names themselves, so that this one has boto3's.
"""

import base64
import socket
from urllib.parse import urlsplit

import boto3
import botocore.session
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from s3transfer.crt import (
    BotocoreCRTCredentialsWrapper,
    BotocoreCRTRequestSerializer,
    CRTTransferManager,
    create_s3_crt_client,
)
from verbs import Pipe, Verbs

ACCESS_POINTS = ".accesspoint.s3-global.amazonaws.com"
ACCOUNT = "111122223333"
PART = 5 << 20
READ = 32 << 20  # fewer ranges at once than a store of one thread answers in good time
_getaddrinfo = socket.getaddrinfo


def _names_at(address: str) -> None:
    def look_up(host, *rest, **named):
        if isinstance(host, str) and host.endswith(ACCESS_POINTS):
            host = address
        return _getaddrinfo(host, *rest, **named)

    socket.getaddrinfo = look_up


def _runtime(target, config: Config, part: int) -> CRTTransferManager:
    """The C runtime's transfers, in parts of this size."""
    session = botocore.session.get_session()
    session.set_credentials(target["access_key"], target["secret_key"])
    places = {"region_name": target["region"], "endpoint_url": target["endpoint"], "config": config}
    credentials = BotocoreCRTCredentialsWrapper(session.get_credentials()).to_crt_credentials_provider()
    secure = urlsplit(target["endpoint"]).scheme == "https"
    client = create_s3_crt_client(
        target["region"], credentials, part_size=part, use_ssl=secure, verify=target["ca"] if secure else None
    )
    return CRTTransferManager(client, BotocoreCRTRequestSerializer(session, client_kwargs=places))


class Library(Verbs):
    """boto3 in one configuration."""

    def __init__(self, target):
        alias = target.get("alias")
        options = {"retries": {"total_max_attempts": 1}}
        if not alias:
            options |= {"signature_version": "s3v4", "s3": {"addressing_style": "path"}}
        if target["checksums"] == "required":
            options |= {
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            }
        self.client = boto3.client(
            "s3",
            endpoint_url=None if alias else target["endpoint"],
            region_name=target["region"],
            aws_access_key_id=target["access_key"],
            aws_secret_access_key=target["secret_key"],
            verify=target["ca"],
            config=Config(**options),
        )
        self.bucket = f"arn:aws:s3::{ACCOUNT}:accesspoint/{alias}" if alias else target["bucket"]
        if alias:
            _names_at(target["standard"])
        self.uploads, self.downloads = (
            (None, None) if alias else (_runtime(target, Config(**options), size) for size in (PART, READ))
        )

    def put(self, key, body, metadata=None):
        with open(body, "rb") as source:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=source, Metadata=metadata or {})

    def put_buffer(self, key, body):
        with open(body, "rb") as source:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=source.read())

    def put_pipe(self, key, body):
        with Pipe(body) as source:
            self.client.upload_fileobj(source, self.bucket, key)

    def put_checked(self, key, body, algorithm):
        with open(body, "rb") as source:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=source, ChecksumAlgorithm=algorithm)
        reply = self.client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        assert reply["ContentLength"] >= 0

    def get(self, key, into):
        if self.downloads:
            with open(into, "wb") as sink:  # a file by name gets it some time after the result
                self.downloads.download(self.bucket, key, sink).result()
        else:
            self.client.download_file(self.bucket, key, into)

    def head(self, key):
        reply = self.client.head_object(Bucket=self.bucket, Key=key)
        return reply["ContentLength"], reply["Metadata"]

    def delete(self, key):
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def list(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, PaginationConfig={"PageSize": 3}
        )
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def multipart(self, key, body):
        if self.uploads:
            self.uploads.upload(body, self.bucket, key).result()
        else:
            split = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
            self.client.upload_file(body, self.bucket, key, Config=split)

    def presign_get(self, key):
        return self.client.generate_presigned_url("get_object", {"Bucket": self.bucket, "Key": key}, 300)

    def presign_put(self, key):
        return self.client.generate_presigned_url("put_object", {"Bucket": self.bucket, "Key": key}, 300)

    def copy(self, source, key):
        self.client.copy_object(Bucket=self.bucket, Key=key, CopySource={"Bucket": self.bucket, "Key": source})

    def range(self, key, first, last):
        reply = self.client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={first}-{last}")
        return base64.b64encode(reply["Body"].read()).decode()

    def delete_many(self, keys):
        wanted = {"Objects": [{"Key": key} for key in keys]}
        reply = self.client.delete_objects(Bucket=self.bucket, Delete=wanted)
        assert not reply.get("Errors"), reply["Errors"]
