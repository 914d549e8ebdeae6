"""A pytest plugin that points s3fs's tests at AWS_ENDPOINT_URL; by themselves they start a moto and talk to that.

Loaded by the Python of the suite's own venv, in which there is no moto.
"""

import os
import sys
from contextlib import suppress
from types import ModuleType, SimpleNamespace

from botocore.exceptions import ClientError
from botocore.session import Session

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]


class _NoServer:
    """Stands in for moto's server: the store runs already."""

    def __init__(self, **_):
        pass

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


def _stand_in(name: str, **contents) -> None:
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(contents)


_stand_in("moto", __version__="5.2.5")
_stand_in("moto.moto_server")
_stand_in("moto.moto_server.threaded_moto_server", ThreadedMotoServer=_NoServer)


def _reset(_url: str) -> None:
    """Every case begins without buckets, as after moto's reset."""
    client = Session().create_client("s3", endpoint_url=ENDPOINT)
    for bucket in client.list_buckets()["Buckets"]:
        with suppress(ClientError):
            _remove(client, bucket["Name"])


def _remove(client, bucket: str) -> None:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=found["Key"])
    with suppress(ClientError):  # a store without versions
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for found in page.get("Versions", []) + page.get("DeleteMarkers", []):
                client.delete_object(Bucket=bucket, Key=found["Key"], VersionId=found["VersionId"])
    client.delete_bucket(Bucket=bucket)


def pytest_collection_modifyitems(items) -> None:
    """The tests read these names of their module when they run."""
    for module in {item.module for item in items}:
        module.endpoint_uri = ENDPOINT + "/"
        module.requests = SimpleNamespace(post=_reset)
