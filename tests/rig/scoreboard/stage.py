"""One run of one row: regions, network, gateway and traffic brought up, the fault injected and undone, everything read back."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import provision
from nearpoint import LOGICAL_REGION, AccessPoint, Client, Gateway
from processes import Service
from stalls import Stalls
from stores.own import CONTROL, PORT, Own, tool
from stores.region import SITES, Region
from wire import Failed, Reply, Signer, Wire
from workload import Shape, Workload, drive, verify

from scoreboard.carrier import ORDERED, Carrier, Control, Side
from scoreboard.dns import Dns
from scoreboard.evidence import Evidence, Rest, Watch
from scoreboard.lab import Lab, Leg
from scoreboard.memgroup import MemoryGroup

DISTANCES = [2.0, 20.0, 60.0]  # milliseconds of round trip
RATE = 200.0
POINT = "board"
ASIDE = "aside/"  # keys of rows' own requests; the workload knows nothing of them
KIB = 1024
# Uploads in parts are small here: 16 MiB ten times a second is more than Python clients and two cores carry.
TRAFFIC = Shape(
    mix={"GET": 68, "HEAD": 2, "LIST": 5, "PUT": 17, "DELETE": 3, "MPU": 5},
    sizes=[(64 * KIB, 100)],
    seeded=60,
    keys_max=240,
    part=64 * KIB,
    checksums=True,
)
LAG = 0.5
LIBFAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
CONVERGE = 30.0
QUIET = 12.0  # after the traffic, for connections that are idle to be closed


@dataclass(frozen=True)
class Times:
    """Seconds of each part of a run."""

    warm: float
    fault: float
    recovery: float


FULL = Times(30, 30, 60)
SHORT = Times(8, 10, 20)
RED = Times(4, 8, 6)


@dataclass(frozen=True)
class Setup:
    """What a row needs around it. `path` puts the fault proxy before the first region."""

    writes: str = "refuse"
    reads: str = "allow"
    # A list, so that the region that is struck is the one that serves, however the machine's load blurs distances.
    order: object = field(default_factory=lambda: [name for name, _, _ in SITES])
    path: bool = False
    tls: bool = False
    names: bool = False  # the first region is dialled by a name that a DNS server of the rig's answers
    versioned: bool = False
    gateways: int = 1
    memory_group: bool = False  # the gateway is in a control group whose memory can be limited
    lag: float = LAG
    own_clock: bool = False  # the gateway's wall clock can be set
    second_home: bool = False  # the second gateway lives in the second region: its home and its nearest
    overlay: dict = field(default_factory=dict)

    def without_failover(self) -> "Setup":
        """The same with `failover: refuse` and one attempt."""
        limits = {"limits": {"attempts": 1}}
        return replace(self, writes="refuse", reads="refuse", overlay={**self.overlay, **limits})


class Balanced(Wire):
    """Several gateways as a load balancer has them: one that refuses the connection is passed over."""

    def __init__(self, wires: list[Wire]):
        super().__init__(wires[0].host, wires[0].port, wires[0].signer)
        self.wires = wires
        self.turn = 0

    async def request(self, *words, **named) -> Reply:
        """As Wire's."""
        self.turn += 1
        order = [self.wires[(self.turn + step) % len(self.wires)] for step in range(len(self.wires))]
        for wire in order[:-1]:
            with suppress(Refused):
                return await _refusable(wire.request(*words, **named))
        return await order[-1].request(*words, **named)

    def close(self) -> None:
        """Drops every idle connection."""
        for wire in self.wires:
            wire.close()


class Refused(Exception):
    """The connection was refused: nothing was asked."""


async def _refusable(asking: Awaitable[Reply]) -> Reply:
    try:
        return await asking
    except Failed as cause:
        if cause.stage == "connect":
            raise Refused from cause
        raise


class Faultd:
    """The fault proxy in front of a region, inside that region's namespace."""

    PORT, CONTROL = 9100, 9101

    def __init__(self, region: Region, scratch: Path, tls: tuple[Path, Path] | None):
        leg: Leg = region.extras["leg"]
        words = [tool("faultd"), "--region", region.name, "--listen", f"0.0.0.0:{self.PORT}"]
        words += ["--control", f"{leg.near}:{self.CONTROL}", "--upstream", f"127.0.0.1:{PORT}"]
        words += ["--tls", *tls] if tls else []
        self.leg = leg
        self.service = Service(f"faultd {region.name}", leg.inside(*words), scratch / "faultd.log")
        self.control = Control(leg.near, self.CONTROL, ORDERED)
        self.armed: list[int] = []

    def start(self) -> "Faultd":
        """Starts it and waits until it takes faults."""
        self.service.start()
        self.service.await_port(self.CONTROL, 20, self.leg.near)
        return self

    async def arm(self, fault: dict, scope: dict | None = None) -> None:
        """Injects from now on."""
        answer, _ = await self.control.ask({"do": "arm", "fault": fault, "scope": scope or {}})
        self.armed.append(answer["id"])

    async def lift(self) -> int:
        """Ends every injection; how many requests were hit."""
        hits = 0
        for one in self.armed:
            answer, _ = await self.control.ask({"do": "lift", "id": one})
            hits += answer["hits"] or 0
        self.armed.clear()
        return hits

    async def hang_up(self) -> None:
        """Resets every connection."""
        await self.control.ask({"do": "hang_up"})


