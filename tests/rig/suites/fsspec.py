"""The tests of s3fs, Python's file system over S3 (aiobotocore, asynchronous): they are in its source archive on PyPI."""

import shutil
import tarfile
from pathlib import Path

import provision
from places import CACHE, RIG

from suites.suite import Case, Place, Suite, junit, pytest_words

VERSION = "2026.9.0"
SHA256 = "ec078ff0122d28fd21d36ea4987794e4f42ecd6e8785eeaa083208771c1464e5"
FILE = "test_s3fs.py"


class S3fs(Suite):
    """Written for a moto of their own; `s3fs_at.py` points them elsewhere."""

    name = "s3fs"
    source = f"PyPI s3fs {VERSION}, source archive"

    def install(self) -> None:
        self.venv = provision.venv("s3fs")
        self.home = CACHE / "suites" / f"s3fs-{VERSION}"
        if (self.home / FILE).exists():
            return
        archive = provision.source_archive("s3fs", VERSION, SHA256)
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        with tarfile.open(archive) as packed:
            text = packed.extractfile(f"s3fs-{VERSION}/s3fs/tests/{FILE}").read()
        (self.home / FILE).write_bytes(text)

    def run(self, place: Place, scratch: Path, only: list[str] | None) -> dict[str, Case]:
        scratch.mkdir(parents=True, exist_ok=True)
        results = scratch / "junit.xml"
        words = [
            *(self.venv / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "s3fs_at"),
            *("-W", "ignore", "--tb=short", "--show-capture=no", "--rootdir", self.home),
            *(self.home / FILE, f"--junitxml={results}", *pytest_words(only)),
        ]
        self.execute(words, place, scratch, {"PYTHONPATH": str(RIG / "suites")})
        return junit(results)
