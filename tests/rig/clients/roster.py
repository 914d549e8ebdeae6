"""Which clients run, each made only when its turn comes.

The ci tier drives six of them; the full tier drives every one, by both schemes and with its checksum modes.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import provision
from places import RIG

from clients.boto import Boto
from clients.commands import AwsCli, Rclone, S3cmd
from clients.driver import Driver, Target
from clients.javascript import JavaScript
from clients.lines import ALL_ALGORITHMS, LineDriver, python
from clients.tools import Restic, S5cmd

Row = tuple[str, Callable[[], Driver]]
CROSS = [("http", "default"), ("http", "required"), ("https", "default"), ("https", "required")]
PAIRS = [("https", "default"), ("http", "required")]  # for slow starters: each scheme and each mode once


def drivers(target: Target, scratch: Path, full: bool) -> Iterator[Row]:
    """Names with their makers; making one may raise provision.Unavailable."""
    roster = Roster(target, scratch)
    yield from roster.boto()
    yield from roster.six(full)
    if full:
        yield from roster.python()
        yield from roster.commands()
        yield from roster.compiled()


def folder(name: str) -> str:
    """Where the client of a row has its files, and its keys."""
    return name.replace(" ", "-").replace("+", "-")


def rows() -> list[str]:
    """The names of all rows of the full tier through nearpoint, in the order of their table."""
    nowhere = Target("http:", "https:", None, "domain", "standard", "alias", "", "", "", "")
    return [name for name, _ in drivers(nowhere, Path(), True)]


class Roster:
    """The rows of one endpoint."""

    def __init__(self, target: Target, scratch: Path):
        self.target = target
        self.scratch = scratch
        self.schemes = ["http", "https"] if target.https else ["http"]

    def row(self, name: str, make: Callable[[Path], Driver]) -> Row:
        """A row whose driver gets a folder of its own."""
        home = self.scratch / folder(name)
        return name, lambda: make(home)

    def served(self, ways: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of the ways that this endpoint has; plain http with each checksum mode, where it has no https."""
        kept = [way for way in ways if way[0] in self.schemes]
        return kept if "https" in self.schemes else list(dict.fromkeys(("http", mode) for _, mode in ways))

    def boto(self) -> Iterator[Row]:
        """boto3, in every combination."""
        styles = ["path", "virtual"] if self.target.domain else ["path"]
        for scheme, checksums, style in itertools.product(self.schemes, ["default", "required"], styles):
            yield self.row(
                f"boto3 {scheme} {checksums} {style}",
                lambda home, s=scheme, c=checksums, y=style: Boto(self.target, home, s, c, y),
            )

    def six(self, full: bool) -> Iterator[Row]:
        """The other five of the ci tier: there https (http directly) and the default checksums only."""
        first = [(self.schemes[-1], "default")]

        def version_1(home: Path, scheme: str, checksums: str) -> Driver:
            command = provision.venv("awscli") / "bin" / "aws"
            return AwsCli(self.target, home, command, ("CRC32", "SHA1", "SHA256"), scheme, checksums)

        yield from self.ways("aws cli v1", version_1, self.served(PAIRS) if full else first)
        schemes = self.schemes if full else self.schemes[-1:]
        for scheme in schemes:
            yield self.row(f"rclone {scheme}", self.debian("rclone", Rclone, scheme))
        for scheme in schemes:
            yield self.row(f"s3cmd {scheme}", self.debian("s3cmd", S3cmd, scheme))

        def javascript(home: Path, scheme: str, checksums: str) -> Driver:
            return JavaScript(self.target, home, "aws", scheme, checksums)

        yield from self.ways("aws-sdk-js", javascript, self.served(CROSS) if full else first)
        for scheme in schemes:
            yield self.row(
                f"minio-js {scheme}", lambda home, s=scheme: JavaScript(self.target, home, "minio", s)
            )

    def commands(self) -> Iterator[Row]:
        """The commands of the full tier."""

        def version_2(home: Path, scheme: str, checksums: str) -> Driver:
            return AwsCli(self.target, home, provision.aws_cli_2(), ALL_ALGORITHMS, scheme, checksums)

        yield from self.ways("aws cli v2", version_2, self.served(PAIRS))
        for scheme in self.schemes:
            yield self.row(
                f"s5cmd {scheme}",
                lambda home, s=scheme: S5cmd(
                    self.target, home, next(provision.venv("s5cmd").glob("lib/*/site-packages/s5cmd/bin/s5cmd")), s
                ),
            )
        for scheme in self.schemes:
            yield self.row(f"restic {scheme}", self.debian("restic", Restic, scheme))

    def python(self) -> Iterator[Row]:
        """Python libraries, each in its own venv, since what one brings changes what another does."""
        program = RIG / "py" / "clients.py"

        def library(which: str, venv: str, algorithms: tuple[str, ...] = (), **more):
            def make(home: Path, scheme: str, checksums: str) -> Driver:
                command = [*python(provision.venv(venv), program), which]
                return LineDriver(self.target, home, command, scheme, checksums, None, algorithms, **more)

            return make

        yield from self.ways("boto3+crt", library("crt", "boto3crt", ALL_ALGORITHMS), self.served(CROSS))
        if self.target.alias:
            mrap = library("crt", "boto3crt", ALL_ALGORITHMS, alias=self.target.alias)
            yield self.row("boto3+crt mrap", lambda home: mrap(home, "https", "default"))
        yield from self.ways("s3fs", library("s3fs", "s3fs"), self.served(CROSS))
        for scheme in self.schemes:
            made = library("minio", "minio")
            yield self.row(f"minio-py {scheme}", lambda home, s=scheme: made(home, s, "default"))
        modes = [(scheme, mode) for scheme in self.schemes for mode in ("default", "SHA256")]
        yield from self.ways("obstore", library("obstore", "obstore"), modes)
        yield from self.ways("pyarrow", library("pyarrow", "pyarrow"), self.served(CROSS))

    def compiled(self) -> Iterator[Row]:
        """Programs that are built here."""

        def go(which: str, algorithms: tuple[str, ...] = ()):
            def make(home: Path, scheme: str) -> Driver:
                command = [provision.go_clients(), which]
                return LineDriver(self.target, home, command, scheme, algorithms=algorithms)

            return make

        # Debian's is of a time when there was no mode to choose
        for scheme in self.schemes:
            made = go("aws", ("CRC32", "CRC32C", "SHA1", "SHA256"))
            yield self.row(f"aws-sdk-go {scheme}", lambda home, s=scheme, m=made: m(home, s))
        for scheme in self.schemes:
            yield self.row(f"minio-go {scheme}", lambda home, s=scheme, m=go("minio"): m(home, s))

        def rust(home: Path, scheme: str, checksums: str) -> Driver:
            env = {"SSL_CERT_FILE": str(self.target.ca)} if self.target.ca else {}
            command = [provision.rust_client()]
            return LineDriver(self.target, home, command, scheme, checksums, env, ALL_ALGORITHMS)

        yield from self.ways("aws-sdk-rust", rust, self.served(CROSS))

        def java(home: Path) -> Driver:
            raise provision.Unavailable(
                "the AWS SDK for Java v2 is on Maven Central only, which this rig does not reach: it has no driver"
            )

        yield self.row("aws-sdk-java", java)

    def ways(self, name: str, make: Callable[[Path, str, str], Driver], ways: list[tuple[str, str]]) -> Iterator[Row]:
        """One row for each scheme with a checksum mode."""
        for scheme, checksums in ways:
            yield self.row(
                f"{name} {scheme} {checksums}", lambda home, s=scheme, c=checksums: make(home, s, c)
            )

    def debian(self, package: str, make: Callable[..., Driver], scheme: str) -> Callable[[Path], Driver]:
        """A maker that installs the command of a Debian package first."""

        def maker(home: Path) -> Driver:
            provision.debian([package])
            return make(self.target, home, scheme)

        return maker
