"""moto's server with one repair: an object's ETag is computed under the lock that its body is read under.

moto 5.2.5 hashes an object when its ETag is first asked for, moving the one file position that every thread shares. A
LIST that meets the PUT of a large object there gives it a false ETag for good, and a GET the wrong bytes. Run by the
Python of moto's own venv.
"""

import sys

from moto.s3.models import FakeKey
from moto.server import main

_unguarded = FakeKey.etag.fget


def _etag(key: FakeKey) -> str:
    if key._etag is not None:
        return f'"{key._etag}"'
    with key.lock:
        return _unguarded(key)


FakeKey.etag = property(_etag)

if __name__ == "__main__":
    sys.exit(main())
