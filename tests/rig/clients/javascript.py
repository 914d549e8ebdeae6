"""@aws-sdk/client-s3 and minio-js."""

import shutil

import provision
from places import RIG

from clients.lines import ALL_ALGORITHMS, LineDriver


class JavaScript(LineDriver):
    """One of the two JavaScript clients."""

    def __init__(self, target, scratch, library: str, scheme: str = "https", checksums: str = "default"):
        modules = provision.npm_modules()
        script = modules / "clients.mjs"  # beside node_modules, since ES modules resolve from where they lie
        shutil.copy(RIG / "js" / "clients.mjs", script)
        env = {"NODE_NO_WARNINGS": "1"}
        if target.ca:
            env["NODE_EXTRA_CA_CERTS"] = str(target.ca)
        algorithms = ALL_ALGORITHMS if library == "aws" else ()
        super().__init__(
            target, scratch, [provision.node(), script, library], scheme, checksums, env, algorithms
        )
