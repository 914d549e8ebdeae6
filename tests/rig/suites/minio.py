"""MinIO's functional tests of its own client libraries: Go's from Debian's package, Python's from the source archive on PyPI."""

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import provision
from places import CACHE, RIG, say
from report import FAIL, NOT_RUN, PASS

from suites.suite import Case, Place, Suite, short

OUTCOMES = {"PASS": PASS, "FAIL": FAIL, "NA": NOT_RUN}
GO_HOME = Path("/usr/share/gocode")
GO_MODULE = GO_HOME / "src/github.com/minio/minio-go/v7"
PY_VERSION = "7.2.20"
PY_SHA256 = "95898b7a023fbbfde375985aa77e2cd6a0762268db79cf886f002a9ea8e68598"


def environment(place: Place) -> dict[str, str]:
    """What these suites read."""
    return {
        "SERVER_ENDPOINT": f"{place.host}:{place.port}",
        "ACCESS_KEY": place.main.user.access_key,
        "SECRET_KEY": place.main.user.secret_key,
        "ENABLE_HTTPS": "0",
        "ENABLE_KMS": "0",
        "MINT_MODE": "full",
        "RUN_ON_FAIL": "1",
    }


def cases(output: str) -> dict[str, Case]:
    """The outcomes among the lines: JSON objects with a name and a status. A case that failed once has failed."""
    found: dict[str, Case] = {}
    for line in output.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or entry.get("status") not in OUTCOMES:
            continue
        name = entry.get("name", "").partition(":")[2].strip()
        why = short(f"{entry.get('alert', '')} {entry.get('message', '')} {_error(entry.get('error'))}")
        if name not in found or found[name].outcome != FAIL:
            found[name] = Case(OUTCOMES[entry["status"]], why)
    return found


def _error(value) -> str:
    """The last line of a Python trace, or what Go tells of an error."""
    if isinstance(value, str):
        return value.strip().rpartition("\n")[2]
    return json.dumps(value) if value else ""


class MinioGo(Suite):
    """minio-go's: streaming signatures, multipart, compose, versions, locks, presigned URLs and forms."""

    name = "minio-go"
    source = "Debian golang-github-minio-minio-go-v7-dev"

    def install(self) -> None:
        provision.debian(["golang-go", "golang-github-minio-minio-go-v7-dev"])
        text = (GO_MODULE / "functional_tests.go").read_bytes()
        self.program = CACHE / "suites" / f"minio-go-{hashlib.sha256(text).hexdigest()[:12]}"
        if self.program.exists():
            return
        say("go build minio-go's functional tests")
        self.program.parent.mkdir(parents=True, exist_ok=True)
        made = self.program.with_suffix(".new")
        env = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(Path.home()),
            "GO111MODULE": "off",
            "GOPATH": str(GO_HOME),
            "GOFLAGS": "-buildvcs=false",
            "GOCACHE": str(CACHE / "go-build"),
        }
        command = ["go", "build", "-o", str(made), "functional_tests.go"]
        done = subprocess.run(command, cwd=GO_MODULE, env=env, capture_output=True, text=True)
        if done.returncode:
            raise provision.Unavailable(f"go build: {done.stderr[-600:]}")
        made.rename(self.program)

    def run(self, place: Place, scratch: Path, only: list[str] | None) -> dict[str, Case]:
        # the program has no way to choose cases
        return cases(self.execute([self.program], place, scratch, environment(place)))


class MinioPy(Suite):
    """minio-py's."""

    name = "minio-py"
    source = f"PyPI minio {PY_VERSION}, source archive"

    def install(self) -> None:
        self.venv = provision.venv("minio")
        home = CACHE / "suites" / f"minio-py-{PY_VERSION}"
        self.program = home / "tests.py"
        if self.program.exists():
            return
        archive = provision.source_archive("minio", PY_VERSION, PY_SHA256)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        with tarfile.open(archive) as packed:
            text = packed.extractfile(f"minio-{PY_VERSION}/tests/functional/tests.py").read()
        self.program.write_bytes(text)

    def run(self, place: Place, scratch: Path, only: list[str] | None) -> dict[str, Case]:
        command = [self.venv / "bin" / "python", "-P", RIG / "suites" / "minio_py.py", self.program, *(only or [])]
        return cases(self.execute(command, place, scratch, environment(place)))
