"""`tests/scoreboard`: runs the rows, prints the table, ends with the count; zero only where every row held."""

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
from scoreboard import expect, lab, memgroup
from scoreboard.carrier import Gone
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
BROKEN = (NotReady, Failed, Gone, OSError, TimeoutError, ValueError)  # what ends a run before its end


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
        expired = certificates.make(
            scratch / "tls-expired", [DOMAIN, *_addresses()], authority=good, expired=True
        )
        self.certificates = {"good": good, "wrong": wrong, "expired": expired}

    def run(self, row: Row) -> Line:
        """One row with its control; once more where a timing proved nothing."""
        if self.short and row.long_only:
            return self._not_run(row, "full form only")
        if row.setup.memory_group and (reason := memgroup.why_not()):
            return self._not_run(row, reason)
        times = self._times(row)
        outcome, findings, evidence = self._judged(row, times)
        if outcome == INCONCLUSIVE:
            say(f"row {row.name}: inconclusive, once more")
            outcome, findings, evidence = self._judged(row, times)
        line = Line(row.name, row.fault, row.promise, _text(findings), outcome, remark=row.remark)
        line.findings = [asdict(finding) for finding in findings]
        if self.red:
            line.control, turned = self._control(row)
            if not turned:
                line.outcome = MISSED
        return self._keep(line)

    def _not_run(self, row: Row, why: str) -> Line:
        return self._keep(Line(row.name, row.fault, row.promise, "-", NOT_RUN, remark=why))

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
        if self.short:
            return Times(times.warm, max(times.fault, row.fault_seconds), times.recovery)
        fault = max(times.fault, row.fault_seconds, row.full_fault_seconds)
        return Times(times.warm, fault, max(times.recovery, row.recovery_seconds))

    def _judged(self, row: Row, times: Times) -> tuple[str, list[Finding], Evidence | None]:
        try:
            evidence = self._play(row, times, f"row-{row.name}")
        except BROKEN as cause:
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
        least = row.fault_seconds if red.fault_seconds is None else red.fault_seconds
        times = Times(RED.warm, max(RED.fault, least), RED.recovery)
        try:
            evidence = self._play(bare, times, f"row-{row.name}-red", brief=True)
        except BROKEN as cause:
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

    rows = ["| # | fault | promised | measured | outcome | without what protects |", "|" + "---|" * 6]
    for line in lines:
        outcome = f"**{line.outcome}**" if line.outcome == MISSED else line.outcome
        outcome += ", short" if line.form == "short" and line.outcome != NOT_RUN else ""
        measured = line.remark if line.outcome == NOT_RUN else cell(line.measured).replace("! ", "**!** ")
        control = cell(re.sub(r": red \((.*)\)$", r": \1", line.control))
        words = [line.row, line.fault, line.promise, measured, outcome, control]
        rows.append("| " + " | ".join(words) + " |")
    return "\n".join(rows)


def execute(
    names: list[str] | None,
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
    for row in chosen_rows(names, short):
        each(board.run(row))
        if row.number == 30:
            number, fault, promise, why = SWAP
            each(board._keep(Line(number, fault, promise, "-", NOT_RUN, remark=why)))
    return board


def all_held(lines: list[Line]) -> bool:
    """Whether every line is of a row that held: one that proved nothing, twice, or was not run, did not."""
    played = [line for line in lines if line.row != SWAP[0]]
    return bool(played) and all(line.outcome == HELD for line in played)


def chosen_rows(names: list[str] | None, short: bool) -> list[Row]:
    """The rows asked for, in order."""
    wanted = names or (SHORT if short else [row.name for row in ROWS])
    return [row for row in ROWS if row.name in wanted]


def into(report: Report, result: Board | str, names: list[str] | None, short: bool) -> None:
    """Adds a run's lines to a suite's report."""
    if isinstance(result, str):
        for row in chosen_rows(names, short):
            report.add(Result("scoreboard", "own regions", f"row {row.name}", NOT_RUN, result))
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
    parser.add_argument("--rows", help="these only: 1,2,9,23b")
    parser.add_argument("--no-red", action="store_true", help="without the controls that must turn red")
    parser.add_argument("--rate", type=float, default=RATE, help=f"requests a second (default {RATE:.0f})")
    parser.add_argument(
        "--json", type=Path, default=RESULTS, help=f"where the results go, row by row (default {RESULTS})"
    )
    parser.add_argument("--keep", action="store_true", help="keep logs and configuration of a good run too")
    parser.add_argument(
        "--markdown", action="store_true", help="run nothing; print the results' table for a README"
    )
    asked = parser.parse_args()
    asked.rows = asked.rows.split(",") if asked.rows else None
    unknown = sorted(set(asked.rows or []) - {row.name for row in ROWS})
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    return asked


def main() -> int:
    """Runs what was asked for; the exit code."""
    asked = arguments()
    if asked.markdown:
        print(markdown(remembered(asked.json)))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is undone
    scratch = Path(tempfile.mkdtemp(prefix="nearpoint-scoreboard-"))
    begin, green = time.monotonic(), False
    try:
        keep = partial(remember, file=asked.json)
        result = execute(asked.rows, asked.short, not asked.no_red, asked.rate, scratch, keep)
        if isinstance(result, str):
            lines = [
                Line(row.name, row.fault, row.promise, "-", NOT_RUN, remark=result)
                for row in chosen_rows(asked.rows, asked.short)
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
        green = all_held(result.lines)
        return 0 if green else 1
    finally:
        if green and not asked.keep:
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            say(f"logs and configuration: {scratch}")


if __name__ == "__main__":
    sys.exit(main())
