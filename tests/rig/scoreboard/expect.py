"""Expectations: each looks at a run's evidence and says what was measured and whether it will do.

A finding with a `span` is a timing: missed while the machine stalled in that span, it proves nothing.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from workload import ABSENT, READS, Record

from scoreboard.evidence import UNSENT, WRITES, Evidence, milliseconds, percentile

MIB = 1 << 20


@dataclass(frozen=True)
class Finding:
    """One measured thing."""

    text: str
    good: bool
    limit: float | None = None  # seconds, for a timing
    span: tuple[float, float] | None = None
    presence: bool = False  # only says that the fault was really there; a control does not turn red by it


Expectation = Callable[[Evidence], Finding]
RETURN = 60.0  # seconds in which a region that is near again is to be used again
MOVED = 0.1  # seconds in which a dead region is found out
FAILED = ("failed", "503", "cut", "wrong", "corrupt")


def _sample(records: list[Record]) -> str:
    kinds = Counter(f"{r.kind} {r.outcome} {r.detail}"[:70] for r in records)
    return "; ".join(f"{count}x {text}" for text, count in kinds.most_common(2))


def count(name: str, chosen: list[Record], most: int = 0) -> Finding:
    """At most so many of these."""
    good = len(chosen) <= most
    return Finding(f"{name} {len(chosen)}" + ("" if good else f" ({_sample(chosen)})"), good)


def failed(*kinds: str, most: int = 0, after: float | None = None) -> Expectation:
    """So many requests of these kinds failed, from the strike (or `after` seconds behind it) to the end."""

    def look(e: Evidence) -> Finding:
        begin = e.struck - 1 if after is None else e.struck + after
        chosen = [r for r in e.of(*kinds, after=begin) if r.outcome in FAILED]
        name = "reads" if kinds == READS else "writes" if kinds == WRITES else "/".join(kinds)
        return count(f"{name} failed", chosen, most)

    return look


def failed_share(most: float) -> Expectation:
    """At most this share of the requests that began during the fault failed."""

    def look(e: Evidence) -> Finding:
        asked = e.of(*READS, *WRITES, after=e.struck, before=e.healed)
        bad = [r for r in asked if r.outcome in FAILED]
        found = count(f"of {len(asked)} failed", bad, int(most * len(asked)))
        return Finding(f"{len(bad) / max(1, len(asked)):.2%} {found.text}", found.good)

    return look


no_failed_reads = failed(*READS)
no_failed_writes = failed(*WRITES)


def writes_end_well(e: Evidence) -> Finding:
    """A write may be refused with 503; nothing else may become of it."""
    chosen = [r for r in e.of(*WRITES, after=e.struck - 1) if r.outcome in ("failed", "cut", "wrong")]
    return count("writes neither done nor 503", chosen)


def uploads_in_flight(e: Evidence) -> Finding:
    """No upload in parts failed but those that were under way at the strike, or began before anybody could know."""
    return count("later MPU failed", [r for r in e.of("MPU", after=e.struck + MOVED) if r.outcome in FAILED])


def _failed_tries(e: Evidence) -> list:
    return [
        t
        for t in e.tries()
        if t.region == e.victim and e.struck <= t.at <= e.healed and t.outcome != "answered"
    ]


def moved(limit: float) -> Expectation:
    """From the first failed try at the region to the last first try that still went there and failed."""

    def look(e: Evidence) -> Finding:
        tries = _failed_tries(e)
        firsts = [t for t in tries if t.first]
        spent = firsts[-1].at - tries[0].at if firsts else 0.0
        return Finding(
            f"moved {spent * 1000:.0f} ms", spent <= limit, limit, (e.struck, e.struck + spent + limit)
        )

    return look


def ejected(limit: float) -> Expectation:
    """From the strike to the last first try that went to the region and failed."""

    def look(e: Evidence) -> Finding:
        firsts = [t for t in _failed_tries(e) if t.first]
        spent = firsts[-1].at - e.struck if firsts else 0.0
        good = spent <= limit
        return Finding(f"ejected {_seconds(spent)}", good, limit, (e.struck, e.struck + spent + limit))

    return look


def out(limit: float, kind: str = "reads") -> Expectation:
    """The proxy's own word: from the strike to the region's standing being out."""

    def look(e: Evidence) -> Finding:
        for moment, rows in e.watch.standings:
            if moment >= e.struck and rows.get(e.victim, {}).get(kind) in ("out", "probation"):
                spent = moment - e.struck
                return Finding(
                    f"{kind} out {_seconds(spent)}", spent <= limit + 0.1, limit, (e.struck, moment)
                )
        return Finding(f"{kind} never out", False)

    return look


def stays(e: Evidence) -> Finding:
    """The region's standing for reads and for writes never becomes out."""
    times = sum(e.transitions("out", kind, e.victim) for kind in ("read", "write"))
    return Finding(f"ejections {times}", times == 0)


