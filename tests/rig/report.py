"""Results: one per thing proven, kept, printed as a table, counted. A skip is never silent."""

import fnmatch
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from places import IN_CI, RIG

PASS, FAIL, NOT_RUN, INCONCLUSIVE = "pass", "fail", "not run", "inconclusive"
MARKS = {PASS: "ok", FAIL: "FAIL", NOT_RUN: "-", INCONCLUSIVE: "?"}


@dataclass
class Result:
    """One cell: who, against which store, what was checked, how it ended."""

    group: str
    store: str
    check: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0


class Report:
    """All results of one run."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.allowed = _allowed(RIG / "not-run.txt")

    def add(self, result: Result) -> None:
        """Takes a result. In CI a cell that did not run fails unless tests/rig/not-run.txt lists it."""
        if result.outcome == NOT_RUN and IN_CI and not self._listed(result):
            result.outcome = FAIL
            result.reason = f"not run and not listed in tests/rig/not-run.txt: {result.reason}"
        self.results.append(result)

    def check(self, group: str, store: str, check: str, good: bool, reason: str = "") -> bool:
        """Takes a pass or a failure; answers which."""
        self.add(Result(group, store, check, PASS if good else FAIL, "" if good else reason))
        return good

    def _listed(self, result: Result) -> bool:
        return any(
            fnmatch.fnmatchcase(result.group, group)
            and fnmatch.fnmatchcase(result.store, store)
            and fnmatch.fnmatchcase(result.check, check)
            for group, store, check in self.allowed
        )

    def count(self, outcome: str) -> int:
        """How many ended so."""
        return sum(result.outcome == outcome for result in self.results)

    def matrix(self, groups: list[str]) -> str:
        """The table client × check for each store, of these groups."""
        chosen = [result for result in self.results if result.group in groups]
        out = []
        for store in dict.fromkeys(result.store for result in chosen):
            checks = list(dict.fromkeys(result.check for result in chosen if result.store == store))
            rows = list(dict.fromkeys(result.group for result in chosen if result.store == store))
            found = {(r.group, r.check): MARKS[r.outcome] for r in chosen if r.store == store}
            lines = [[store, *rows]] + [
                [check, *(found.get((row, check), "") for row in rows)] for check in checks
            ]
            out.append(table(lines))
        return "\n".join(out)

    def failures(self) -> str:
        """One line for each failure, and for each reason why something did not run."""
        lines = []
        for result in self.results:
            if result.outcome in (FAIL, INCONCLUSIVE):
                lines.append(
                    f"{result.outcome.upper()} {result.group} | {result.store} | {result.check}: {result.reason}"
                )
        reasons: dict[str, int] = {}
        for result in self.results:
            if result.outcome == NOT_RUN:
                text = f"{result.group} | {result.check}: {result.reason}"
                reasons[text] = reasons.get(text, 0) + 1
        lines += [
            f"not run {text}" + (f" ({count} times)" if count > 1 else "") for text, count in reasons.items()
        ]
        return "\n".join(lines)

    def summary(self) -> str:
        """The closing line."""
        words = f"{self.count(PASS)} passed, {self.count(FAIL)} failed"
        for outcome in (NOT_RUN, INCONCLUSIVE):
            if self.count(outcome):
                words += f", {self.count(outcome)} {outcome}"
        return words

    def write(self, path: Path) -> None:
        """All results as JSON."""
        path.write_text(json.dumps([asdict(result) for result in self.results], indent=1))


def table(lines: list[list[str]]) -> str:
    """Columns padded to their widest cell."""
    widths = [max(len(str(line[column])) for line in lines) for column in range(len(lines[0]))]
    rule = "  ".join("-" * width for width in widths)
    texts = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    ]
    return "\n".join([texts[0], rule, *texts[1:]]) + "\n"


def _allowed(path: Path) -> list[tuple[str, str, str]]:
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        fields = [field.strip() for field in line.split("|")]
        if line.strip() and not line.startswith("#"):
            assert len(fields) == 4 and fields[3], (
                f"not-run.txt wants client | store | check | reason: {line}"
            )
            found.append((fields[0], fields[1], fields[2]))
    return found
