"""The project's own regions as processes: strict, fast, with a log that outlives them, each in a namespace of its own."""

import os
import secrets
import subprocess
from pathlib import Path

from places import ROOT, say, target_dir
from processes import NotReady, Service
from scoreboard.lab import Lab

from stores.region import Region, Store

PORT, CONTROL = 9000, 9001
HONOURS = [
    "conditional_writes",
    "sse",
    "sse_kms",
    "sse_c",
    "object_lock",
    "acl",
    "tagging",
    "versioning",
    "trailers",
    "checksums",
    "attributes",
]


def tool(name: str) -> Path:
    """A test tool of the project: from the folder NEARPOINT_TOOLS, or built in release once."""
    given = os.environ.get("NEARPOINT_TOOLS")
    if given:
        return Path(given) / name
    path = target_dir() / "release" / "examples" / name
    if name not in _BUILT:
        say(f"cargo build --release --example {name}")
        command = ["cargo", "build", "--release", "--locked", "--example", name]
        subprocess.run(
            command, cwd=ROOT, env=dict(os.environ, CARGO_TARGET_DIR=str(target_dir())), check=True
        )
        _BUILT.add(name)
    return path


_BUILT: set[str] = set()


class Own(Store):
    """Three regions over the far paths of a lab."""

    kind = "custom"

    def __init__(self, scratch: Path, purposes: list[str], lab: Lab, versioned: bool = False):
        super().__init__(scratch, purposes)
        self.lab = lab
        self.versioned = versioned
        for region, leg in zip(self.regions, lab.legs):
            region.host, region.port = leg.address, PORT
            region.access_key, region.secret_key = (
                "RG" + secrets.token_hex(8).upper(),
                secrets.token_hex(24),
            )
            region.extras = {
                "leg": leg,
                "configuration": {"honours": HONOURS, "trailers": "pass", "body_hash": "store"},
            }

    def install(self) -> None:
        tool("region")

    def start(self) -> None:
        for region in self.regions:
            region.service = Service(
                f"region {region.name}", self._command(region), self.home / f"{region.short}.log"
            )
            region.service.start()
        for region in self.regions:
            self._await(region)

    def stop(self) -> None:
        for region in self.regions:
            if region.service:
                region.service.kill()

    def revive(self, region: Region) -> None:
        region.service.kill()  # reaps it
        region.service.start()
        self._await(region)

    def folder(self, region: Region) -> Path:
        """Where a region keeps its log."""
        return self.home / region.short

    def _await(self, region: Region) -> None:
        region.service.await_port(CONTROL, 20, region.extras["leg"].near)
        if not region.service.alive():
            raise NotReady(f"{region.service.name} ended: {region.service.tail()}")

    def _command(self, region: Region) -> list[str]:
        leg = region.extras["leg"]
        words = [
            *(tool("region"), "--name", region.name, "--listen", f"0.0.0.0:{PORT}"),
            *("--control", f"{leg.near}:{CONTROL}", "--home", self.folder(region)),
            *("--signing-region", region.signing_region),
            *("--access-key-id", region.access_key, "--secret", region.secret_key),
        ]
        for purpose in self.purposes:
            words += ["--bucket", region.bucket(purpose)]
        return leg.inside(*words, *(["--versioned"] if self.versioned else []))
