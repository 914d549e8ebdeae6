"""Which clients run, each made only when its turn comes."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import provision

from clients.boto import Boto
from clients.commands import AwsCli, Rclone, S3cmd
from clients.driver import Driver, Target
from clients.javascript import JavaScript


def drivers(target: Target, scratch: Path) -> Iterator[tuple[str, Callable[[], Driver]]]:
    """Names with their makers; making one may raise provision.Unavailable."""

    def home(name: str) -> Path:
        return scratch / name.replace(" ", "-")

    schemes = ["http", "https"] if target.https else ["http"]
    styles = ["path", "virtual"] if target.domain else ["path"]
    for scheme, checksums, style in itertools.product(schemes, ["default", "when_required"], styles):
        name = f"boto3 {scheme} {checksums.replace('when_required', 'required')} {style}"
        yield name, lambda s=scheme, c=checksums, y=style, n=name: Boto(target, home(n), s, c, y)

    def debian(package: str, make: type[Driver]) -> Callable[[], Driver]:
        def maker() -> Driver:
            provision.debian([package])
            return make(target, home(package))

        return maker

    yield "aws cli", lambda: AwsCli(target, home("aws-cli"), provision.venv("awscli"))
    yield "rclone", debian("rclone", Rclone)
    yield "s3cmd", debian("s3cmd", S3cmd)
    for library, name in (("aws", "aws-sdk-js"), ("minio", "minio-js")):
        yield name, lambda which=library, n=name: JavaScript(target, home(n), which, provision.npm_modules())
