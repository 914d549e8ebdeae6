"""What rows do to the stage: one small function each."""

import asyncio
import email.utils
import os
import resource
import signal
import time

from processes import NotReady
from wire import Failed

from scoreboard.evidence import connections_to
from scoreboard.stage import POINT, Stage

EVERY = ("GET", "HEAD", "PUT", "POST", "DELETE")


async def nothing(stage: Stage) -> None:
    """Nothing."""


# ── the process ─────────────────────────────────────────────────────────────


async def kill(stage: Stage) -> None:
    """SIGKILL to the nearest region."""
    stage.kill(stage.first)


async def revive(stage: Stage) -> None:
    """It starts again with what it kept."""
    await stage.revive(stage.first)


async def freeze(stage: Stage) -> None:
    """SIGSTOP to the nearest region."""
    stage.freeze(stage.first)


async def thaw(stage: Stage) -> None:
    """SIGCONT."""
    stage.first.service.thaw()


async def kill_all(stage: Stage) -> None:
    """SIGKILL to every region."""
    for region in stage.store.regions:
        stage.kill(region)


async def freeze_all(stage: Stage) -> None:
    """SIGSTOP to every region."""
    for region in stage.store.regions:
        stage.freeze(region)


async def thaw_all(stage: Stage) -> None:
    """SIGCONT to every region."""
    for region in stage.store.regions:
        region.service.thaw()


async def revive_all(stage: Stage) -> None:
    """Every region starts again; how many connections that cost is counted."""
    await asyncio.gather(*(stage.revive(region) for region in stage.store.regions))
    stage.notes["revived"] = time.time()


async def forget_and_revive(stage: Stage) -> None:
    """The nearest region starts again with nothing."""
    log = stage.store.folder(stage.first) / "log"
    log.rename(log.with_suffix(".gone"))
    await stage.revive(stage.first)


async def flap(stage: Stage) -> None:
    """Five seconds stopped, five running, until the fault's time is over."""
    end = time.time() + stage.times.fault - 5
    while time.time() < end:
        stage.freeze(stage.first)
        await asyncio.sleep(5)
        stage.first.service.thaw()
        await asyncio.sleep(5)


# ── the network ─────────────────────────────────────────────────────────────


def rules(*lines: str):
    """These nft rules on the path to the nearest region."""

    async def inject(stage: Stage) -> None:
        leg = stage.leg(stage.first)
        stage.notes["sockets at the strike"] = connections_to(stage.gateway.service.pid, leg.address)
        leg.rules(*lines)

    return inject


async def heal_network(stage: Stage) -> None:
    """No rule, no detour."""
    leg = stage.leg(stage.first)
    leg.heal()
    leg.further(0)


async def further(stage: Stage) -> None:
    """The nearest region is 300 ms further away."""
    stage.leg(stage.first).further(300)


async def old_sockets(stage: Stage) -> None:
    """Six seconds after the cut no connection of before it may stand."""
    await asyncio.sleep(6.3)
    old = stage.notes.pop("sockets at the strike", set())
    now = connections_to(stage.gateway.service.pid, stage.leg(stage.first).address)
    stage.notes["connections older than 6 s"] = len(old & now)


async def one_address_dead(stage: Stage) -> None:
    """Packets to one of the region's three addresses are dropped."""
    leg = stage.leg(stage.first)
    leg.rules(f"in ip daddr {leg.more[0]} drop")


async def split(stage: Stage) -> None:
    """The two nearest regions hear nothing of each other."""
    stage.carrier.cut = {frozenset((stage.first.name, stage.second.name))}


async def join(stage: Stage) -> None:
    """They do again."""
    stage.carrier.cut = set()


EACH_ANSWER = 5.0  # seconds: as long as an answer is used at least


async def dns_goes_bad(stage: Stage) -> None:
    """Silence, no such name, no address; then, for the rest of the time, an address where nothing listens."""
    for answer in (None, "nxdomain", []):
        stage.dns.answer = answer
        await asyncio.sleep(EACH_ANSWER)
    stage.notes["wrong since"] = time.time()
    stage.dns.answer = [stage.leg(stage.first).here]


async def dns_is_wrong(stage: Stage) -> None:
    """The name leads to a place where nothing listens, and every connection ends."""
    stage.dns.answer = [stage.leg(stage.first).here]
    stage.kill(stage.first)


async def dns_is_right(stage: Stage) -> None:
    """The name leads to the region."""
    stage.dns.answer = [stage.leg(stage.first).address]


