"""nearpoint under test: its configuration written from the regions in place, its process, what it says about itself."""

import json
import os
import secrets
import subprocess
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from certificates import Certificates
from places import ROOT, say, target_dir
from processes import NotReady, Service, free_port, wait_until
from stores.region import Region

DOMAIN = "s3.rig.test"
ALIAS_DOMAIN = "accesspoint.s3-global.amazonaws.com"  # where SDKs look for multi-region access points
ALIAS = "mfzwi23gnjvgw.mrap"
LOGICAL_REGION = "eu-north-1"  # no store's: a signature that leaked through unsigned-anew would be seen


@dataclass
class AccessPoint:
    """A logical bucket: one purpose's bucket in each region, its order of reads, its home, its failover settings."""

    name: str
    purpose: str
    order: list[str]
    home: str
    reads_failover: str = "allow"
    writes_failover: str = "refuse"
    alias: str | None = None


@dataclass
class Client:
    """A key pair known to the proxy only."""

    name: str = "rig"
    access_key: str = field(default_factory=lambda: "NPRIG" + secrets.token_hex(8).upper())
    secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(30))


def yaml(value, indent: int = 0) -> str:
    """Block YAML of plain dictionaries, lists of dictionaries and scalars; scalars are written as JSON."""
    pad = "  " * indent
    if isinstance(value, dict):
        lines = []
        for key, item in value.items():
            nested = isinstance(item, dict) or (isinstance(item, list) and item and isinstance(item[0], dict))
            text = "\n" + yaml(item, indent + 1) if nested else f" {json.dumps(item)}\n"
            lines.append(f"{pad}{key if key[0].isalnum() else json.dumps(key)}:{text}")
        return "".join(lines)
    if isinstance(value, list):
        return "".join(f"{pad}- {yaml(item, indent + 1).lstrip()}" for item in value)
    return f"{pad}{json.dumps(value)}\n"


def full_access(points: list[AccessPoint]) -> str:
    """An IAM policy that grants everything on these access points: s3cmd reads a bucket's policy and CORS rules too."""
    resources = [f"arn:aws:s3:::{point.name}{what}" for point in points for what in ("", "/*")]
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": resources}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def configuration(
    regions: list[Region],
    profile: str,
    points: list[AccessPoint],
    client: Client,
    ports: dict[str, int],
    certificates: Certificates,
    token_key: str,
    state_dir: Path,
    policy: Path,
    overlay: dict | None = None,
    anonymous: str = "deny",
    standard: str | None = None,
) -> str:
    """The YAML text of one gateway; `overlay` is laid over it, mapping by mapping."""
    where = {
        "http": {
            "address": f"127.0.0.1:{ports['http']}",
            "verify": "required",
            "anonymous": anonymous,
            "debug_headers": True,
        },
        "https": {
            "address": f"127.0.0.1:{ports['https']}",
            "verify": "required",
            "tls": {"certificate": str(certificates.certificate), "key": str(certificates.key)},
        },
    }
    both = [where["http"], where["https"]]
    if standard:
        both += [where["http"] | {"address": f"{standard}:80"}, where["https"] | {"address": f"{standard}:443"}]
    return yaml(
        laid_over(
            overlay or {},
            {
                "logical_region": LOGICAL_REGION,
                "tokens": {"keys": [token_key]},
                "state_dir": str(state_dir),
                "listeners": {
                    "s3": both,
                    "admin": {"address": f"127.0.0.1:{ports['admin']}"},
                },
                "domains": [DOMAIN, ALIAS_DOMAIN],
                "regions": {
                    region.name: {
                        "endpoint": region.endpoint,
                        "signing_region": region.signing_region,
                        "addressing": "path",
                        "profile": profile,
                        "credentials": {
                            "access_key_id": region.access_key,
                            "secret_access_key": region.secret_key,
                        },
                        **region.extras.get("configuration", {}),
                    }
                    for region in regions
                },
                "access_points": {
                    point.name: {
                        **({"alias": point.alias} if point.alias else {}),
                        "buckets": {region.name: region.bucket(point.purpose) for region in regions},
                        "reads": {"order": point.order, "failover": point.reads_failover},
                        "writes": {"order": "home", "home": point.home, "failover": point.writes_failover},
                        "replication": "two_way",
                    }
                    for point in points
                },
                "clients": [
                    {
                        "name": client.name,
                        "access_key_id": client.access_key,
                        "secret_access_key": client.secret_key,
                        "policy": str(policy),
                        "signature_v2": "presigned_reads",  # s3cmd signs its URLs so
                    }
                ],
                "telemetry": {"log": "info", "access_log": "stdout", "format": "json"},
            },
        )
    )


