"""What a conformance suite is, whoever wrote it: installed once, pointed at an endpoint, one outcome a case."""

import os
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from report import FAIL, NOT_RUN, PASS
from stores import User

SECONDS_MOST = 1500  # of one suite at one endpoint; a longer one hangs
REASON_MOST = 300  # characters


@dataclass
class Account:
    """A user as the store names it in owners and grants."""

    user: User
    id: str
    display_name: str


@dataclass
class Place:
    """Where a suite is pointed: an endpoint, the region to sign for, and who may do what there."""

    name: str
    host: str
    port: int
    region: str
    main: Account
    alt: Account

    @property
    def endpoint(self) -> str:
        """The base URL."""
        return f"http://{self.host}:{self.port}"

    def environment(self) -> dict[str, str]:
        """This process's environment with what AWS SDKs read, and nothing of the machine's own profiles."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return clean | {
            "AWS_ACCESS_KEY_ID": self.main.user.access_key,
            "AWS_SECRET_ACCESS_KEY": self.main.user.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",  # a repeat would hide a failure, and costs time where the store has only 500 to say
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "PYTHONDONTWRITEBYTECODE": "1",
        }


@dataclass
class Case:
    """How one case ended."""

    outcome: str
    reason: str = ""


class Suite(ABC):
    """One public suite."""

    name = ""
    source = ""  # registry, package and version

    @abstractmethod
    def install(self) -> None:
        """Gets it; raises provision.Unavailable."""

    @abstractmethod
    def run(self, place: Place, scratch: Path, only: list[str] | None) -> dict[str, Case]:
        """Every case, or those named; one that could not be reached at all is missing."""

    def execute(self, command: list, place: Place, scratch: Path, more: dict | None = None) -> str:
        """Runs the suite's own program in a folder of its own; what it printed. One that hangs is ended."""
        scratch.mkdir(parents=True, exist_ok=True)
        log = scratch / "output"
        with log.open("wb") as sink:
            try:
                subprocess.run(
                    [str(word) for word in command],
                    cwd=scratch,
                    env=place.environment() | {"TMPDIR": str(scratch)} | (more or {}),
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    timeout=SECONDS_MOST,
                )
            except subprocess.TimeoutExpired:
                sink.write(f"\nended after {SECONDS_MOST} s\n".encode())
        return log.read_text(errors="replace")


def short(text: str) -> str:
    """One line that tells why."""
    return " ".join(text.split())[:REASON_MOST]


def junit(path: Path) -> dict[str, Case]:
    """The cases of a JUnit file, as pytest writes it, by module and name."""
    if not path.exists():
        return {}
    found: dict[str, Case] = {}
    for element in ElementTree.parse(path).iter("testcase"):
        module = element.get("classname", "").split(".")
        name = f"{next((part for part in module if part.startswith('test_')), module[-1])}::{element.get('name')}"
        case = Case(PASS)
        for child in element:
            if child.tag == "failure" and "XPASS(strict)" in (child.get("message") or ""):
                case = Case(PASS)  # better than its authors expected of their store
            elif child.tag in ("failure", "error"):
                case = Case(FAIL, short(child.get("message") or child.text or ""))
            elif child.tag == "skipped":
                expected = child.get("type") == "pytest.xfail"
                case = Case(FAIL if expected else NOT_RUN, short(child.get("message") or ""))
        if name not in found or case.outcome == FAIL:
            found[name] = case
    return found


def pytest_words(only: list[str] | None) -> list[str]:
    """Words that make pytest run no more than these cases (and perhaps some of similar names)."""
    if only is None:
        return []
    names = {name.partition("::")[2].partition("[")[0] for name in only}
    return ["-k", " or ".join(sorted(names))]