class Stage:
    """What a row's functions have in their hands."""

    def __init__(self, setup: Setup, times: Times, rate: float, scratch: Path, certificates):
        self.setup, self.times, self.rate = setup, times, rate
        self.scratch = scratch
        self.certificates = certificates
        self.lab = Lab(DISTANCES)
        self.store = Own(scratch, [POINT], self.lab, setup.versioned)
        self.first, self.second, self.third = self.store.regions
        self.controls = {
            region.name: Control(region.extras["leg"].near, CONTROL, ORDERED) for region in self.store.regions
        }
        self.faultd: Faultd | None = None
        self.gateways: list[Gateway] = []
        self.carrier: Carrier | None = None
        self.workload: Workload | None = None
        self.evidence = Evidence(self.first.name, [region.name for region in self.store.regions])
        self.notes = self.evidence.notes
        self.hung = False
        self.dns = None
        self.group: MemoryGroup | None = None
        self.others: list[Service] = []
        self.same_process = True

    @property
    def gateway(self) -> Gateway:
        """The first gateway."""
        return self.gateways[0]

    def leg(self, region: Region) -> Leg:
        """A region's network."""
        return region.extras["leg"]

    async def tell(self, region: Region, order: dict) -> dict:
        """Has a region do something at its control port."""
        answer, _ = await self.controls[region.name].ask(order)
        return answer

    async def fault(self, region: Region, act: object, **when) -> None:
        """The region itself misbehaves."""
        await self.tell(region, {"do": "fault", "when": when, "act": act})

    async def heal(self, region: Region) -> None:
        """The region behaves."""
        await self.tell(region, {"do": "heal"})

    def wire(self, number: int = 0) -> Wire:
        """A connection pool to a gateway."""
        gateway = self.gateways[number]
        signer = Signer(gateway.client.access_key, gateway.client.secret_key, LOGICAL_REGION)
        return Wire("127.0.0.1", gateway.ports["http"], signer)

    def direct(self, region: Region) -> Wire:
        """A connection pool to a region over the near path."""
        signer = Signer(region.access_key, region.secret_key, region.signing_region)
        return Wire(region.extras["leg"].near, PORT, signer)

    def kill(self, region: Region) -> None:
        """SIGKILL, at once; reaped when revived."""
        os.kill(region.service.pid, signal.SIGKILL)

    async def revive(self, region: Region) -> None:
        """Starts it again with what it kept."""
        await asyncio.to_thread(self.store.revive, region)

    def freeze(self, region: Region) -> None:
        """SIGSTOP."""
        self.hung = True
        region.service.freeze()

    # ── up and down ─────────────────────────────────────────────────────────

    def up(self) -> None:
        """Network, regions, fault proxy, gateways."""
        self.lab.up()
        self.store.start()
        if self.setup.path or self.setup.tls:
            tls = (self.scratch / "region.crt", self.scratch / "region.key") if self.setup.tls else None
            if tls:
                self.use_certificate("good")
                self.first.scheme = "https"
                self.first.extras["configuration"]["tls"] = {"ca_file": str(self.certificates["good"].ca)}
            self.faultd = Faultd(self.first, self.scratch, tls).start()
            self.first.port = Faultd.PORT
        inside: tuple[str, ...] = ()
        if self.setup.names:
            self.dns = Dns(self.scratch)
            self.dns.answer = [self.first.host]
            self.dns.start()
            self.first.host = self.dns.NAME
            inside = self.dns.inside()
        if self.setup.memory_group:
            self.group = MemoryGroup()
            inside = self.group.inside()
        if self.setup.own_clock:
            provision.debian(["libfaketime"])
            self.tell_time("+0")
            clock = f"FAKETIME_TIMESTAMP_FILE={self.scratch / 'clock'}"
            inside = ("env", f"LD_PRELOAD={LIBFAKETIME}", clock, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1")
        names = [region.name for region in self.store.regions]
        client, token_key = Client(), secrets.token_hex(32)
        for number in range(self.setup.gateways):
            home = names[0]
            point = AccessPoint(POINT, POINT, self.setup.order, home, self.setup.reads, self.setup.writes)
            self.gateways.append(
                Gateway(
                    f"gateway-{number + 1}",
                    self.scratch,
                    self.store.regions,
                    self.store.kind,
                    [point],
                    client,
                    self.certificates["good"],
                    token_key,
                    self.overlay(number),
                    inside,
                )
            )
        for gateway in self.gateways:
            gateway.start()

    def overlay(self, number: int) -> dict:
        """What a gateway's configuration has beyond the usual."""
        if not (self.setup.second_home and number == 1):
            return self.setup.overlay
        order = [self.second.name, self.first.name, self.third.name]
        point = {"reads": {"order": order}, "writes": {"home": self.second.name}}
        return {**self.setup.overlay, "access_points": {POINT: point}}

    def tell_time(self, offset: str) -> None:
        """The gateway's wall clock is so many seconds off from now on."""
        fresh = self.scratch / "clock.new"
        fresh.write_text(f"{offset}\n")
        fresh.replace(self.scratch / "clock")

    def use_certificate(self, which: str) -> None:
        """The fault proxy shows this certificate from the next connection on."""
        chosen = self.certificates[which]
        for source, name in ((chosen.certificate, "region.crt"), (chosen.key, "region.key")):
            fresh = self.scratch / f"{name}.new"
            fresh.write_bytes(Path(source).read_bytes())
            fresh.replace(self.scratch / name)

    def down(self) -> None:
        """Ends everything, whatever happened."""
        for gateway in self.gateways:
            with suppress(Exception):
                gateway.service.kill()
        for service in self.others:
            service.kill()
        if self.group:
            self.group.remove()
        if self.dns:
            self.dns.stop()
        if self.faultd:
            self.faultd.service.kill()
        self.store.stop()
        self.lab.down()

    # ── one run ─────────────────────────────────────────────────────────────

    async def play(self, row, brief: bool) -> Evidence:
        """Seeds, warms, strikes, heals, recovers; reads everything back, unless it is to be brief."""
        sides = [
            Side(
                region.name,
                self.direct(region),
                region.bucket(POINT),
                Control(region.extras["leg"].near, CONTROL),
                Control(region.extras["leg"].near, CONTROL),
            )
            for region in self.store.regions
        ]
        self.carrier = Carrier(sides, self.setup.lag)
        wires = [self.wire(number) for number in range(len(self.gateways))]
        wire = Balanced(wires) if len(wires) > 1 else wires[0]
        self.workload = Workload(POINT, [wire], POINT, self.carrier, row.number, TRAFFIC)
        evidence = self.evidence
        evidence.watch = Watch(self.gateway)
        evidence.stalls = Stalls().start()
        tasks = [asyncio.create_task(self.carrier.run()), asyncio.create_task(evidence.watch.run())]
        try:
            await self.workload.seed()
            if row.prepare:
                await row.prepare(self)
            descriptors = self._rest().descriptors
            evidence.began = time.time()
            traffic = asyncio.create_task(drive([self.workload], self.rate, sum(vars(self.times).values())))
            await asyncio.sleep(self.times.warm)
            evidence.baseline = await asyncio.to_thread(evidence.watch.metrics)
            evidence.before = Rest(self._rest().rss, descriptors)
            pid = self.gateway.service.pid
            running = asyncio.create_task(row.beside(self)) if row.beside else None
            evidence.struck = time.time()
            await row.inject(self)
            await asyncio.sleep(max(0.0, evidence.struck + self.times.fault - time.time()))
            await row.undo(self)
            evidence.healed = time.time()
            await traffic
            if running:
                await running
            evidence.ended = time.time()
            self.same_process = self.gateway.service.alive() and self.gateway.service.pid == pid
            if row.after or not brief:
                evidence.converged = await self.carrier.converge(CONVERGE)
            if not brief:
                hung = (evidence.struck - 1, evidence.struck + 3.0) if self.hung else None
                evidence.verdict = await verify(self.workload, hung)
            if row.after:
                await row.after(self)
            self.notes["stored twice"] = len(self.carrier.stored_twice())
            await self._calm(wire, brief)
        finally:
            evidence.stalls.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.carrier.close()
        evidence.records = self.workload.records
        written = self.workload.keys.values()
        self.notes["acknowledged"] = sum(write.acked for key in written for write in key.writes)
        evidence.lines = [line for gateway in self.gateways for line in gateway.lines()]
        evidence.panicked = any(
            "panicked" in gateway.log.read_text(errors="replace") for gateway in self.gateways
        )
        return evidence

    async def _calm(self, wire: Wire, brief: bool) -> None:
        """Takes the last counters; waits until the proxy is at rest again, and measures it."""
        evidence = self.evidence
        wire.close()
        if not self.gateway.service.alive():
            return
        with suppress(OSError):
            evidence.final = await asyncio.to_thread(evidence.watch.metrics)
        if brief or not self.same_process:
            evidence.before = None
            return
        end = time.monotonic() + QUIET
        while time.monotonic() < end:
            evidence.after = self._rest()
            if evidence.after.descriptors <= evidence.before.descriptors:
                break
            await asyncio.sleep(0.25)

    def _rest(self) -> Rest:
        return Rest(self.gateway.service.rss_bytes(), self.gateway.service.descriptors())
