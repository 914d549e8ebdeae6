"""What a suite's runs at a store itself and through the proxy differ in. Pure, but for reading the list of differences."""

import fnmatch
from dataclasses import dataclass
from pathlib import Path

from report import FAIL, INCONCLUSIVE, PASS, Report, Result, table
from suites import Case

# verdicts on a case
BOTH = "pass"  # directly and through nearpoint
NEITHER = "fail"  # both ways: what the store does not do
WORSE = "worse"  # passes directly only
NECESSARY = "necessary"  # the same, and listed with a reason
BETTER = "better"  # passes through nearpoint only
UNSTEADY = "unsteady"  # differs between runs of the same kind
ABSENT = Case(FAIL, "the suite did not come to it")


@dataclass
class Verdict:
    """One case."""

    case: str
    verdict: str
    reason: str = ""


@dataclass
class Allowed:
    """A line of the list of necessary differences; suite, store and case are shell patterns."""

    suite: str
    store: str
    case: str
    reason: str

    def covers(self, suite: str, store: str, case: str) -> bool:
        """Whether this line speaks of that case."""
        pairs = ((suite, self.suite), (store, self.store), (case, self.case))
        return all(fnmatch.fnmatchcase(name, pattern) for name, pattern in pairs)


def differences(path: Path) -> list[Allowed]:
    """The list: suite | store | case | reason."""
    found = []
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            fields = [field.strip() for field in line.split("|", 3)]
            assert len(fields) == 4 and fields[3], f"{path.name} wants suite | store | case | reason: {line}"
            found.append(Allowed(*fields[:3], found[-1].reason if fields[3] == "the same" else fields[3]))
    return found


@dataclass
class Runs:
    """The runs of one suite at one store, whole ones first; later ones may hold a few cases only."""

    suite: str
    store: str
    direct: list[dict[str, Case]]
    proxied: list[dict[str, Case]]
    seconds: tuple[float, float] = (0.0, 0.0)  # of the first run each way

    def names(self) -> list[str]:
        """Every case that any whole run came to."""
        return list(dict.fromkeys(name for run in (*self.direct, *self.proxied) for name in run))

    def outcomes(self, case: str) -> tuple[list[Case], list[Case]]:
        """How it went directly, and through the proxy; a first run without it counts as failed."""
        return tuple(
            [runs[0].get(case, ABSENT), *(run[case] for run in runs[1:] if case in run)]
            for runs in (self.direct, self.proxied)
        )

    def suspects(self) -> list[str]:
        """Cases that so far look worse through the proxy."""
        return [name for name in self.names() if judge(name, *self.outcomes(name)).verdict == WORSE]


def judge(case: str, direct: list[Case], proxied: list[Case]) -> Verdict:
    """What the outcomes of one case say."""
    outcomes = {found.outcome for found in direct}
    passed = sum(found.outcome == PASS for found in proxied)
    failure = next((found.reason for found in proxied if found.outcome != PASS), "")
    if len(outcomes) > 1:
        return Verdict(case, UNSTEADY, _times("directly", direct) + "; " + _times("through nearpoint", proxied))
    if passed == len(proxied):
        return Verdict(case, BOTH) if outcomes == {PASS} else Verdict(case, BETTER, direct[0].reason)
    if passed and outcomes == {PASS}:
        return Verdict(case, UNSTEADY, f"{_times('through nearpoint', proxied)}: {failure}")
    # not applicable directly is no failure: it may not become one
    if FAIL not in outcomes and {found.outcome for found in proxied} != outcomes:
        return Verdict(case, WORSE, failure)
    return Verdict(case, NEITHER, f"directly: {direct[0].reason}; through nearpoint: {failure}")


def _times(how: str, found: list[Case]) -> str:
    return f"passed {sum(case.outcome == PASS for case in found)} of {len(found)} {how}"


class Comparison:
    """One suite at one store, judged."""

    def __init__(self, runs: Runs, allowed: list[Allowed]):
        self.suite, self.store, self.seconds = runs.suite, runs.store, runs.seconds
        self.verdicts = [judge(name, *runs.outcomes(name)) for name in runs.names()]
        for verdict in self.verdicts:
            listed = [line for line in allowed if line.covers(self.suite, self.store, verdict.case)]
            if verdict.verdict == WORSE and listed:
                verdict.verdict, verdict.reason = NECESSARY, listed[0].reason

    def of(self, kind: str) -> list[Verdict]:
        """The cases with this verdict."""
        return [verdict for verdict in self.verdicts if verdict.verdict == kind]

    def into(self, report: Report) -> None:
        """One result for each case that says something of the proxy; what fails both ways says nothing."""
        outcomes = {BOTH: PASS, BETTER: PASS, WORSE: FAIL, UNSTEADY: INCONCLUSIVE}
        for verdict in self.verdicts:
            if verdict.verdict in outcomes:
                outcome = outcomes[verdict.verdict]
                reason = "" if outcome == PASS else verdict.reason
                report.add(Result(self.suite, self.store, verdict.case, outcome, reason))
        if not self.verdicts:
            report.add(Result(self.suite, self.store, "runs", FAIL, "not one case was run"))


COLUMNS = [BOTH, NEITHER, WORSE, NECESSARY, BETTER, UNSTEADY]
HEADINGS = [
    "pass both ways",
    "fail both ways",
    "fail through nearpoint",
    "necessarily",
    "pass through nearpoint",
    "unsteady",
]


def shown(comparisons: list[Comparison]) -> str:
    """The table, and every case by name in which the two ways differ."""
    lines = [["store", "suite", "cases", *HEADINGS, "s directly", "s through"]]
    for each in comparisons:
        counts = [len(each.of(kind)) for kind in COLUMNS]
        seconds = [f"{taken:.0f}" for taken in each.seconds]
        lines.append([each.store, each.suite, len(each.verdicts), *counts, *seconds])
    text = [table(lines)]
    for kind, heading in zip(COLUMNS[2:], HEADINGS[2:]):
        cases = [
            f"  {each.store} | {each.suite} | {found.case}: {found.reason}"
            for each in comparisons
            for found in each.of(kind)
        ]
        if cases:
            text.append("\n".join([f"{heading}:", *cases]) + "\n")
    return "\n".join(text)
