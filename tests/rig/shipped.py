"""The shipped config/gateway.yaml, bent to loopback: same listeners, policies, logs and limits, other addresses and secrets.

Every replacement must be found exactly once, so that a change of the shipped file cannot quietly leave this behind.
"""

import secrets
import shutil
import subprocess
import urllib.request
from pathlib import Path

import certificates
from nearpoint import binary
from places import ROOT
from processes import NotReady, Service, free_port, wait_until

LOGICAL_REGION = "eu-central-1"
BUCKET = "photos"
ACCESS_KEY = "NPTHUMBNAILER"
SECRETS = "/run/secrets/nearpoint/"


class ShippedGateway:
    """A nearpoint process under the shipped configuration, its three regions at one origin on loopback."""

    def __init__(self, home: Path, origin: int, before: tuple[str, ...] = ()):
        """`before` is put before the command: where to run, under what to run."""
        self.home = home
        self.secret_key = secrets.token_urlsafe(30)
        self.ports = {what: free_port() for what in ("https", "http", "admin")}
        self._write_secrets(home / "secrets")
        shutil.copytree(ROOT / "config" / "policies", home / "policies")
        self.file = home / "gateway.yaml"
        self.file.write_text(self._configuration(origin))
        self.env = {
            "AWS_ACCESS_KEY_ID": "ORIGIN",
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
            "AWS_EC2_METADATA_DISABLED": "true",
            "CELLAR_ACCESS_KEY_ID": "ORIGIN",
            "CELLAR_SECRET_ACCESS_KEY": secrets.token_hex(16),
        }
        command = [*before, str(binary()), "serve", "--config", str(self.file)]
        self.service = Service("nearpoint", command, home / "nearpoint.log", self.env)

    def start(self, seconds: float = 20) -> "ShippedGateway":
        """Starts and waits for /readyz."""
        self.service.start()
        wait_until(self._ready, seconds, f"nearpoint is not ready: {self.service.tail()}")
        return self

    def _write_secrets(self, folder: Path) -> None:
        pems = certificates.make(folder, ["s3.example.com"])
        pems.certificate.rename(folder / "tls.crt")
        pems.key.rename(folder / "tls.key")
        for name in ("token-key", "tenant-a"):
            (folder / name).write_text(secrets.token_hex(32))
        (folder / "thumbnailer").write_text(self.secret_key)
        subprocess.run(["chmod", "-R", "go-rwx", str(folder)], check=True)

    def _configuration(self, origin: int) -> str:
        text = (ROOT / "config" / "gateway.yaml").read_text()
        local = f"endpoint: http://127.0.0.1:{origin}"
        amazon = "\n    addressing: path\n    profile: aws\n    signing_region: "
        text = replaced(text, "address: 0.0.0.0:8443", f"address: 127.0.0.1:{self.ports['https']}")
        text = replaced(text, "- address: 127.0.0.1:9000", f"- address: 127.0.0.1:{self.ports['http']}")
        text = replaced(text, "\n    address: 127.0.0.1:9901", f"\n    address: 127.0.0.1:{self.ports['admin']}")
        for region in ("eu-central-1", "eu-west-1"):
            text = replaced(text, f"endpoint: https://s3.{region}.amazonaws.com", f"{local}{amazon}{region}")
        text = replaced(text, "endpoint: https://garage.internal:3900", local)
        # what is https only
        start = text.index("\n    tls:                            # https only")
        text = text[:start] + text[text.index("\n    probe:", start) :]
        return text.replace(SECRETS, f"{self.home}/secrets/")

    def _ready(self) -> bool:
        if not self.service.alive():
            raise NotReady(f"nearpoint ended: {self.service.tail()}")
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.ports['admin']}/readyz", timeout=2).status == 200
        except OSError:
            return False


def replaced(text: str, old: str, new: str) -> str:
    """The text with `old`, which must occur exactly once, replaced."""
    if text.count(old) != 1:
        raise SystemExit(f"config/gateway.yaml has {old!r} {text.count(old)} times: tests/rig/shipped.py is out of step")
    return text.replace(old, new)
