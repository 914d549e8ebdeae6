"""The end-to-end tests of s3s, a Rust implementation of S3's server side: the AWS SDK for Rust, checksums, STS."""

import json
from pathlib import Path

import provision
from report import FAIL, NOT_RUN, PASS

from suites.suite import Case, Place, Suite, short

VERSION = "0.14.1"


class S3s(Suite):
    """Few cases, another SDK."""

    name = "s3s-e2e"
    source = f"the crate registry, s3s-e2e {VERSION}"

    def install(self) -> None:
        self.program = provision.crate("s3s-e2e", VERSION)

    def run(self, place: Place, scratch: Path, only: list[str] | None) -> dict[str, Case]:
        results = scratch / "results.json"
        self.execute([self.program, "--json", results], place, scratch)
        if not results.exists():
            return {}
        return {
            f"{fixture['name']}::{case['name']}": _case(case)
            for suite in json.loads(results.read_text())["suites"]
            for fixture in suite["fixtures"]
            for case in fixture["cases"]
        }


def _case(found: dict) -> Case:
    if found["ignored"]:
        return Case(NOT_RUN, "ignored")
    if found["passed"]:
        return Case(PASS)
    return Case(FAIL, short(json.dumps((found.get("run") or {}).get("result"))))
