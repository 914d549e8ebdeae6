"""What rows do to the stage, and what they do beside the traffic: one small function each."""

import asyncio
import hashlib
import os
import resource
import signal
import time

from processes import NotReady
from wire import Failed, Reply
from workload import PARTS, between

from scoreboard.evidence import connections_to
from scoreboard.stage import POINT, Stage

KIB = 1024
EVERY = ("GET", "HEAD", "PUT", "POST", "DELETE")
ASIDE = "aside/"  # keys of rows' own parts; the workload knows nothing of them


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


async def dns_goes_bad(stage: Stage) -> None:
    """Silence, no such name, no address, a wrong address: a quarter of the time each."""
    for answer in (None, "nxdomain", [], [stage.leg(stage.first).here]):
        stage.dns.answer = answer
        await asyncio.sleep(stage.times.fault / 4)


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


async def clock_jumps(stage: Stage) -> None:
    """Its clock jumps to and fro."""
    end = time.time() + stage.times.fault - 0.5
    seconds = 1200
    while time.time() < end:
        await clock_off_by(seconds)(stage)
        seconds = -seconds
        await asyncio.sleep(0.5)


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


async def reloads(stage: Stage) -> None:
    """A broken configuration, SIGHUP; a good one that differs, SIGHUP; again and again."""
    file, pid = stage.gateway.file, stage.gateway.service.pid
    good = file.read_text()
    end = time.time() + stage.times.fault - 2
    while time.time() < end:
        file.write_text(good + "\nnonsense: true\n")
        os.kill(pid, signal.SIGHUP)
        await asyncio.sleep(1)
        file.write_text(good.replace('"log": "info"', '"log": "warn"').replace('log: "info"', 'log: "warn"'))
        os.kill(pid, signal.SIGHUP)
        await asyncio.sleep(1)
        file.write_text(good)
        os.kill(pid, signal.SIGHUP)
        await asyncio.sleep(1)


async def restarts(stage: Stage) -> None:
    """Restarts where a reload would do."""
    end = time.time() + stage.times.fault - 2
    while time.time() < end:
        await restart_proxy(stage)
        await asyncio.sleep(1)


# ── beside the traffic ──────────────────────────────────────────────────────


async def _timed(asking) -> tuple[str, float, Reply | None]:
    begin = time.time()
    try:
        reply = await asking
    except Failed as cause:
        return str(cause), time.time() - begin, None
    return f"{reply.status} {reply.code()}".strip(), time.time() - begin, reply


def _tally(stage: Stage, name: str, outcome: str) -> None:
    stage.notes[name] = stage.notes.get(name, 0) + 1
    if name not in ("conditional done", "poison asked"):
        stage.notes.setdefault("samples", []).append(f"{name}: {outcome}"[:90])


async def conditional_writes(stage: Stage) -> None:
    """New keys, ten a second, each only if there is none."""
    stage.notes.update({"conditional done": 0, "conditional not done": 0, "false 412": 0})
    wire, tasks = stage.wire(), []

    async def one(number: int) -> None:
        body = os.urandom(8 * KIB)
        headers = {"if-none-match": "*"}
        asking = wire.request("PUT", POINT, f"{ASIDE}new {number}", None, headers, body, 40)
        outcome, _, reply = await _timed(asking)
        if reply and reply.status == 200 and reply.etag == hashlib.md5(body).hexdigest():
            _tally(stage, "conditional done", outcome)
        else:
            _tally(stage, "false 412" if outcome.startswith("412") else "conditional not done", outcome)

    end, number = time.time() + stage.times.fault - 1, 0
    while time.time() < end:
        tasks.append(asyncio.create_task(one(number)))
        number += 1
        await asyncio.sleep(0.1)
    await asyncio.gather(*tasks)
    wire.close()


async def poison(stage: Stage) -> None:
    """One key, fifty times a second."""
    wire, tasks = stage.wire(), set()

    async def one() -> None:
        outcome, _, _ = await _timed(wire.request("GET", POINT, f"{ASIDE}poison", timeout=40))
        _tally(stage, "poison asked", outcome)

    end = time.time() + stage.times.fault - 1
    while time.time() < end:
        task = asyncio.create_task(one())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.02)
    await asyncio.gather(*tasks)
    wire.close()


async def store_poison(stage: Stage) -> None:
    """The key is there, everywhere."""
    await stage.wire().request("PUT", POINT, f"{ASIDE}poison", body=b"poison")
    await stage.carrier.converge(20)


def crowd(rate: float, through: bool = False):
    """Further readers, so many a second, until the fault is over (or the run, where `through`)."""

    async def beside(stage: Stage) -> None:
        wire, tasks = stage.wire(), set()
        names = stage.workload.names[:50]
        seconds = stage.times.fault + (stage.times.recovery if through else 0)
        begin = time.time()
        for number in range(int(rate * seconds)):
            pause = begin + number / rate - time.time()
            if pause > 0:
                await asyncio.sleep(pause)
            asking = wire.request("GET", POINT, names[number % len(names)], timeout=10)
            task = asyncio.create_task(_timed(asking))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        wire.close()

    return beside