def no_cascade(e: Evidence) -> Finding:
    """No other region goes out for what this one does not take, and a read is served or told to slow down."""
    times = sum(e.transitions("out", kind, name) for kind in ("read", "write") for name in e.names)
    reads = e.of(*READS, after=e.struck)
    slowed, lost = (
        [r for r in reads if r.outcome in FAILED and ("SlowDown" in r.detail) == slow] for slow in (True, False)
    )
    text = f"ejections anywhere {times}, of {len(reads)} reads {len(slowed)} told to slow down, {len(lost)} failed"
    return Finding(text + (f" ({_sample(lost)})" if lost else ""), times == 0 and not lost)


def transitions(most: int) -> Expectation:
    """The region is taken out of service for reads, or back into it, at most so many times."""

    def look(e: Evidence) -> Finding:
        away, back = e.turns("read", e.victim)
        return Finding(f"transitions {away + back} ({away} out, {back} back)", away + back <= most)

    return look


def served_before(e: Evidence) -> Finding:
    """Before the strike the region took the reads; else the fault met nobody."""
    firsts = [
        t for t in e.tries() if t.first and t.operation == "GetObject" and e.struck - 3 <= t.at < e.struck
    ]
    share = sum(t.region == e.victim for t in firsts) / len(firsts) if firsts else 0.0
    return Finding(f"{share:.0%} of reads there before", share >= 0.9, 0.005, (e.began, e.struck), True)


def served_here(least: float, *, after: float = 0.0, operation: tuple[str, ...] = ()) -> Expectation:
    """At least this share of reads' first tries during the fault went to the region.

    What another region was written to meanwhile is read there, as it must be: those reads do not count.
    """

    def look(e: Evidence) -> Finding:
        wanted = operation or ("GetObject", "HeadObject", "ListObjectsV2")
        firsts = [
            t
            for t in e.tries()
            if t.first and t.operation in wanted and e.struck + after <= t.at <= e.healed
            if t.region == e.victim or not t.follows
        ]
        here = sum(t.region == e.victim for t in firsts)
        share = here / len(firsts) if firsts else 0.0
        return Finding(f"{share:.0%} of first tries there", bool(firsts) and share >= least)

    return look


def derouted(limit: float) -> Expectation:
    """After so long, first tries of reads go elsewhere: nine in ten of each second."""

    def look(e: Evidence) -> Finding:
        last = e.struck
        for second in range(int(e.healed - e.struck)):
            begin = e.struck + second
            firsts = [
                t for t in e.tries() if t.first and t.operation == "GetObject" and begin <= t.at < begin + 1
            ]
            if firsts and sum(t.region == e.victim for t in firsts) > len(firsts) / 10:
                last = begin + 1
        spent = last - e.struck
        return Finding(f"derouted within {spent:.0f} s", spent <= limit, limit, (e.struck, last))

    return look


def returned(limit: float) -> Expectation:
    """After the heal, reads go to the region again within so long."""

    def look(e: Evidence) -> Finding:
        firsts = [t for t in e.tries() if t.first and t.at > e.healed + 0.5 and t.region == e.victim]
        firsts = [t for t in firsts if t.outcome == "answered" and t.operation == "GetObject"]
        if not firsts:
            return Finding(f"not returned in {e.ended - e.healed:.0f} s", e.ended - e.healed < limit)
        spent = firsts[0].at - e.healed
        return Finding(f"returned {_seconds(spent)}", spent <= limit, limit, (e.healed, firsts[0].at))

    return look


BIN = 0.5  # seconds, a hundred first tries or so


