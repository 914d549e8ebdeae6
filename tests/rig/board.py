"""`tests/scoreboard`: runs the rows, prints the table, ends with the count; non-zero on any miss."""

import argparse
import asyncio
import json
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import certificates
import provision
from nearpoint import DOMAIN, binary
from places import CACHE, say
from processes import NotReady
from report import FAIL, INCONCLUSIVE, NOT_RUN, PASS, Report, Result, table
from scoreboard import expect, lab
from scoreboard.evidence import Evidence
from scoreboard.expect import Finding
from scoreboard.rows import ROWS, SHORT, SWAP, Row
from scoreboard.stage import FULL, RATE, RED, Stage, Times
from scoreboard.stage import SHORT as SHORT_TIMES
from stores.own import tool
from wire import Failed

HELD, MISSED = "held", "missed"
OUTCOMES = {HELD: PASS, MISSED: FAIL, INCONCLUSIVE: INCONCLUSIVE, NOT_RUN: NOT_RUN}
RUN_SECONDS_MOST = 900  # a run that takes longer hangs, and is a miss
RESULTS = CACHE / "scoreboard.json"


@dataclass
class Line:
    """One row as it went."""

    row: str
    fault: str
    promise: str
    measured: str
    outcome: str
    control: str = ""
    remark: str = ""
    form: str = ""  # short or full
    taken: str = ""  # UTC
    rate: float = RATE  # requests a second
    findings: list[dict] = field(default_factory=list)


class Board:
    """Runs rows and keeps their lines."""

    def __init__(self, short: bool, red: bool, rate: float, scratch: Path):
        self.short, self.red, self.rate, self.scratch = short, red, rate, scratch
        self.lines: list[Line] = []
        good = certificates.make(scratch / "tls", [DOMAIN, *_addresses()])
        wrong = certificates.make(
            scratch / "tls-wrong", ["elsewhere.example"], loopback=False, authority=good
        )
        self.certificates = {"good": good, "wrong": wrong}

    def run(self, row: Row) -> Line:
        """One row with its control; once more where a timing proved nothing."""
        if self.short and row.long_only:
            return self._keep(
                Line(str(row.number), row.fault, row.promise, "-", NOT_RUN, remark="full form only")
            )
        times = self._times(row)
        outcome, findings, evidence = self._judged(row, times)
        if outcome == INCONCLUSIVE:
            say(f"row {row.number}: inconclusive, once more")
            outcome, findings, evidence = self._judged(row, times)
        line = Line(str(row.number), row.fault, row.promise, _text(findings), outcome, remark=row.remark)
        line.findings = [asdict(finding) for finding in findings]
        if self.red:
            line.control, turned = self._control(row)
            if not turned:
                line.outcome = MISSED
        return self._keep(line)

    def _keep(self, line: Line) -> Line:
        line.form, line.rate = "short" if self.short else "full", self.rate
        line.taken = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.lines.append(line)
        say(
            f"row {line.row}: {line.outcome}: {line.measured}"
            + (f" | control: {line.control}" if line.control else "")
        )
        return line

    def _times(self, row: Row) -> Times:
        times = SHORT_TIMES if self.short else FULL
        recovery = times.recovery if self.short else max(times.recovery, row.recovery_seconds)
        return Times(times.warm, max(times.fault, row.fault_seconds), recovery)

    def _judged(self, row: Row, times: Times) -> tuple[str, list[Finding], Evidence | None]:
        try:
            evidence = self._play(row, times, f"row-{row.number}")
        except (NotReady, Failed, OSError, TimeoutError, ValueError) as cause:
            return MISSED, [Finding(f"the run broke: {type(cause).__name__} {cause}"[:300], False)], None
        findings = look(row, evidence, self.short)
        return verdict(findings, evidence), findings, evidence

    def _control(self, row: Row) -> tuple[str, bool]:
        """The row with what protects taken away; it must turn red."""
        red = row.red
        bare = replace(
            row,
            setup=red.change(row.setup),
            inject=red.inject or row.inject,
            undo=red.undo or row.undo,
            beside=red.beside or row.beside,
        )
        times = Times(RED.warm, max(RED.fault, row.fault_seconds), RED.recovery)
        try:
            evidence = self._play(bare, times, f"row-{row.number}-red", brief=True)
        except (NotReady, Failed, OSError, TimeoutError, ValueError) as cause:
            return f"{red.text}: the run broke: {type(cause).__name__} {cause}"[:200], False
        missed = [one for one in own_findings(bare, evidence) if not one.good and not one.presence]
        if missed:
            return f"{red.text}: red ({missed[0].text})", True
        return f"{red.text}: stayed green", False

    def _play(self, row: Row, times: Times, name: str, brief: bool = False) -> Evidence:
        say(f"{name}: {row.fault}, {sum(vars(times).values()):.0f} s")
        home = self.scratch / name
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        stage = Stage(row.setup, times, self.rate, home, self.certificates)
        try:
            stage.up()
            playing = stage.play(row, brief)
            return asyncio.run(asyncio.wait_for(playing, RUN_SECONDS_MOST))
        finally:
            stage.down()
            for leftover in home.rglob("log"):
                leftover.unlink()  # the regions' contents: megabytes that nobody reads


