"""Ceph RADOS Gateway from Debian: three realms, a radosgw process each, over one small cluster in memory.

What a first attempt stumbles over: radosgw loops on EACCES unless clients use cephx too; the monitor ignores an OSD
whose id differs from the one announced by `ceph osd new`; a memstore OSD that restarts has lost its pools; a killed
radosgw starts again only once the OSD has given up its watches (30 s by default, hence the short timeouts).
"""

import base64
import secrets
import shutil
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor

import provision
from places import say
from processes import NotReady, Service, free_port, wait_until

from stores.region import SITES, Region, Store, User

OSD_BYTES = 6 << 30
KMS_KEY = "rig-key"

CONF = """
[global]
fsid = {fsid}
mon initial members = a
mon host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = true
keyring = {home}/keyring
admin socket = {home}/run/$cluster-$name.$pid.asok
run dir = {home}/run
log file = {home}/log/$name.log
crash dir = {home}/log
mon data = {home}/mon
mgr data = {home}/mgr
osd data = {home}/osd
mon cluster log file = {home}/log/cluster.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 2
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon warn on pool no redundancy = false
mon allow pool size one = true
mon allow pool delete = true
mon max pg per osd = 2000
osd max pg per osd hard ratio = 10
mon data avail crit = 1
mon data avail warn = 2
debug ms = 0
[osd]
osd objectstore = memstore
memstore device bytes = {bytes}
osd scrub load threshold = 0
osd client watch timeout = 4
[mgr]
mgr initial modules =
[client]
rgw enable usage log = false
rgw gc obj min wait = 20
rgw gc processor period = 20
rgw gc processor max time = 20
rgw thread pool size = 64
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = {kms_key}={kms_secret}
objecter tick interval = 1
"""


class Ceph(Store):
    """Three independent RGW regions."""

    kind = "ceph"

    def __init__(self, scratch, purposes, sites=SITES):
        super().__init__(scratch, purposes, sites)
        self.conf = self.home / "ceph.conf"
        self.daemons: list[Service] = []

    def install(self) -> None:
        provision.debian(provision.CEPH)

    def start(self) -> None:
        for name in ("run", "log", "mon", "mgr", "osd"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        self._start_cluster()
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._start_region, self.regions))
        self.make_buckets()

    def stop(self) -> None:
        for region in self.regions:
            if region.service:
                region.service.kill()
        for daemon in reversed(self.daemons):
            daemon.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def revive(self, region: Region) -> None:
        assert region.service is not None
        region.service.start()
        self._await_region(region)

    def make_user(self, region: Region, name: str) -> User:
        user = User(f"RGW{region.short.upper()}{secrets.token_hex(6).upper()}", secrets.token_urlsafe(30))
        self._run(
            *("radosgw-admin", "-c", str(self.conf), "user", "create", *self._zone(region)),
            *("--uid", f"{name}-{region.short}", "--display-name", name),
            *("--access-key", user.access_key, "--secret-key", user.secret_key),
            tries=3,
        )
        return user

    def _run(self, *command: str, tries: int = 1) -> str:
        for attempt in range(tries):
            done = subprocess.run(command, capture_output=True, text=True, env=self._env())
            if done.returncode == 0:
                return done.stdout
        raise NotReady(f"{' '.join(command[:4])}: {done.stderr.strip()[-400:]}")

    @staticmethod
    def _env() -> dict:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}

    def _ceph(self, *words: str, tries: int = 1) -> str:
        return self._run("ceph", "-c", str(self.conf), "--connect-timeout", "5", *words, tries=tries)

    def _daemon(self, name: str, *command: str) -> Service:
        service = Service(name, [*command, "-c", self.conf, "-f"], self.home / "log" / f"{name}.out").start()
        self.daemons.append(service)
        return service

    def _start_cluster(self) -> None:
        fsid = str(uuid.uuid4())
        v1, v2 = free_port(), free_port()
        secret = base64.b64encode(secrets.token_bytes(32)).decode()
        kms = {"kms_key": KMS_KEY, "kms_secret": secret}
        self.conf.write_text(CONF.format(fsid=fsid, v1=v1, v2=v2, home=self.home, bytes=OSD_BYTES, **kms))
        keyring, monmap = self.home / "keyring", self.home / "monmap"
        tool = ["ceph-authtool", str(keyring)]
        self._run(*tool, "--create-keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        caps = [word for part in ("mon", "osd", "mgr", "mds") for word in ("--cap", part, "allow *")]
        self._run(*tool, "--gen-key", "-n", "client.admin", *caps)
        address = f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]"
        self._run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", address, str(monmap))
        conf = ["-c", str(self.conf)]
        self._run("ceph-mon", *conf, "--mkfs", "-i", "a", "--monmap", str(monmap), "--keyring", str(keyring))
        self._daemon("mon", "ceph-mon", "-i", "a")
        self._ceph("quorum_status", tries=20)
        for who, extra in (("mgr.x", ["mds", "allow *"]), ("osd.0", ["mgr", "allow profile osd"])):
            profile = "allow profile " + who.split(".")[0]
            key = self._ceph("auth", "get-or-create", who, "mon", profile, "osd", "allow *", *extra)
            with keyring.open("a") as ring:
                ring.write(key)
        self._daemon("mgr", "ceph-mgr", "-i", "x")
        osd = str(uuid.uuid4())
        self._ceph("osd", "new", osd)
        self._run("ceph-osd", *conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._daemon("osd", "ceph-osd", "-i", "0")
        wait_until(lambda: "1 up" in self._ceph("osd", "stat"), 60, "the OSD is not up")
        say("ceph: cluster up")

    def _zone(self, region: Region) -> list[str]:
        name = region.signing_region
        return [f"--rgw-realm={name}", f"--rgw-zonegroup={name}", f"--rgw-zone={name}"]

    def _start_region(self, region: Region) -> None:
        zone = self._zone(region)
        admin = ["radosgw-admin", "-c", str(self.conf)]
        self._run(*admin, "realm", "create", zone[0], tries=3)
        self._run(
            *admin,
            "zonegroup",
            "create",
            *zone[:2],
            f"--api-name={region.signing_region}",
            "--master",
            tries=3,
        )
        self._run(*admin, "zone", "create", *zone, "--master", tries=3)
        self._run(*admin, "period", "update", "--commit", *zone, tries=3)
        user = self.make_user(region, "rig")
        region.access_key, region.secret_key = user.access_key, user.secret_key
        log = self.home / "log" / f"rgw.{region.short}"
        command = [
            "radosgw",
            "-c",
            self.conf,
            "-f",
            "-n",
            "client.admin",
            "--keyring",
            self.home / "keyring",
            *zone,
        ]
        command += [
            "--rgw-frontends",
            f"beast endpoint=127.0.0.1:{region.port} tcp_nodelay=1",
            "--log-file",
            f"{log}.log",
        ]
        region.service = Service(f"radosgw {region.name}", command, log.with_suffix(".out"))
        self.revive(region)

    def _await_region(self, region: Region) -> None:
        assert region.service is not None
        region.service.await_port(region.port, 120)
        say(f"ceph: {region.name} on {region.endpoint}")