def one_switch_each_way(e: Evidence) -> Finding:
    """Reads leave the region once, and come back once (where the run is too short for that: at most once).

    Where they go is where most first tries of GETs went in half a second.
    """
    firsts = [
        t
        for t in e.tries()
        if t.first and t.operation == "GetObject" and e.struck - 3 <= t.at <= e.ended
        if t.region == e.victim or not t.follows
    ]
    bins: dict[int, list[bool]] = {}
    for one in firsts:
        bins.setdefault(int((one.at - e.struck) / BIN), []).append(one.region == e.victim)
    there = [sum(hits) * 2 > len(hits) for _, hits in sorted(bins.items())]
    away = sum(before and not after for before, after in zip(there, there[1:]))
    back = sum(after and not before for before, after in zip(there, there[1:]))
    good = away == 1 and (back == 1 or (back == 0 and e.ended - e.healed < RETURN))
    return Finding(f"switches {away} away, {back} back", good)


def added(kind: str, limit: float) -> Expectation:
    """How much longer than usual (the median before the strike) the slowest request of a kind took."""

    def look(e: Evidence) -> Finding:
        usual = percentile(milliseconds(e.of(kind, before=e.struck)), 0.5) / 1000
        slow = slowest(kind, limit + usual)(e)
        worst = milliseconds(e.of(kind, after=e.struck - 1, before=e.healed))[-1] / 1000
        return Finding(f"{kind} at most {_seconds(worst - usual)} longer", slow.good, limit, slow.span)

    return look


def slowest(kind: str, limit: float) -> Expectation:
    """The slowest request of a kind during the fault."""

    def look(e: Evidence) -> Finding:
        chosen = e.of(kind, after=e.struck - 1, before=e.healed)
        worst = max(chosen, key=lambda r: r.end - r.intended, default=None)
        spent = worst.end - worst.intended if worst else 0.0
        span = (worst.intended, worst.end) if worst else (e.struck, e.healed)
        return Finding(f"slowest {kind} {_seconds(spent)}", spent <= limit, limit, span)

    return look


def p99(kind: str, limit: Callable[[Evidence], float]) -> Expectation:
    """The slowest in a hundred during the fault, against a limit in milliseconds."""

    def look(e: Evidence) -> Finding:
        asked = e.of(kind, after=e.struck, before=e.healed)
        took = percentile(milliseconds(asked), 0.99)
        found = percentile(milliseconds([r for r in asked if r.detail != ABSENT]), 0.99)
        most = limit(e)
        text = f"p99 {kind} {took:.0f} ms, of what is there {found:.0f} ms (limit {most:.0f})"
        return Finding(text, took <= most, most / 1000, (e.struck, e.healed))

    return look


def recovered(limit: float) -> Expectation:
    """From so long after the heal on, everything succeeds."""

    def look(e: Evidence) -> Finding:
        late = [r for r in e.of(*READS, *WRITES, after=e.healed + limit) if r.outcome in FAILED]
        spent = max((r.start - e.healed for r in late), default=0.0)
        text = (
            f"all well after {limit:g} s"
            if not late
            else f"failures until {spent:.1f} s after ({_sample(late)})"
        )
        return Finding(text, not late, limit, (e.healed, e.healed + spent))

    return look


def happened(name: str, least: float = 1) -> Expectation:
    """A row's own part counted at least so many: the fault was really there."""

    def look(e: Evidence) -> Finding:
        seen = e.notes.get(name, 0) or 0
        return Finding(f"{name} {seen:g}", seen >= least, presence=True)

    return look


def grew(name: str, metric: str, least: float = 1, **labels: str) -> Expectation:
    """A counter of the proxy's grew by at least so much: the fault was really met."""

    def look(e: Evidence) -> Finding:
        seen = e.counted(metric, **labels)
        return Finding(f"{name} {seen:.0f}", seen >= least, presence=True)

    return look


def noted(name: str, good: Callable[[object], bool], limit: float | None = None) -> Expectation:
    """What a row's own part has seen."""

    def look(e: Evidence) -> Finding:
        seen = e.notes.get(name)
        text = f"{name} {seen:.3g}" if isinstance(seen, float) else f"{name} {seen}"
        span = (e.struck, e.ended) if limit is not None else None
        return Finding(text, seen is not None and good(seen), limit, span)

    return look


