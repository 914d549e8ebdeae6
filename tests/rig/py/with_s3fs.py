"""s3fs: Python's file system over S3, asynchronous."""

import base64

import s3fs
from verbs import Cannot, Verbs, pieces

PART = 5 << 20


class Library(Verbs):
    """One file system without its caches."""

    def __init__(self, target):
        config = {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}, "signature_version": "s3v4"}
        if target["checksums"] == "required":
            config |= {
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            }
        self.files = s3fs.S3FileSystem(
            key=target["access_key"],
            secret=target["secret_key"],
            endpoint_url=target["endpoint"],
            client_kwargs={"region_name": target["region"], "verify": target["ca"]},
            config_kwargs=config,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self.bucket = target["bucket"]

    def _at(self, key):
        if key.endswith("/"):
            raise Cannot("s3fs takes a final slash off a name")
        return f"{self.bucket}/{key}"

    def put(self, key, body, metadata=None):
        self.files.put_file(body, self._at(key), chunksize=128 << 20, **({"Metadata": metadata} if metadata else {}))

    def put_buffer(self, key, body):
        with open(body, "rb") as source:
            self.files.pipe_file(self._at(key), source.read())

    def put_pipe(self, key, body):
        with self.files.open(self._at(key), "wb", block_size=PART) as sink:
            for piece in pieces(body):
                sink.write(piece)

    def get(self, key, into):
        self.files.get_file(self._at(key), into)

    def head(self, key):
        found = self.files.info(self._at(key), refresh=True)
        if found["type"] != "file":
            raise FileNotFoundError(key)
        return found["size"], self.files.metadata(self._at(key), refresh=True)

    def delete(self, key):
        self.files.rm_file(self._at(key))

    def list(self, prefix):
        start = self.bucket + "/"
        found = self.files.find(start + prefix, detail=True)
        return [name.removeprefix(start) for name, each in found.items() if each["type"] == "file"]

    def multipart(self, key, body):
        self.files.put_file(body, self._at(key), chunksize=PART)

    def presign_get(self, key):
        return self.files.sign(self._at(key), expiration=300)

    def presign_put(self, key):
        return self.files.url(self._at(key), expires=300, client_method="put_object")

    def copy(self, source, key):
        self.files.cp_file(self._at(source), self._at(key))

    def range(self, key, first, last):
        found = self.files.cat_file(self._at(key), start=first, end=last + 1)
        return base64.b64encode(found).decode()

    def delete_many(self, keys):
        self.files.rm([self._at(key) for key in keys])