def _addresses() -> list[str]:
    return [f"IP:{leg.address}" for leg in lab.Lab([0, 0, 0]).legs]


def own_findings(row: Row, evidence: Evidence) -> list[Finding]:
    """What the row itself promises."""
    return [expectation(evidence) for expectation in row.expect]


def look(row: Row, evidence: Evidence, short: bool) -> list[Finding]:
    """All findings of a run: the row's own, then what every row asserts."""
    findings = own_findings(row, evidence)
    findings += [] if short else [expectation(evidence) for expectation in row.long]
    return findings + [expectation(evidence) for expectation in expect.ALWAYS]


def verdict(findings: list[Finding], evidence: Evidence) -> str:
    """Held, missed, or inconclusive where only timings were missed and the machine stalled during each of them."""
    bad = [finding for finding in findings if not finding.good]
    if not bad:
        return HELD
    excused = all(
        finding.span and finding.limit and evidence.stalls.worst(*finding.span) > finding.limit / 10
        for finding in bad
    )
    return INCONCLUSIVE if excused else MISSED


def _text(findings: list[Finding]) -> str:
    own = [finding.text if finding.good else f"! {finding.text}" for finding in findings]
    usual = len(expect.ALWAYS)
    quiet = [text for text, finding in zip(own[-usual:], findings[-usual:]) if not finding.good]
    return "; ".join((own[:-usual] + quiet) if len(findings) > usual else own)


def shown(lines: list[Line]) -> str:
    """The table."""
    head = ["row", "fault", "expectation", "measured", "outcome", "control"]
    rows = [[line.row, line.fault, line.promise, line.measured, line.outcome, line.control] for line in lines]
    return table([head, *rows])


def remember(line: Line, file: Path) -> None:
    """Puts a row into a JSON file of results; the others stay as they were last seen, each with its time."""
    known = {one.row: asdict(one) for one in remembered(file)} | {line.row: asdict(line)}
    rows = sorted(known.values(), key=lambda row: (int(row["row"].rstrip("b")), row["row"]))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"rows": rows}, indent=1))