def _seconds(spent: float) -> str:
    return f"{spent * 1000:.0f} ms" if spent < 1 else f"{spent:.1f} s"


# ── of single rows ──────────────────────────────────────────────────────────


def twice_the_far(e: Evidence) -> float:
    """Twice the slowest in a hundred of a GET from the farthest region: its round trip and what the warm part took."""
    warm = percentile(milliseconds(e.of("GET", before=e.struck)), 0.99)
    return 2 * (60 + warm)


def _while_down(e: Evidence) -> list[Record]:
    return e.of(*READS, *WRITES, after=e.struck + 1, before=e.healed - 1)


def all_refused(e: Evidence) -> Finding:
    """With nothing alive, every answer is a 503."""
    down = _while_down(e)
    other = [r for r in down if r.outcome != "503"]
    return Finding(f"{len(down)} answers, {len(other)} not 503", bool(down) and not other)


def refused_fast(e: Evidence) -> Finding:
    """And a quick one."""
    slow = percentile(sorted((r.end - r.start) * 1000 for r in _while_down(e)) or [0.0], 0.99)
    return Finding(f"their p99 {slow:.0f} ms", slow <= 50, 0.05, (e.struck, e.healed))


def no_stampede(e: Evidence) -> Finding:
    """No more connections are made in the first two seconds than twice what were open before."""
    made = [
        (
            t,
            sum(
                v
                for k, v in values.items()
                if k.startswith("nearpoint_upstream_connects_total") and 'outcome="connected"' in k
            ),
        )
        for t, values in e.watch.counters
    ]
    open_before = sum(v for k, v in e.baseline.items() if k.startswith("nearpoint_upstream_connections{"))
    before = [value for t, value in made if t <= e.healed]
    behind = [value for t, value in made if t <= e.healed + 2.5]
    fresh = (behind[-1] if behind else 0) - (before[-1] if before else 0)
    return Finding(f"{fresh:.0f} connects ({open_before:.0f} open before)", fresh <= 2 * max(open_before, 8))


def goodput_back(e: Evidence) -> Finding:
    """Successes a second from five seconds after the heal on, against those before."""
    last = max((r.intended for r in e.records), default=e.healed)

    def rate(begin: float, end: float) -> float:
        return sum(r.outcome == "ok" and begin <= r.end < end for r in e.records) / max(0.1, end - begin)

    before, behind = rate(e.began + 1, e.struck), rate(e.healed + 5, last)
    share = behind / before if before else 0.0
    return Finding(f"goodput {share:.0%} of {before:.0f}/s", share >= 0.95, 1.0, (e.healed + 5, last))


def ramp(e: Evidence) -> Finding:
    """Reads come back by and by: few at first, all in the end."""
    firsts = [t for t in e.tries() if t.first and t.operation == "GetObject" and t.at > e.healed]
    begin = next((t.at for t in firsts if t.region == e.victim), None)
    if begin is None:
        return Finding("never came back", False)

    def share(start: float, end: float) -> float:
        some = [t for t in firsts if start <= t.at < end]
        return sum(t.region == e.victim for t in some) / len(some) if some else 0.0

    early, late = share(begin, begin + 3), share(begin + 33, begin + 45)
    return Finding(f"{early:.0%} at first, {late:.0%} after 33 s", early <= 0.4 and late >= 0.9)


def calm_ramp(e: Evidence) -> Finding:
    """The slowest in a hundred GETs of the failback against those of the warm part."""
    warm = percentile(milliseconds(e.of("GET", before=e.struck)), 0.99)
    back = percentile(milliseconds(e.of("GET", after=e.healed + 30)), 0.99)
    return Finding(
        f"p99 {back:.0f} ms after {warm:.0f} ms",
        back <= 1.5 * max(warm, 22),
        back / 1000,
        (e.healed, e.ended),
    )


def alarm(metric: str) -> Expectation:
    """A gauge of the proxy's names the cause."""

    def look(e: Evidence) -> Finding:
        seen = e.shown(metric, region=e.victim)
        return Finding(f"{metric.removeprefix('nearpoint_')} {seen:g}", seen >= 1)

    return look


