"""Installs what the suite drives, once, into the cache: Debian packages, Python venvs, npm modules, crates.

Standard library only: it runs before any venv exists. Every step leaves a marker named after its exact
contents, so a second run costs nothing and a changed pin installs anew.
"""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from places import CACHE, RIG, say

CEPH = ["ceph-mon", "ceph-mgr", "ceph-osd", "ceph-common", "radosgw"]
TOOLS = ["curl", "openssl", "rclone", "s3cmd"]
GARAGE_VERSION = "2.5.0"
# The builds are long (Garage: half an hour with its own profile on two cores): no link-time optimisation, light code.
LIGHT_BUILD = {
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "1",
    "CARGO_PROFILE_RELEASE_DEBUG": "0",
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
    "CARGO_PROFILE_RELEASE_STRIP": "symbols",
}
LOCK_SECONDS = 600
TRIES = 4


class Unavailable(Exception):
    """A tool could not be installed; its cells are *not run* with this reason."""


def retried(command: list[str], what: str, env: dict | None = None, cwd: Path | None = None) -> None:
    """Runs a command that talks to a registry, a few times, with growing pauses; its output only if it fails."""
    last = ""
    for attempt in range(TRIES):
        done = subprocess.run(
            command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode == 0:
            return
        last = done.stdout[-2000:]
        say(f"{what}: try {attempt + 1} of {TRIES} failed")
        if attempt + 1 < TRIES:
            time.sleep(5 * (attempt + 1))
    raise Unavailable(f"{what} could not be installed: {last.strip()[-600:]}")


def _installed(package: str) -> bool:
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f=${db:Status-Status}", package], capture_output=True, text=True
    )
    return asked.stdout == "installed"


def debian(packages: list[str]) -> None:
    """Installs the missing ones among these Debian packages."""
    missing = [package for package in packages if not _installed(package)]
    if not missing:
        return
    say("apt-get install " + " ".join(missing))
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    lock = ["-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}", "-o", "Acquire::Retries=3"]
    retried(["apt-get", *lock, "update", "-qq"], "apt-get update", env)
    retried(
        ["apt-get", *lock, "install", "-y", "-qq", "--no-install-recommends", *missing],
        "apt-get install",
        env,
    )


def venv(name: str) -> Path:
    """A Python venv with exactly what tests/rig/requirements/NAME.txt pins; answers its folder."""
    pins = RIG / "requirements" / f"{name}.txt"
    print_of = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    home = CACHE / "venvs" / f"{name}-{print_of}"
    marker = home / ".complete"
    if marker.exists():
        return home
    say(f"venv {name}")
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    if not shutil.which("python3", path="/usr/bin") or not _installed("python3-venv"):
        debian(["python3", "python3-venv"])
    retried(["/usr/bin/python3", "-m", "venv", "--clear", str(home)], f"venv {name}")
    pip = [
        str(home / "bin" / "pip"),
        "install",
        "-q",
        "--disable-pip-version-check",
        "--retries",
        "5",
        "-r",
        str(pins),
    ]
    retried(pip, f"venv {name}")
    marker.touch()
    return home


def node() -> str:
    """The path of a Node.js new enough for the AWS SDK (20); Debian's own is older, then npm's copy of it is used."""
    for path in (shutil.which("node"), str(CACHE / "node" / "node_modules" / "node" / "bin" / "node")):
        if path and Path(path).exists():
            major = (
                subprocess.run([path, "--version"], capture_output=True, text=True)
                .stdout.lstrip("v")
                .split(".")[0]
            )
            if major.isdigit() and int(major) >= 20:
                return path
    if not shutil.which("npm"):
        debian(["nodejs", "npm"])
    home = CACHE / "node"
    home.mkdir(parents=True, exist_ok=True)
    retried(["npm", "install", "--silent", "--prefix", str(home), "node@20.19.5"], "Node.js 20")
    return str(home / "node_modules" / "node" / "bin" / "node")


def npm_modules() -> Path:
    """The folder whose node_modules is exactly tests/rig/js/package-lock.json."""
    lock = RIG / "js" / "package-lock.json"
    home = CACHE / "js" / hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    marker = home / ".complete"
    if marker.exists():
        return home
    node()
    say("npm ci")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(RIG / "js" / name, home / name)
    retried(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], "npm modules", cwd=home)
    marker.touch()
    return home


def garage() -> Path:
    """The Garage binary."""
    return crate("garage", GARAGE_VERSION)


def crate(name: str, version: str) -> Path:
    """The binary of a crate of the same name, built once from the crate registry."""
    home = CACHE / f"{name}-{version}"
    binary = home / "bin" / name
    if binary.exists():
        return binary
    say(f"cargo install {name} {version} (long)")
    env = dict(os.environ, **LIGHT_BUILD)
    env["CARGO_TARGET_DIR"] = str(home / "target")
    command = ["cargo", "install", name, "--version", version, "--locked", "--root", str(home)]
    retried(command, name, env)
    shutil.rmtree(home / "target", ignore_errors=True)
    return binary


def source_archive(name: str, version: str, sha256: str) -> Path:
    """A package's source archive from PyPI, which has what its wheels leave out, such as tests."""
    home = CACHE / "archives"
    archive = home / f"{name}-{version}.tar.gz"
    if not archive.exists():
        say(f"pip download {name} {version}")
        home.mkdir(parents=True, exist_ok=True)
        pip = [str(venv("rig") / "bin" / "pip"), "download", "-q", "--disable-pip-version-check", "--retries", "5"]
        retried([*pip, "--no-deps", "--no-binary", name, "-d", str(home), f"{name}=={version}"], archive.name)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != sha256:
        archive.unlink()
        raise Unavailable(f"{archive.name} is not the file that was pinned")
    return archive
