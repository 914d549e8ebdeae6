"""The failover run: a mixed workload while the nearest region of one access point is killed and that of another hangs.

Two access points over the same three regions: `alpha` lives in the first (nearest for reads, home for writes), `beta`
in the second. The first is ended with SIGKILL and started again, the second stopped with SIGSTOP and continued.
Counts decide; a missed time limit counts only if nothing else held the machine up (see `stalls.py`).
"""

import asyncio
import ssl
import statistics
import time
from dataclasses import dataclass, field
from datetime import datetime

from nearpoint import LOGICAL_REGION, AccessPoint, Gateway
from places import say
from replicator import Replicator, Side
from report import FAIL, INCONCLUSIVE, PASS, Report, Result, table
from stalls import Stalls
from stores.region import Region, Store
from wire import Signer, Wire
from workload import MIX, PREFIX, READS, Verdict, Workload, drive, verify

RATE = 200.0
WARM, KILL, REVIVE, HANG, GO_ON, END = 0.0, 6.0, 14.0, 26.0, 36.0, 48.0
KILL_SHIFT, HANG_SHIFT = 0.1, 3.0
ALLOW_AFTER = {
    "kill": 1.0,
    "hang": 4.0,
}  # seconds after a fault in which a write may still fail under failover: allow


@dataclass
class Mode:
    """One run of the scenario."""

    name: str
    reads: str
    writes: str


MODES = [
    Mode("writes-refuse", "allow", "refuse"),
    Mode("writes-allow", "allow", "allow"),
    Mode("red", "refuse", "refuse"),
]


def points(mode: Mode, names: list[str]) -> list[AccessPoint]:
    """The two access points of a mode; each has buckets of its own."""
    first, second, third = names
    settings = {"reads_failover": mode.reads, "writes_failover": mode.writes}
    return [
        AccessPoint(f"alpha-{mode.name}", f"alpha-{mode.name}", [first, second, third], first, **settings),
        AccessPoint(f"beta-{mode.name}", f"beta-{mode.name}", [second, first, third], second, **settings),
    ]


def purposes() -> list[str]:
    """Every bucket the runs need."""
    return [f"{point}-{mode.name}" for mode in MODES for point in ("alpha", "beta")]


@dataclass
class Fault:
    """One injected fault as it happened, Unix seconds, with the reads under way at that moment."""

    kind: str
    region: str
    point: str
    at: float = 0.0
    over: float = 0.0
    in_flight: int = 0
    shift: float | None = None


@dataclass
class Run:
    """Everything a run left behind."""

    mode: Mode
    workloads: list[Workload]
    faults: list[Fault]
    verdicts: list[Verdict] = field(default_factory=list)
    converged: bool = False
    stalls: Stalls | None = None


def wires_to(gateways: list[Gateway]) -> list[Wire]:
    """A connection pool to each gateway, plain HTTP on one and TLS on the other."""
    found = []
    for number, gateway in enumerate(gateways):
        client = gateway.client
        signer = Signer(client.access_key, client.secret_key, LOGICAL_REGION)
        scheme = "https" if number % 2 else "http"
        trust = ssl.create_default_context(cafile=str(gateway.certificates.ca)) if number % 2 else None
        found.append(Wire("127.0.0.1", gateway.ports[scheme], signer, trust))
    return found


def replicator_for(store: Store, purpose: str, lag: float) -> Replicator:
    """A replicator between this purpose's buckets."""
    sides = []
    for region in store.regions:
        signer = Signer(region.access_key, region.secret_key, region.signing_region)
        sides.append(Side(region.name, Wire("127.0.0.1", region.port, signer), region.bucket(purpose)))
    return Replicator(sides, PREFIX, lag)


async def play(mode: Mode, store: Store, wires: list[Wire], direct: bool, lag: float = 0.5) -> Run:
    """Seeds, drives, injects, lets the regions converge, and reads every key from each of them."""
    names = [region.name for region in store.regions]
    workloads, tasks = [], []
    for number, point in enumerate(points(mode, names)):
        replicator = replicator_for(store, point.purpose, lag)
        home = store.regions[number]
        bucket = home.bucket(point.purpose) if direct else point.name
        reach = (
            [Wire("127.0.0.1", home.port, Signer(home.access_key, home.secret_key, home.signing_region))]
            if direct
            else wires
        )
        workloads.append(Workload(point.name, reach, bucket, replicator, seed=number + 1))
        workloads[-1].deletes_what_arrived = mode.writes == "allow"
        tasks.append(asyncio.create_task(replicator.run()))
    first, second = store.regions[:2]
    faults = [Fault("kill", first.name, workloads[0].name), Fault("hang", second.name, workloads[1].name)]
    run = Run(mode, workloads, faults, stalls=Stalls().start())
    try:
        await asyncio.gather(*(workload.seed() for workload in workloads))
        say(f"{mode.name}: seeded, {END:.0f} s of {RATE:.0f} requests/s begin")
        injecting = asyncio.create_task(_inject(run, store, first, second))
        await drive(workloads, RATE, END)
        await injecting
        run.converged = all([await workload.replicator.converge(60) for workload in workloads])
        hang = faults[1]
        for workload in workloads:
            run.verdicts.append(await verify(workload, (hang.at - 1, hang.at + HANG_SHIFT)))
    finally:
        run.stalls.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return run