QUIET = 5.0  # seconds at the end of the fault


def address_drained(e: Evidence) -> Finding:
    """Requests meet the address that is wrong for a while, and none is sent there first in the last seconds."""
    since = e.notes.get("wrong since", e.struck)
    met = [t for t in _failed_tries(e) if t.at >= since and t.outcome in UNSENT]
    late = [t for t in met if t.first and t.at >= e.healed - QUIET]
    spent = met[-1].at - met[0].at if met else 0.0
    return Finding(
        f"wrong address met by {len(met)} tries within {_seconds(spent)}, first tries in the last {QUIET:g} s {len(late)}",
        bool(met) and not late,
    )


def first_second_good(e: Evidence) -> Finding:
    """From the moment the restarted proxy answers on, everything succeeds."""
    ready = e.notes.get("ready at", e.struck)
    late = [r for r in e.of(*READS, *WRITES, after=ready) if r.outcome in FAILED]
    return count("failed once ready", late)


def only_503(e: Evidence) -> Finding:
    """What is not done is refused with 503."""
    odd = [r for r in e.of(*READS, *WRITES, after=e.struck) if r.outcome in ("failed", "cut", "wrong")]
    return count("neither done nor 503", odd)


def slow_only_at_first(limit: float, slow: float) -> Expectation:
    """GETs slower than `slow` seconds begin only within `limit` seconds after the strike."""

    def look(e: Evidence) -> Finding:
        late = [r for r in e.of("GET", after=e.struck + limit, before=e.healed) if r.end - r.start > slow]
        return Finding(f"{len(late)} slow GETs after {limit:g} s", not late, slow, (e.struck, e.healed))

    return look


def offered(limit: float) -> Expectation:
    """Requests a second that the region still gets once it has throttled for a while."""
    return noted("offered per second", lambda seen: seen <= limit)


def is_zero(name: str) -> Expectation:
    """A row's own count that must be nought."""
    return noted(name, lambda seen: seen == 0)


# ── what every row asserts ──────────────────────────────────────────────────

RETRIES_MOST = 0.20
RSS_GROWTH_MOST = 20 * MIB
DESCRIPTORS_MORE = 8


def no_corrupt_body(e: Evidence) -> Finding:
    """What nobody wrote was never read, nor a short body that ended as if it were whole."""
    return count("corrupt bodies", [r for r in e.records if r.outcome == "corrupt"])


def no_stale_read(e: Evidence) -> Finding:
    """A settled key never reads older than it is; listings are ordered and whole."""
    return count("stale or wrong answers", [r for r in e.records if r.outcome == "wrong"])


def nothing_lost(e: Evidence) -> Finding:
    """Every acknowledged write is at every store, or what replaced it."""
    acked = e.notes.get("acknowledged", 0)
    if not e.converged:
        return Finding("the regions did not converge", False)
    lost = f" ({e.verdict.lost[:2]})" if e.verdict.lost else ""
    late = f", {len(e.verdict.late)} superseded by one sent before the hang" if e.verdict.late else ""
    return Finding(f"lost {len(e.verdict.lost)} of {acked} acknowledged{lost}{late}", not e.verdict.lost)


def retries_bounded(e: Evidence) -> Finding:
    """Tries that repeat one that failed after something was sent; what was never sent may be tried elsewhere for free."""
    share = e.retry_share()
    return Finding(f"retries {share:.1%}", share <= RETRIES_MOST)


def no_panic(e: Evidence) -> Finding:
    """No task of the proxy died."""
    return Finding("panics 0" if not e.panicked else "it panicked", not e.panicked)


def memory_back(e: Evidence) -> Finding:
    """Resident memory and descriptors are where they were before the fault."""
    if not e.before or not e.after:
        return Finding("memory not measured: another process", True)
    grown = (e.after.rss - e.before.rss) / MIB
    more = e.after.descriptors - e.before.descriptors
    good = grown * MIB <= RSS_GROWTH_MOST and more <= DESCRIPTORS_MORE
    return Finding(f"memory {grown:+.1f} MiB, descriptors {more:+d}", good)


ALWAYS: list[Expectation] = [
    no_corrupt_body,
    no_stale_read,
    nothing_lost,
    retries_bounded,
    no_panic,
    memory_back,
]
