"""What one run left behind, and how it is measured."""

import asyncio
import json
import re
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from nearpoint import Gateway
from stalls import Stalls
from workload import READS, Record, Verdict

SAMPLE_SECONDS = 0.1
WRITES = ("PUT", "DELETE", "MPU")
# How tries end of which no byte was sent.
UNSENT = ("refused", "connect timeout", "no address", "tls failed", "stale", "standing changed")
ASKED = ("answered", "not found")  # how tries of a read end after which the lag shield asks home too


@dataclass(frozen=True)
class Try:
    """One try of one request, as the access log tells: Unix time, region, whether it was the request's first, its end.

    A read that `follows` goes where its key was changed a moment ago, whatever the order of regions is.
    """

    at: float
    region: str
    first: bool
    outcome: str
    operation: str
    follows: bool


@dataclass
class Watch:
    """The proxy's own view, taken ten times a second: standing of every region for reads and writes, and the counters."""

    gateway: Gateway
    standings: list[tuple[float, dict]] = field(default_factory=list)
    counters: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            moment = time.time()
            try:
                status = json.loads(await asyncio.to_thread(_fetch, self.gateway.admin("/api/v1/status")))
                self.standings.append((moment, {row["id"]: row for row in status["regions"]}))
                if len(self.standings) % 5 == 0:
                    self.counters.append((moment, await asyncio.to_thread(self.metrics)))
            except (OSError, ValueError):
                pass  # a proxy that is down says nothing
            await asyncio.sleep(SAMPLE_SECONDS)

    def metrics(self) -> dict[str, float]:
        """Every counter and gauge now, by its name with labels."""
        found = {}
        for line in _fetch(self.gateway.admin("/metrics")).splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=2) as answer:
        return answer.read().decode()


@dataclass
class Rest:
    """The proxy's memory and descriptors while nothing is asked of it."""

    rss: int
    descriptors: int


@dataclass
class Evidence:
    """Everything a run left behind; times are Unix seconds."""

    victim: str
    names: list[str]
    began: float = 0.0
    struck: float = 0.0
    healed: float = 0.0
    ended: float = 0.0
    records: list[Record] = field(default_factory=list)
    lines: list[dict] = field(default_factory=list)
    watch: Watch | None = None
    stalls: Stalls | None = None
    before: Rest | None = None
    after: Rest | None = None
    panicked: bool = False
    verdict: Verdict = field(default_factory=Verdict)
    converged: bool = False
    final: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    notes: dict[str, object] = field(default_factory=dict)  # what a row's own part has seen

    def of(self, *kinds: str, after: float = 0.0, before: float = float("inf")) -> list[Record]:
        """Requests of these kinds that began in the span."""
        return [r for r in self.records if r.kind in kinds and after <= r.start < before]

    def reads(self, after: float = 0.0, before: float = float("inf")) -> list[Record]:
        """GET, HEAD and LIST that began in the span."""
        return self.of(*READS, after=after, before=before)

    def tries(self) -> list[Try]:
        """Every try, in the order of time."""
        found = []
        for line in self.lines:
            if "tries" not in line or "time" not in line:
                continue
            begin = datetime.fromisoformat(line["time"]).timestamp()
            for number, one in enumerate(line["tries"]):
                operation = line.get("operation") or ""
                follows = (line.get("shield") or "").startswith("read where it was")
                moment = begin + one["at_us"] / 1e6
                found.append(Try(moment, one["region"], number == 0, one["outcome"], operation, follows))
        return sorted(found, key=lambda one: one.at)

    def retry_share(self) -> float:
        """Tries that repeat one that failed once something was sent, as a share of requests that were carried to a region
        during the fault (of all of them where the gateway's log tells another time).

        A read that found nothing, or nothing proven to be the newest, and is asked once at home too is no repeat.
        """
        everything = [line for line in self.lines if line.get("tries")]
        carried = [line for line in everything if self.struck <= _moment(line) <= self.healed] or everything
        more = 0
        for line in carried:
            no_repeat = UNSENT + (ASKED if line.get("shield") else ())
            more += sum(one["outcome"] not in no_repeat for one in line["tries"][:-1])
        return more / len(carried) if carried else 0.0

    def turns(self, what: str, region: str) -> tuple[int, int]:
        """How often a region went out of service, and came back into it, by the proxy's own log."""
        serving = {"healthy": True, "suspect": True, "probation": False, "out": False}
        out = back = 0
        for line in self.lines:
            if line.get("message") == "standing changed" and (line["region"], line["what"]) == (region, what):
                before, after = serving.get(line["from"]), serving.get(line["to"])
                out += before is True and after is False
                back += before is False and after is True
        return out, back

    def transitions(self, to: str, kind: str | None = None, region: str | None = None) -> int:
        """How often a region's standing changed to this, by the proxy's own count."""
        total = 0.0
        for name, value in self.final.items():
            labels = dict(re.findall(r'(\w+)="([^"]*)"', name))
            if name.startswith("nearpoint_region_transitions_total") and labels.get("to") == to:
                if kind in (None, labels.get("kind")) and region in (None, labels.get("region")):
                    total += value - self.baseline.get(name, 0.0)
        return int(total)

    def counted(self, prefix: str, **labels: str) -> float:
        """How much the counters of this name with these labels grew."""
        total = 0.0
        for name, value in self.final.items():
            if name.partition("{")[0] == prefix and all(f'{k}="{v}"' in name for k, v in labels.items()):
                total += value - self.baseline.get(name, 0.0)
        return total

    def shown(self, prefix: str, **labels: str) -> float:
        """The largest value that was seen of such a gauge."""
        seen = [0.0]
        for _, values in self.watch.counters if self.watch else []:
            for name, value in values.items():
                if name.partition("{")[0] == prefix and all(f'{k}="{v}"' in name for k, v in labels.items()):
                    seen.append(value)
        return max(seen)


def _moment(line: dict) -> float:
    return datetime.fromisoformat(line["time"]).timestamp() if "time" in line else 0.0


def milliseconds(records: list[Record]) -> list[float]:
    """From the intended start to the end, sorted."""
    return sorted((record.end - record.intended) * 1000 for record in records) or [0.0]


def percentile(values: list[float], share: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))]


def connections_to(pid: int, address: str) -> set[str]:
    """Local ports of this process's established connections to an address."""
    wanted = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        local, remote, state = line.split()[1:4]
        if state == "01" and remote.startswith(wanted):
            found.add(local.partition(":")[2])
    return found
