"""minio-py."""

import base64
import io
from datetime import timedelta
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject
from verbs import Cannot, Pipe, Verbs

PART = 5 << 20
WHOLE = 128 << 20


class Library(Verbs):
    """One client without retries."""

    def __init__(self, target):
        url = urlsplit(target["endpoint"])
        trust = {"cert_reqs": "CERT_REQUIRED", "ca_certs": target["ca"]} if target["ca"] else {}
        self.client = Minio(
            endpoint=url.netloc,
            access_key=target["access_key"],
            secret_key=target["secret_key"],
            secure=url.scheme == "https",
            region=target["region"],
            http_client=urllib3.PoolManager(retries=False, timeout=60, **trust),
        )
        self.bucket = target["bucket"]

    @staticmethod
    def _at(key):
        if "/../" in key:
            raise Cannot("minio-py takes no name with dots for segments")
        return key

    def put(self, key, body, metadata=None):
        self.client.fput_object(self.bucket, self._at(key), body, metadata=metadata, part_size=WHOLE)

    def put_buffer(self, key, body):
        with open(body, "rb") as source:
            held = source.read()
        self.client.put_object(self.bucket, key, io.BytesIO(held), len(held), part_size=WHOLE)

    def put_pipe(self, key, body):
        with Pipe(body) as source:
            self.client.put_object(self.bucket, key, io.BufferedReader(source), -1, part_size=PART)

    def get(self, key, into):
        self.client.fget_object(self.bucket, key, into)

    def head(self, key):
        found = self.client.stat_object(self.bucket, key)
        start = "x-amz-meta-"
        metadata = {name.lower(): value for name, value in found.metadata.items()}
        return found.size, {name[len(start) :]: value for name, value in metadata.items() if name.startswith(start)}

    def delete(self, key):
        self.client.remove_object(self.bucket, key)

    def list(self, prefix):
        paged = {"max-keys": "3"}
        found = self.client.list_objects(self.bucket, prefix, recursive=True, extra_query_params=paged)
        return [entry.object_name for entry in found]

    def multipart(self, key, body):
        self.client.fput_object(self.bucket, key, body, part_size=PART)

    def presign_get(self, key):
        return self.client.presigned_get_object(self.bucket, key, timedelta(minutes=5))

    def presign_put(self, key):
        return self.client.presigned_put_object(self.bucket, key, timedelta(minutes=5))

    def copy(self, source, key):
        self.client.copy_object(self.bucket, key, CopySource(self.bucket, source))

    def range(self, key, first, last):
        reply = self.client.get_object(self.bucket, key, offset=first, length=last - first + 1)
        try:
            return base64.b64encode(reply.read()).decode()
        finally:
            reply.close()
            reply.release_conn()

    def delete_many(self, keys):
        errors = list(self.client.remove_objects(self.bucket, [DeleteObject(key) for key in keys]))
        assert not errors, errors