async def three_addresses(stage: Stage) -> None:
    """The name leads to three addresses."""
    leg = stage.leg(stage.first)
    stage.dns.answer = [leg.address, *leg.more]
    await asyncio.sleep(6)


# ── bodies ──────────────────────────────────────────────────────────────────


def wrong(fault: dict, **scope):
    """The fault proxy injects this."""

    async def inject(stage: Stage) -> None:
        await stage.faultd.arm(fault, scope)

    return inject


def all_of(*parts):
    """One after the other."""

    async def inject(stage: Stage) -> None:
        for part in parts:
            await part(stage)

    return inject


async def right(stage: Stage) -> None:
    """The fault proxy passes everything on again."""
    stage.notes["requests hit"] = await stage.faultd.lift()


def certificate(which: str):
    """The region shows this certificate, and its connections end."""

    async def inject(stage: Stage) -> None:
        stage.use_certificate(which)
        await stage.faultd.hang_up()
        await asyncio.sleep(0.2)
        counts = await stage.tell(stage.first, {"do": "counts"})
        stage.notes["asked before"] = counts["requests"]

    return inject


async def certificate_again(stage: Stage) -> None:
    """The good certificate; how many requests came in the meantime."""
    counts = await stage.tell(stage.first, {"do": "counts"})
    stage.notes["sent unverified"] = counts["requests"] - stage.notes.pop("asked before")
    stage.use_certificate("good")


# ── the region ──────────────────────────────────────────────────────────────


def answers(status: int, code: str, methods: tuple[str, ...] = EVERY, **when):
    """The nearest region answers this error."""

    async def inject(stage: Stage) -> None:
        for method in methods:
            await stage.fault(
                stage.first, {"answer": {"status": status, "code": code}}, method=method, **when
            )

    return inject


def acts(act: object, **when):
    """The nearest region misbehaves so."""

    async def inject(stage: Stage) -> None:
        await stage.fault(stage.first, act, **when)

    return inject


async def heals(stage: Stage) -> None:
    """It behaves again."""
    await stage.heal(stage.first)


PROBE_KEY = ".nearpoint/canary"  # the gateway's default


async def store_canary(stage: Stage) -> None:
    """What the nearest region's probe asks for is there."""
    wire = stage.direct(stage.first)
    reply = await wire.request("PUT", stage.first.bucket(POINT), PROBE_KEY, body=b"canary")
    wire.close()
    if reply.status != 200:
        raise NotReady(f"the probe's key: {reply.status} {reply.code()}")


async def probe_goes_bad(stage: Stage) -> None:
    """The probe's key is gone; after a third of the time asking for it is an error.

    A region that answers requests is not probed; with a configuration that has changed all are, at once.
    """
    good = stage.gateway.file.read_text()
    differs = f'{good}timeouts:\n  client_head: "9s"\n'
    for status, code, text in ((404, "NoSuchKey", differs), (500, "InternalError", good)):
        await stage.heal(stage.first)
        answer = {"answer": {"status": status, "code": code}}
        await stage.fault(stage.first, answer, key=PROBE_KEY, probes=True)
        _reload(stage, text)
        await asyncio.sleep(stage.times.fault / 3)


def throttles(per_second: int):
    """It takes so many requests a second."""

    async def inject(stage: Stage) -> None:
        await stage.tell(stage.first, {"do": "throttle", "per_second": per_second})

    return inject


def clock_off_by(seconds: int):
    """Its clock is wrong."""

    async def inject(stage: Stage) -> None:
        await stage.tell(stage.first, {"do": "skew", "seconds": seconds})

    return inject


def own_clock(offset: str):
    """The gateway's wall clock is so many seconds off."""

    async def inject(stage: Stage) -> None:
        stage.tell_time(offset)

    return inject


async def dated_as_if_right(stage: Stage) -> None:
    """Its answers are dated by this machine's clock, whatever its own says: nobody can learn from them."""
    date = email.utils.formatdate(usegmt=True)
    for method in EVERY:
        await stage.fault(
            stage.first, {"say": {"name": "date", "value": date}}, method=method, probes=True
        )


clock_right = clock_off_by(0)


async def offered_rate(stage: Stage) -> None:
    """Requests a second at the nearest region, ten seconds after the strike to the end of the fault."""
    wait = min(10.0, stage.times.fault * 0.8)
    await asyncio.sleep(wait)
    begin, first = time.time(), await stage.tell(stage.first, {"do": "counts"})
    await asyncio.sleep(max(1.0, stage.times.fault - wait - 0.5))
    last = await stage.tell(stage.first, {"do": "counts"})
    stage.notes["offered per second"] = (last["requests"] - first["requests"]) / (time.time() - begin)