def laid_over(upper: dict, lower: dict) -> dict:
    """Both, where both are mappings; else the upper."""
    both = dict(lower)
    for key, value in upper.items():
        under = both.get(key)
        both[key] = laid_over(value, under) if isinstance(value, dict) and isinstance(under, dict) else value
    return both


class Gateway:
    """One nearpoint process over the regions of one store."""

    def __init__(
        self,
        name: str,
        scratch: Path,
        regions,
        profile,
        points,
        client: Client,
        certificates,
        token_key: str,
        overlay: dict | None = None,
        inside: tuple[str, ...] = (),
        anonymous: str = "deny",
        standard: str | None = None,
    ):
        self.name = name
        self.home = scratch / name
        (self.home / "state").mkdir(parents=True, exist_ok=True)
        self.client = client
        self.certificates = certificates
        self.ports = {what: free_port() for what in ("http", "https", "admin")}
        policy = self.home / "policy.json"
        policy.write_text(full_access(points))
        self.file = self.home / "nearpoint.yaml"
        self.file.write_text(
            configuration(
                regions,
                profile,
                points,
                client,
                self.ports,
                certificates,
                token_key,
                self.home / "state",
                policy,
                overlay,
                anonymous,
                standard,
            )
        )
        self.file.chmod(0o600)
        self.log = self.home / "nearpoint.log"
        self.service = Service(name, [*inside, binary(), "serve", "--config", self.file], self.log)

    def start(self) -> "Gateway":
        """Checks the configuration, starts, waits for /readyz."""
        checked = subprocess.run([binary(), "check", str(self.file)], capture_output=True, text=True)
        if checked.returncode:
            raise NotReady(f"nearpoint check: {checked.stdout}{checked.stderr}")
        self.service.start()
        self.service.await_port(self.ports["http"], 20)
        wait_until(self._ready, 20, f"{self.name} is not ready: {self.service.tail()}")
        say(f"{self.name}: {self.endpoint('http')} {self.endpoint('https')}")
        return self

    def stop(self) -> int | None:
        """Drains and ends; answers the exit code."""
        return self.service.stop(40)

    def endpoint(self, scheme: str, host: str = "127.0.0.1") -> str:
        """The base URL of a listener."""
        return f"{scheme}://{host}:{self.ports[scheme]}"

    def _ready(self) -> bool:
        if not self.service.alive():
            raise NotReady(f"{self.name} ended: {self.service.tail()}")
        try:
            return urllib.request.urlopen(self.admin("/readyz"), timeout=2).status == 200
        except OSError:
            return False

    def admin(self, path: str) -> str:
        """A URL of the admin listener."""
        return f"http://127.0.0.1:{self.ports['admin']}{path}"

    def lines(self) -> list[dict]:
        """Every JSON line it has written: log and access log."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
        return found


_BINARY: list[Path] = []


def binary() -> Path:
    """The release binary: NEARPOINT_BIN, or built here once."""
    if not _BINARY:
        given = os.environ.get("NEARPOINT_BIN")
        if given:
            _BINARY.append(Path(given).resolve())
        else:
            say("cargo build --release")
            env = dict(os.environ, CARGO_TARGET_DIR=str(target_dir()))
            subprocess.run(
                ["cargo", "build", "--release", "--locked", "--bin", "nearpoint"],
                cwd=ROOT,
                env=env,
                check=True,
            )
            _BINARY.append(target_dir() / "release" / "nearpoint")
    return _BINARY[0]