async def _inject(run: Run, store: Store, first: Region, second: Region) -> None:
    begin = time.time()
    kill, hang = run.faults

    async def at(moment: float) -> None:
        await asyncio.sleep(max(0.0, begin + moment - time.time()))

    def strike(fault: Fault, act) -> None:
        fault.in_flight = sum(w.under_way[kind] for w in run.workloads for kind in READS)
        act()
        fault.at = time.time()
        say(f"{run.mode.name}: {fault.kind} {fault.region}")

    await at(KILL)
    strike(kill, first.service.process.kill)
    await at(REVIVE)
    await asyncio.to_thread(first.service.kill)  # reaps it
    await asyncio.to_thread(store.revive, first)
    kill.over = time.time()
    await at(HANG)
    strike(hang, second.service.freeze)
    await at(GO_ON)
    second.service.thaw()
    hang.over = time.time()


def shift_time(lines: list[dict], fault: Fault) -> float | None:
    """Seconds from the first failed attempt at the region to the last first attempt sent there, as the access log tells.

    None where the log shows no failed attempt, or none that a request began with.
    """
    first_failed, last_first = None, None
    for line in lines:
        for number, (moment, region, failed) in enumerate(tries(line)):
            if region != fault.region or not fault.at - 0.01 <= moment <= fault.over:
                continue
            if failed:
                first_failed = min(moment, first_failed or moment)
            if number == 0 and failed:
                last_first = max(moment, last_first or moment)
    return None if first_failed is None or last_first is None else max(0.0, last_first - first_failed)


def tries(line: dict) -> list[tuple[float, str, bool]]:
    """The attempts of one access-log line: Unix time, region, whether it failed.

    The line's `time` is when the request came, to the millisecond; `tries` lists `region`, `at_us` (microseconds
    after that) and `outcome`.
    """
    if "tries" not in line or "time" not in line:
        return []
    begin = datetime.fromisoformat(line["time"]).timestamp()
    return [
        (begin + one["at_us"] / 1e6, one["region"], one["outcome"] != "answered") for one in line["tries"]
    ]


def judge(run: Run, report: Report, store: str, direct: bool) -> bool:
    """Adds the run's results; answers whether a timing was inconclusive and the run worth repeating."""
    group = f"failover {run.mode.name}"
    records = [record for workload in run.workloads for record in workload.records]
    by = {kind: [record for record in records if record.kind == kind] for kind in MIX}
    reads = [record for kind in READS for record in by[kind]]
    failed_reads = [record for record in reads if record.outcome in ("failed", "503")]

    def check(name: str, good: bool, reason: str = "") -> None:
        report.check(group, store, name, good, reason)

    if run.mode.name == "red" or direct:
        check(
            "turns red without failover of reads", bool(failed_reads), "no read failed although none may move"
        )
        return False
    check("reads failed = 0", not failed_reads, sample(failed_reads))
    cut = [record for record in reads if record.outcome == "cut"]
    allowed = sum(fault.in_flight for fault in run.faults)
    check(
        "bodies cut <= in flight", len(cut) <= allowed, f"{len(cut)} cut, {allowed} under way: {sample(cut)}"
    )
    wrong = [record for record in records if record.outcome in ("wrong", "corrupt")]
    check("wrong answers = 0", not wrong, sample(wrong))
    writes = [record for kind in ("PUT", "DELETE") for record in by[kind]]
    broken = [record for record in writes if record.outcome in ("failed", "cut")]
    check("writes end in success or 503", not broken, sample(broken))
    check(
        "regions converged",
        run.converged,
        str([(workload.replicator.left(), workload.replicator.faults[-2:]) for workload in run.workloads]),
    )
    lost = [key for verdict in run.verdicts for key in verdict.lost]
    moments = [f"{fault.kind} {fault.region} {fault.at:.3f}..{fault.over:.3f}" for fault in run.faults]
    check("acknowledged writes lost = 0", not lost, f"{len(lost)}: {lost[:3]}, {moments}")
    late = [key for verdict in run.verdicts for key in verdict.late]
    refused = [record for record in writes if record.outcome == "503"]
    if run.mode.writes == "refuse":
        check("no older version survives a newer one", not late, f"{len(late)}: {late[:3]}")
        check(
            "writes to a dead home answer 503",
            bool(refused),
            "every write succeeded although its home was dead",
        )
    else:
        tardy = [record for record in refused if not _excused(record, run.faults)]
        check("writes succeed elsewhere", not tardy, sample(tardy))
    calm = [record for record in records if record.start > run.faults[1].over + 8 and record.outcome != "ok"]
    check("all is well at the end", not calm, sample(calm))
    return _judge_times(run, report, group, store)


