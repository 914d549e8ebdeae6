"""obstore: Rust's object_store from Python. Beside its default it is told to send SHA-256 checksums."""

import base64
from datetime import timedelta

import obstore
from obstore.store import S3Store
from verbs import Cannot, Verbs, pieces

PART = 5 << 20


class Library(Verbs):
    """One store without retries."""

    def __init__(self, target):
        checksum = {} if target["checksums"] == "default" else {"checksum_algorithm": target["checksums"]}
        trust = {}
        if target["ca"]:
            with open(target["ca"]) as source:
                trust = {"root_certificate": source.read()}
        self.store = S3Store(
            target["bucket"],
            endpoint=target["endpoint"],
            region=target["region"],
            access_key_id=target["access_key"],
            secret_access_key=target["secret_key"],
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": timedelta(seconds=120), **trust},
            retry_config={"max_retries": 0},
            **checksum,
        )

    @staticmethod
    def _at(key):
        if "//" in key or "/../" in key or key.endswith("/"):
            raise Cannot("object_store has paths: such a key is none")
        return key

    def put(self, key, body, metadata=None):
        with open(body, "rb") as source:
            obstore.put(self.store, self._at(key), source, attributes=metadata, use_multipart=False)

    def put_buffer(self, key, body):
        with open(body, "rb") as source:
            obstore.put(self.store, self._at(key), source.read(), use_multipart=False)

    def put_pipe(self, key, body):
        obstore.put(self.store, self._at(key), pieces(body), chunk_size=PART)

    def get(self, key, into):
        with open(into, "wb") as sink:
            for piece in obstore.get(self.store, self._at(key)):
                sink.write(piece)

    def head(self, key):
        reply = obstore.get(self.store, self._at(key), options={"head": True})
        return reply.meta["size"], dict(reply.attributes)

    def delete(self, key):
        obstore.delete(self.store, self._at(key))

    def list(self, prefix):
        return sorted(found["path"] for page in obstore.list(self.store, prefix, chunk_size=3) for found in page)

    def multipart(self, key, body):
        with open(body, "rb") as source:
            obstore.put(self.store, self._at(key), source, use_multipart=True, chunk_size=PART)

    def presign_get(self, key):
        return obstore.sign(self.store, "GET", self._at(key), timedelta(minutes=5))

    def presign_put(self, key):
        return obstore.sign(self.store, "PUT", self._at(key), timedelta(minutes=5))

    def copy(self, source, key):
        obstore.copy(self.store, self._at(source), self._at(key))

    def range(self, key, first, last):
        found = obstore.get_range(self.store, self._at(key), start=first, end=last + 1)
        return base64.b64encode(bytes(found)).decode()

    def delete_many(self, keys):
        obstore.delete(self.store, [self._at(key) for key in keys])