def remembered(file: Path) -> list[Line]:
    """The lines of such a file; none where there is none."""
    try:
        return [Line(**row) for row in json.loads(file.read_text())["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def markdown(lines: list[Line]) -> str:
    """The table for a README: without the samples of what failed, which are for whoever mends it."""

    def cell(text: str) -> str:
        return re.sub(r" \(\d+x [^)]*\)?.*?(?=;|$)", "", text).replace("|", "/").strip()

    rows = ["| # | fault | promised | measured | outcome | with what protects taken away |", "|" + "---|" * 6]
    for line in lines:
        outcome = f"**{line.outcome}**" if line.outcome == MISSED else line.outcome
        outcome += f" ({line.form} form)" if line.form == "short" and line.outcome != NOT_RUN else ""
        measured = line.remark if line.outcome == NOT_RUN else cell(line.measured).replace("! ", "**!** ")
        words = [line.row, line.fault, line.promise, measured, outcome, cell(line.control).replace("(", "").rstrip(")")]
        rows.append("| " + " | ".join(words) + " |")
    return "\n".join(rows)


def execute(
    numbers: list[int] | None,
    short: bool,
    red: bool,
    rate: float,
    scratch: Path,
    each: Callable[[Line], None] = lambda line: None,
) -> Board | str:
    """Runs the rows; the board, or why nothing can run here."""
    try:
        provision.debian(["iproute2", "nftables"])
    except (provision.Unavailable, OSError) as cause:
        say(str(cause))
    reason = lab.why_not()
    if reason:
        return reason
    for name in ("region", "faultd"):
        tool(name)
    binary()
    board = Board(short, red, rate, scratch)
    for row in chosen_rows(numbers, short):
        each(board.run(row))
        if row.number == 30:
            number, fault, promise, why = SWAP
            each(board._keep(Line(number, fault, promise, "-", NOT_RUN, remark=why)))
    return board


def chosen_rows(numbers: list[int] | None, short: bool) -> list[Row]:
    """The rows asked for, in order."""
    wanted = numbers or (SHORT if short else [row.number for row in ROWS])
    return [row for row in ROWS if row.number in wanted]


def into(report: Report, result: Board | str, numbers: list[int] | None, short: bool) -> None:
    """Adds a run's lines to a suite's report."""
    if isinstance(result, str):
        for row in chosen_rows(numbers, short):
            report.add(Result("scoreboard", "own regions", f"row {row.number}", NOT_RUN, result))
        return
    for line in result.lines:
        why = (
            line.remark
            if line.outcome == NOT_RUN
            else f"{line.fault}: {line.measured} | control: {line.control}"
        )
        report.add(Result("scoreboard", "own regions", f"row {line.row}", OUTCOMES[line.outcome], why))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests/scoreboard", description=__doc__)
    parser.add_argument("--short", action="store_true", help="ten rows, 8 s warm, 10 s fault, 20 s recovery")
    parser.add_argument("--rows", help="these only: 1,2,9")
    parser.add_argument("--no-red", action="store_true", help="without the controls that must turn red")
    parser.add_argument("--rate", type=float, default=RATE, help=f"requests a second (default {RATE:.0f})")
    parser.add_argument(
        "--json", type=Path, default=RESULTS, help=f"where the results go, row by row (default {RESULTS})"
    )
    parser.add_argument("--keep", action="store_true", help="keep logs and configuration of a good run too")
    parser.add_argument(
        "--markdown", action="store_true", help="run nothing; print the results' table for a README"
    )
    return parser.parse_args()


def main() -> int:
    """Runs what was asked for; the exit code."""
    asked = arguments()
    if asked.markdown:
        print(markdown(remembered(asked.json)))
        return 0
    numbers = [int(word) for word in asked.rows.split(",")] if asked.rows else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is undone
    scratch = Path(tempfile.mkdtemp(prefix="nearpoint-scoreboard-"))
    begin, green = time.monotonic(), False
    try:
        keep = partial(remember, file=asked.json)
        result = execute(numbers, asked.short, not asked.no_red, asked.rate, scratch, keep)
        if isinstance(result, str):
            lines = [
                Line(str(row.number), row.fault, row.promise, "-", NOT_RUN, remark=result)
                for row in chosen_rows(numbers, asked.short)
            ]
            print(shown(lines))
            print(f"not run: {result}")
            print(f"0 passed, 0 failed, {len(lines)} not run")
            return 1
        print(shown(result.lines))
        for line in result.lines:
            if line.remark:
                print(f"row {line.row}: {line.remark}")
        say(f"{time.monotonic() - begin:.0f} s in all; results: {asked.json}")
        count = {outcome: sum(line.outcome == outcome for line in result.lines) for outcome in OUTCOMES}
        print(
            f"{count[HELD]} passed, {count[MISSED]} failed, {count[INCONCLUSIVE]} inconclusive, {count[NOT_RUN]} not run"
        )
        green = count[MISSED] == 0 and count[HELD] > 0
        return 0 if green else 1
    finally:
        if green and not asked.keep:
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            say(f"logs and configuration: {scratch}")


if __name__ == "__main__":
    sys.exit(main())