def _excused(record, faults: list[Fault]) -> bool:
    return any(fault.at - 1 <= record.start <= fault.at + ALLOW_AFTER[fault.kind] for fault in faults)


def _judge_times(run: Run, report: Report, group: str, store: str) -> bool:
    again = False
    for fault, limit in zip(run.faults, (KILL_SHIFT, HANG_SHIFT)):
        name = f"shift after {fault.kind} <= {limit} s"
        if fault.shift is None:
            report.add(Result(group, store, name, FAIL, "the access log shows no failed attempt"))
        elif fault.shift <= limit:
            report.add(Result(group, store, name, PASS))
        elif run.stalls.worst(fault.at, fault.at + fault.shift + limit) > limit / 10:
            stall = run.stalls.worst(fault.at, fault.at + fault.shift + limit)
            report.add(
                Result(
                    group,
                    store,
                    name,
                    INCONCLUSIVE,
                    f"{fault.shift:.3f} s, but the machine stalled {stall:.3f} s",
                )
            )
            again = True
        else:
            report.add(Result(group, store, name, FAIL, f"{fault.shift:.3f} s"))
    return again


def sample(records: list) -> str:
    """How many and which, for a failure's reason."""
    return f"{len(records)}: " + "; ".join(f"{r.kind} {r.outcome} {r.detail}"[:120] for r in records[:4])


def print_table(run: Run, store: str) -> str:
    """Requests, failures, 503s and latency by kind; then the faults."""
    records = [record for workload in run.workloads for record in workload.records]
    lines = [
        [
            f"{store} {run.mode.name}",
            "requests",
            "ok",
            "failed",
            "503",
            "cut",
            "wrong",
            "503 kill",
            "503 hang",
            "p50 ms",
            "p99 ms",
            "max ms",
        ]
    ]
    for kind in MIX:
        of = [record for record in records if record.kind == kind]
        count = {
            outcome: sum(r.outcome == outcome for r in of)
            for outcome in ("ok", "failed", "503", "cut", "wrong")
        }
        count["wrong"] += sum(r.outcome == "corrupt" for r in of)
        during = [sum(r.outcome == "503" and f.at <= r.start <= f.over + 2 for r in of) for f in run.faults]
        times = sorted((r.end - r.intended) * 1000 for r in of) or [0.0]
        spread = [f"{times[int(len(times) * share)]:.0f}" for share in (0.5, 0.99)] + [f"{times[-1]:.0f}"]
        lines.append([kind, str(len(of)), *map(str, count.values()), *map(str, during), *spread])
    out = table(lines)
    for fault in run.faults:
        shift = "unknown" if fault.shift is None else f"{fault.shift * 1000:.0f} ms"
        out += f"{fault.kind} {fault.region} (home and nearest of {fault.point}): shift {shift}, reads under way {fault.in_flight}\n"
    lost = sum(len(verdict.lost) for verdict in run.verdicts)
    late = sum(len(verdict.late) for verdict in run.verdicts)
    keys = sum(verdict.keys for verdict in run.verdicts)
    acked = sum(write.acked for w in run.workloads for key in w.keys.values() for write in key.writes)
    out += f"{acked} acknowledged writes on {keys} keys: {lost} lost, {late} superseded by one sent in full before the hang was seen\n"
    copies = sum(workload.replicator.copies for workload in run.workloads)
    out += (
        f"{copies} copies by the replicator, worst stall of the machine {run.stalls.worst() * 1000:.0f} ms\n"
    )
    return out


def execute(
    report: Report, store: Store, gateways: list[Gateway], direct: bool, modes: list[Mode], repeat: int = 1
) -> None:
    """Plays each mode; `repeat` times for the median and worst shift; once more where a timing was inconclusive."""
    for mode in modes:
        shifts: dict[str, list[float]] = {"kill": [], "hang": []}
        tries_left = 1
        done = 0
        while done < repeat:
            wires = wires_to(gateways)
            run = asyncio.run(play(mode, store, wires, direct))
            lines = [line for gateway in gateways for line in gateway.lines()]
            for fault in run.faults:
                fault.shift = shift_time(lines, fault)
                if fault.shift is not None:
                    shifts[fault.kind].append(fault.shift)
            print(print_table(run, store.kind), flush=True)
            kept = len(report.results)
            if judge(run, report, store.kind, direct) and tries_left:
                tries_left -= 1
                del report.results[kept:]
                say(f"{mode.name}: a timing was inconclusive, once more")
                continue
            done += 1
        if repeat > 1:
            for kind, found in shifts.items():
                if found:
                    print(
                        f"{mode.name} {kind}: shift median {statistics.median(found) * 1000:.0f} ms, worst {max(found) * 1000:.0f} ms of {len(found)}"
                    )