# ── the proxy ───────────────────────────────────────────────────────────────


async def terminate(stage: Stage) -> None:
    """SIGTERM to the first gateway; the second goes on."""
    begin = time.time()
    process = stage.gateway.service.process
    process.send_signal(signal.SIGTERM)

    async def ended() -> None:
        code = await asyncio.to_thread(process.wait, 40)
        stage.notes["drained in s"] = time.time() - begin
        stage.notes["exit code"] = code

    stage.notes["drain"] = asyncio.create_task(ended())


async def terminated(stage: Stage) -> None:
    """Waits for its end."""
    await stage.notes.pop("drain")


async def kill_proxy(stage: Stage) -> None:
    """SIGKILL to the first gateway."""
    os.kill(stage.gateway.service.pid, signal.SIGKILL)
    await asyncio.to_thread(stage.gateway.service.process.wait)
    stage.notes.update({"exit code": -9, "drained in s": 0.0})


async def restart_proxy(stage: Stage) -> None:
    """SIGKILL to the gateway; started again at once."""
    service = stage.gateway.service
    await asyncio.to_thread(service.kill)
    begin = time.monotonic()
    service.start()
    wire = stage.wire()
    while time.monotonic() - begin < 10:
        try:
            reply = await wire.request("GET", POINT, query={"list-type": "2", "max-keys": "1"}, timeout=2)
            if reply.status == 200:
                break
        except Failed:
            pass
        await asyncio.sleep(0.005)
    stage.notes["ready in ms"] = (time.monotonic() - begin) * 1000
    stage.notes["ready at"] = time.time()
    wire.close()


async def restart_without_home(stage: Stage) -> None:
    """The same while the nearest region is dead."""
    stage.kill(stage.first)
    await restart_proxy(stage)


async def few_descriptors(stage: Stage) -> None:
    """The gateway may open no more files, and many connect."""
    pid, open_now = stage.gateway.service.pid, stage.gateway.service.descriptors()
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    stage.notes["limits"] = (soft, hard)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 10, hard))
    crowd = []
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.ports["http"])
            crowd.append(writer)
        except OSError:
            break
    stage.notes["crowd"] = crowd


async def crowd_leaves(stage: Stage) -> None:
    """The crowd goes away; the limit stays where it was put."""
    for writer in stage.notes.pop("crowd"):
        writer.transport.abort()


async def many_descriptors(stage: Stage) -> None:
    """The limit is what it was, the crowd gone."""
    await crowd_leaves(stage)
    pid = stage.gateway.service.pid
    if stage.gateway.service.alive():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, stage.notes.pop("limits"))
    stage.notes["alive"] = stage.gateway.service.alive()


def _reload(stage: Stage, text: str) -> None:
    stage.gateway.file.write_text(text)
    os.kill(stage.gateway.service.pid, signal.SIGHUP)


ROOM = 48 << 20  # bytes between what the gateway uses at the strike and what it may use


async def little_memory(stage: Stage) -> None:
    """The gateway may use little more memory than it does."""
    stage.notes["limit"] = stage.group.usage() + ROOM
    stage.group.limit(stage.notes["limit"])


async def enough_memory(stage: Stage) -> None:
    """It may use as much as it was close to, and more; how close it came."""
    group, limit = stage.group, stage.notes.pop("limit")
    stage.notes["alive"] = stage.gateway.service.alive()
    stage.notes["killed for want of memory"] = group.kills()
    stage.notes["most of its memory in use"] = group.peak() / limit
    group.limit(limit + (1 << 30))


async def reloads(stage: Stage) -> None:
    """A broken configuration, SIGHUP; a good one that differs, SIGHUP; again and again."""
    good = stage.gateway.file.read_text()
    differs = good.replace('"log": "info"', '"log": "warn"').replace('log: "info"', 'log: "warn"')
    end = time.time() + stage.times.fault - 2
    while time.time() < end:
        for text in (good + "\nnonsense: true\n", differs, good):
            _reload(stage, text)
            await asyncio.sleep(1)


async def restarts(stage: Stage) -> None:
    """Restarts where a reload would do."""
    end = time.time() + stage.times.fault - 2
    while time.time() < end:
        await restart_proxy(stage)
        await asyncio.sleep(1)
