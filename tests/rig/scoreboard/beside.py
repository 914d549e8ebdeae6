"""What rows do beside the traffic: requests of their own, whose outcome goes into the run's notes."""

import asyncio
import base64
import hashlib
import os
import time
from contextlib import suppress

from processes import NotReady
from wire import Failed, Reply
from workload import PARTS, between, crc32

from scoreboard.stage import ASIDE, KIB, POINT, Stage


async def _timed(asking) -> tuple[str, float, Reply | None]:
    begin = time.time()
    try:
        reply = await asking
    except Failed as cause:
        return str(cause), time.time() - begin, None
    return f"{reply.status} {reply.code()}".strip(), time.time() - begin, reply


def _tally(stage: Stage, name: str, outcome: str) -> None:
    stage.notes[name] = stage.notes.get(name, 0) + 1
    if name not in ("conditional done", "poison asked", "read whole"):
        stage.notes.setdefault("samples", []).append(f"{name}: {outcome}"[:90])


async def conditional_writes(stage: Stage) -> None:
    """New keys, ten a second, each only if there is none."""
    stage.notes.update({"conditional done": 0, "conditional not done": 0, "false 412": 0})
    wire = stage.wire()

    async def one(number: int) -> None:
        body = os.urandom(8 * KIB)
        headers = {"if-none-match": "*"}
        asking = wire.request("PUT", POINT, f"{ASIDE}new {number}", None, headers, body, 40)
        outcome, _, reply = await _timed(asking)
        if reply and reply.status == 200 and reply.etag == hashlib.md5(body).hexdigest():
            _tally(stage, "conditional done", outcome)
        else:
            _tally(stage, "false 412" if outcome.startswith("412") else "conditional not done", outcome)

    await _open_loop(10, stage.times.fault - 1, one)
    wire.close()


async def poison(stage: Stage) -> None:
    """One key, fifty times a second."""
    wire = stage.wire()

    async def one(_: int) -> None:
        outcome, _, _ = await _timed(wire.request("GET", POINT, f"{ASIDE}poison", timeout=40))
        _tally(stage, "poison asked", outcome)

    await _open_loop(50, stage.times.fault - 1, one)
    wire.close()


async def _open_loop(rate: float, seconds: float, one) -> None:
    """Starts one after the other, each at its time, however those before it fare."""
    begin, tasks = time.time(), set()
    for number in range(int(rate * seconds)):
        pause = begin + number / rate - time.time()
        if pause > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(one(number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


async def store_poison(stage: Stage) -> None:
    """The key is there, everywhere."""
    wire = stage.wire()
    await wire.request("PUT", POINT, f"{ASIDE}poison", body=b"poison")
    wire.close()
    await stage.carrier.converge(20)


STABLE = 20  # objects that nobody overwrites while they are read
UNTOUCHED = f"{ASIDE}untouched/"


async def store_untouched(stage: Stage) -> None:
    """Objects that stay as they are, everywhere."""
    wire = stage.wire()
    bodies = [os.urandom(64 * KIB) for _ in range(STABLE)]
    for number, body in enumerate(bodies):
        headers = {"x-amz-checksum-crc32": crc32(body)}
        reply = await wire.request("PUT", POINT, f"{UNTOUCHED}{number}", None, headers, body)
        if reply.status != 200:
            raise NotReady(f"seeding: {reply.status} {reply.code()}")
    wire.close()
    stage.notes["untouched"] = [hashlib.md5(body).hexdigest() for body in bodies]
    await stage.carrier.converge(20)


async def read_untouched(stage: Stage) -> None:
    """They are read, five a second."""
    wire, digests, notes = stage.wire(), stage.notes.pop("untouched"), stage.notes
    notes.update({"read whole": 0, "not read whole": 0, "slowest of them in s": 0.0})

    async def one(number: int) -> None:
        key = number % STABLE
        outcome, spent, reply = await _timed(wire.request("GET", POINT, f"{UNTOUCHED}{key}", timeout=60))
        whole = reply and reply.status == 200 and hashlib.md5(reply.body).hexdigest() == digests[key]
        _tally(stage, "read whole" if whole else "not read whole", outcome)
        notes["slowest of them in s"] = max(notes["slowest of them in s"], spent)

    await _open_loop(5, stage.times.fault - 1, one)
    wire.close()


def crowd(rate: float, through: bool = False):
    """Further readers, so many a second, until the fault is over (or the run, where `through`)."""

    async def beside(stage: Stage) -> None:
        wire, names = stage.wire(), stage.workload.names[:50]
        seconds = stage.times.fault + (stage.times.recovery if through else 0)

        async def one(number: int) -> None:
            await _timed(wire.request("GET", POINT, names[number % len(names)], timeout=10))

        await _open_loop(rate, seconds, one)
        wire.close()

    return beside


HELD = 40  # clients of each kind, a MiB each
HELD_FOR = 8.0  # seconds; less than a body may stand still


async def hold_bodies(stage: Stage) -> None:
    """Clients that send all but the end of an upload or of a document, wait, and go; others after them."""
    end = time.time() + stage.times.fault - 1
    stage.notes["bodies held"] = 0
    wire, body = stage.wire(), b" " * (1 << 20)
    payload = hashlib.sha256(body).hexdigest()
    md5 = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    while time.time() < end:
        held = []
        for number in range(HELD):
            if time.time() > end:
                break
            upload = ("PUT", POINT, f"{ASIDE}held {number}", None, None)
            document = ("POST", POINT, "", {"delete": ""}, md5)
            for words in (upload, document):
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(wire.host, wire.port)
                    writer.write(wire.head(*words, len(body), payload) + body[:-1000])
                    held.append(writer)
        stage.notes["bodies held"] += len(held)
        await asyncio.sleep(max(0.0, min(HELD_FOR, end - time.time())))
        for writer in held:
            writer.transport.abort()


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
    acked, wires = [], [stage.wire(0), stage.wire(1)]

    async def one(side: int, number: int) -> None:
        body = f"{side} {number} ".encode() + os.urandom(64)
        asking = wires[side].request("PUT", POINT, f"{ASIDE}both {number % 20}", body=body, timeout=20)
        _, _, reply = await _timed(asking)
        if reply and reply.status == 200:
            acked.append((number % 20, hashlib.md5(body).hexdigest()))

    end, number = time.time() + stage.times.fault - 1, 0
    while time.time() < end:
        await asyncio.gather(one(0, number), one(1, number))
        number += 1
        await asyncio.sleep(0.1)
    for wire in wires:
        wire.close()
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
