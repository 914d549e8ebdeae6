"""Garage: three single-node clusters; the only store here that checks the region in the credential scope."""

import secrets
import subprocess
import urllib.request

import provision
from places import say
from processes import NotReady, Service, free_port, wait_until

from stores.region import Region, Store, User

CONF = """
metadata_dir = "{home}/meta"
data_dir = "{home}/data"
db_engine = "lmdb"
metadata_fsync = false
data_fsync = false
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret = "{secret}"

[s3_api]
s3_region = "{region}"
api_bind_addr = "127.0.0.1:{port}"
root_domain = ".s3.localhost"

[admin]
api_bind_addr = "127.0.0.1:{admin}"
"""


class Garage(Store):
    """Three independent Garage nodes."""

    kind = "garage"

    def install(self) -> None:
        self.binary = provision.garage()

    def start(self) -> None:
        for region in self.regions:
            self._configure(region)
            region.service.start()
        for region in self.regions:
            self._await(region)
            self._make_key(region)

    def stop(self) -> None:
        for region in self.regions:
            if region.service:
                region.service.kill()

    def revive(self, region: Region) -> None:
        region.service.start()
        self._await(region)

    def make_user(self, region: Region, name: str) -> User:
        user = User("GK" + secrets.token_hex(12), secrets.token_hex(32))
        self._cli(region, "key", "import", "--yes", "-n", name, user.access_key, user.secret_key)
        self._cli(region, "key", "allow", "--create-bucket", user.access_key)
        return user

    def _configure(self, region: Region) -> None:
        home = self.home / region.short
        for name in ("meta", "data"):
            (home / name).mkdir(parents=True, exist_ok=True)
        region.extras["admin"] = free_port()
        text = CONF.format(
            home=home,
            rpc=free_port(),
            secret=secrets.token_hex(32),
            region=region.signing_region,
            port=region.port,
            admin=region.extras["admin"],
        )
        conf = home / "garage.toml"
        conf.write_text(text)
        conf.chmod(0o600)
        region.extras["conf"] = conf
        command = [self.binary, "-c", conf, "server", "--single-node"]
        env = {"RUST_LOG": "garage=warn"}
        region.service = Service(f"garage {region.name}", command, home / "log", env)

    def _await(self, region: Region) -> None:
        def healthy() -> bool:
            if not region.service.alive():
                raise NotReady(f"garage {region.name} ended: {region.service.tail()}")
            try:
                url = f"http://127.0.0.1:{region.extras['admin']}/health"
                return urllib.request.urlopen(url, timeout=2).status == 200
            except OSError:
                return False

        wait_until(healthy, 30, f"garage {region.name} is not healthy")
        region.service.await_port(region.port)
        say(f"garage: {region.name} on {region.endpoint}")

    def _cli(self, region: Region, *words: str) -> None:
        command = [str(self.binary), "-c", str(region.extras["conf"]), *words]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise NotReady(f"garage {words[0]} {words[1]}: {done.stderr.strip()[-400:]}")

    def _make_key(self, region: Region) -> None:
        user = self.make_user(region, "rig")
        region.access_key, region.secret_key = user.access_key, user.secret_key
        for purpose in self.purposes:
            bucket = region.bucket(purpose)
            self._cli(region, "bucket", "create", bucket)
            allowed = ["--read", "--write", "--owner", bucket, "--key", region.access_key]
            self._cli(region, "bucket", "allow", *allowed)