async def upload_across(stage: Stage) -> None:
    """An upload whose home dies between two parts and comes back."""
    wire, parts = stage.wire(), [os.urandom(64 * KIB) for _ in range(PARTS)]
    key, notes = f"{ASIDE}upload", stage.notes
    notes.update({"NoSuchUpload": 0, "refused with 503": 0, "upload": "not done"})
    begun = await wire.request("POST", POINT, key, {"uploads": ""})
    upload = {"uploadId": between(begun.body, b"<UploadId>", b"</UploadId>")}
    tags = []

    async def part(number: int) -> str:
        asking = wire.request(
            "PUT", POINT, key, {"partNumber": str(number), **upload}, None, parts[number - 1], 20
        )
        outcome, _, reply = await _timed(asking)
        if reply and reply.status == 200:
            tags.append(reply.etag)
        notes["NoSuchUpload"] += "NoSuchUpload" in outcome or outcome.startswith("404")
        notes["refused with 503"] += outcome.startswith("503")
        return outcome

    await part(1)
    stage.kill(stage.first)
    end = time.time() + stage.times.fault + stage.times.recovery - 4
    number = 2
    while number <= PARTS and time.time() < end:
        if (await part(number)).startswith("200"):
            number += 1
        else:
            await asyncio.sleep(0.5)
    listed = "".join(
        f'<Part><PartNumber>{number}</PartNumber><ETag>"{tag}"</ETag></Part>'
        for number, tag in enumerate(tags, 1)
    )
    document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    outcome, _, _ = await _timed(wire.request("POST", POINT, key, upload, None, document, 40))
    notes["NoSuchUpload"] += "NoSuchUpload" in outcome
    read, _, reply = await _timed(wire.request("GET", POINT, key, timeout=40))
    whole = reply is not None and reply.body == b"".join(parts)
    notes["upload"] = "done" if outcome == "200" and whole else f"complete {outcome}, read {read}"[:80]
    wire.close()


LISTED, PAGE, DIES_AT = 10_000, 1000, 4


async def seed_listing(stage: Stage) -> None:
    """Ten thousand keys, everywhere."""
    await stage.tell(stage.first, {"do": "seed", "prefix": f"{ASIDE}listed/", "count": LISTED})
    if not await stage.carrier.converge(120):
        raise NotReady(f"ten thousand keys were not carried: {stage.carrier.faults[-2:]}")


async def list_across(stage: Stage) -> None:
    """A listing whose region dies at its fourth page."""
    wire, found, token, notes = stage.wire(), [], None, stage.notes
    notes["listing"] = "not done"
    for page in range(1, 2 * LISTED // PAGE):
        if page == DIES_AT:
            stage.kill(stage.first)
        query = {"list-type": "2", "prefix": f"{ASIDE}listed/", "max-keys": str(PAGE)}
        query |= {"continuation-token": token} if token else {}
        outcome, _, reply = await _timed(wire.request("GET", POINT, "", query, timeout=40))
        if reply is None or reply.status != 200:
            notes["listing"] = f"page {page}: {outcome}"[:80]
            return
        found += [part.partition(b"</Key>")[0] for part in reply.body.split(b"<Key>")[1:]]
        token = between(reply.body, b"<NextContinuationToken>", b"</NextContinuationToken>")
        if not token:
            break
    ordered = all(before < after for before, after in zip(found, found[1:]))
    notes["listing"] = (
        "whole and in order" if ordered and len(found) == LISTED else f"{len(found)} keys, ordered {ordered}"
    )
    wire.close()


async def write_both_sides(stage: Stage) -> None:
    """The same keys written through both gateways while their regions are apart."""
    acked = []

    async def one(side: int, number: int) -> None:
        body = f"{side} {number} ".encode() + os.urandom(64)
        outcome, _, reply = await _timed(
            stage.wire(side).request("PUT", POINT, f"{ASIDE}both {number % 20}", body=body, timeout=20)
        )
        if reply and reply.status == 200:
            acked.append((number % 20, hashlib.md5(body).hexdigest()))

    end, number = time.time() + stage.times.fault - 1, 0
    while time.time() < end:
        await asyncio.gather(one(0, number), one(1, number))
        number += 1
        await asyncio.sleep(0.1)
    stage.notes["both"] = acked


async def read_versions(stage: Stage) -> None:
    """Which acknowledged writes exist as versions, and whether the regions agree on the newest."""
    versions: set[tuple[int, str]] = set()
    newest: dict[int, set[str]] = {}
    for region in stage.store.regions:
        wire = stage.direct(region)
        for number in range(20):
            key = f"{ASIDE}both {number}"
            reply = await wire.request(
                "GET", region.bucket(POINT), "", {"versions": "", "prefix": key, "max-keys": "1000"}
            )
            tags = []
            for entry in reply.body.split(b"<Version>")[1:]:
                if between(entry, b"<Key>", b"</Key>") == key:
                    tags.append(entry.partition(b"<VersionId>")[2].partition(b"</VersionId>")[0].decode())
            for tag in tags:
                got = await wire.request("GET", region.bucket(POINT), key, {"versionId": tag})
                versions.add((number, hashlib.md5(got.body).hexdigest()))
            current = await wire.request("GET", region.bucket(POINT), key)
            newest.setdefault(number, set()).add(hashlib.md5(current.body).hexdigest())
        wire.close()
    acked = stage.notes.pop("both")
    stage.notes["written on both sides"] = len(acked)
    stage.notes["acknowledged without a version"] = sum(one not in versions for one in acked)
    stage.notes["keys on which regions differ"] = sum(len(found) > 1 for found in newest.values())
