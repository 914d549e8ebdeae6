"""A mixed S3 workload in open loop that knows what it may find: it reads back, overwrites and deletes what it wrote.

One access point, one bucket of keys. A key has at most one mutation under way, and the replicator's copies of it wait
for that (`claim`). Reads ask only for keys whose newest version the replicator has seen arrive everywhere, so a
missing or older answer is the proxy's fault and not replication lag.
"""

import asyncio
import base64
import hashlib
import random
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field

from replicator import Replicator
from wire import Failed, Wire

MIX = {"GET": 70, "HEAD": 2, "LIST": 5, "PUT": 20, "DELETE": 3}
READS = ("GET", "HEAD", "LIST")
KIB = 1024
SIZES = [(4 * KIB, 80), (64 * KIB, 15), (1536 * KIB, 5)]  # the last is above the proxy's replay limit
SEEDED = 150
KEYS_MAX = 500
PAGE = 100
PAGES_MAX = 3
PREFIX = "mixed/"
ABSENT = "absent"  # the detail of a read that found nothing, as it must
TIMEOUT = 40.0
PARTS = 2
SEEDING = 60.0  # seconds in which the first keys are to be stored


@dataclass(frozen=True)
class Shape:
    """What the requests are like: shares by kind, object sizes by weight, how many keys; `MPU` is a whole upload in parts."""

    mix: dict[str, int] = field(default_factory=lambda: MIX)
    sizes: list[tuple[int, int]] = field(default_factory=lambda: SIZES)
    seeded: int = SEEDED
    keys_max: int = KEYS_MAX
    part: int = 64 * KIB
    checksums: bool = False  # objects are stored with a CRC32, as SDKs do; the store must know checksums


@dataclass
class Write:
    """One mutation: the MD5 it stored (None: a delete), when, and whether it was acknowledged.

    `etag` is what the stores call it where that is not its MD5.
    """

    md5: str | None
    start: float
    end: float = 0.0
    acked: bool = False
    etag: str | None = None


@dataclass
class Key:
    """A key and its whole history."""

    name: str
    writes: list[Write] = field(default_factory=list)
    busy: bool = False

    def history(self) -> str:
        """The last writes, for a failure's reason: what, from when to when, and whether it was acknowledged."""
        return ", ".join(
            f"{(write.md5 or 'delete')[:6]} {write.start:.3f}..{write.end:.3f} {'ok' if write.acked else 'not acknowledged'}"
            for write in self.writes[-4:]
        )

    def last_acked(self) -> Write | None:
        """The newest acknowledged mutation."""
        return next((write for write in reversed(self.writes) if write.acked), None)

    def current(self) -> str | None:
        """The ETag that an up-to-date reader finds, empty for deleted, None where nobody can say."""
        last = self.writes[-1] if self.writes else None
        return (last.etag or last.md5 or "") if last and last.acked else None

    def possible(self, since: float) -> list[Write]:
        """Every state a read that began then may find: the newest acknowledged before it, and all that overlapped it."""
        found = [write for write in self.writes if not write.acked or write.end >= since]
        before = [write for write in self.writes if write.acked and write.end < since]
        return found + (before[-1:] or [Write(None, 0)])


@dataclass
class Record:
    """One request as it went, times in Unix seconds."""

    kind: str
    intended: float
    start: float
    end: float
    # ok · 503 · cut · changed (cut, as it must be, of an object that was overwritten while it was read) · failed
    # · wrong (older than it may be) · corrupt (what nobody wrote)
    outcome: str
    detail: str = ""
    size: int = 0


class Workload:
    """The requests of one access point, alternating between gateways."""

    def __init__(
        self,
        name: str,
        wires: list[Wire],
        bucket: str,
        replicator: Replicator,
        seed: int,
        shape: Shape | None = None,
    ):
        self.shape = shape or Shape()
        self.name = name
        self.wires = wires
        self.bucket = bucket
        self.replicator = replicator
        # Where deletes may move: no store here keeps a tombstone, so a region that never had a key cannot tell that it
        # was deleted there.
        self.deletes_what_arrived = False
        self.coin = random.Random(seed)
        self.keys: dict[str, Key] = {}
        self.names: list[str] = []
        self.absent = Key(f"{PREFIX}never written")  # what is read while no key is settled
        self.records: list[Record] = []
        self.under_way: Counter = Counter()
        self._turn = 0
        replicator.claim = self._claim
        replicator.release = self._release

    def _claim(self, name: str) -> bool:
        key = self.keys.get(name)
        if key is None:
            return True
        if key.busy:
            return False
        key.busy = True
        return True

    def _release(self, name: str) -> None:
        if name in self.keys:
            self.keys[name].busy = False

    async def seed(self) -> None:
        """Stores the first keys through the proxy and waits until they are everywhere."""
        end = time.time() + SEEDING
        for _ in range(self.shape.seeded):
            key = self._new_key()
            record = await self._timed("PUT", time.time(), self._put(key))
            while record.outcome == "503" and time.time() < end:  # a machine under load may lose sight of a region
                await asyncio.sleep(0.5)
                record = await self._timed("PUT", time.time(), self._put(key))
            if record.outcome != "ok":
                raise Failed("answer", f"seeding {self.name}: {record.outcome} {record.detail}")
        if not await self.replicator.converge(60):
            raise Failed("timeout", f"seeding {self.name}: {self.replicator.faults[-3:]}")

    async def one(self, intended: float) -> None:
        """One request of the mix."""
        kind = self.coin.choices(list(self.shape.mix), list(self.shape.mix.values()))[0]
        self.under_way[kind] += 1
        try:
            self.records.append(await self._timed(kind, intended, self._request(kind)))
        finally:
            self.under_way[kind] -= 1

    async def _timed(self, kind: str, intended: float, request) -> Record:
        start = time.time()
        try:
            outcome, detail = await request
        except Failed as cause:
            outcome, detail = ("cut" if cause.stage == "cut" else "failed"), str(cause)
        return Record(kind, intended, start, time.time(), outcome, detail)

    async def _request(self, kind: str) -> tuple[str, str]:
        if kind == "LIST":
            return await self._list()
        if kind in ("GET", "HEAD"):
            return await self._read(kind, self._pick(self._settled, self.absent))
        if kind == "DELETE":
            key = self._pick(self._deletable)
            return await self._delete(key)
        if len(self.names) < self.shape.keys_max and self.coin.random() < 0.5:
            key = self._new_key()
        else:
            key = self._pick(lambda each: not each.busy)
        return await (self._upload(key) if kind == "MPU" else self._put(key))

    def _deletable(self, key: Key) -> bool:
        there = bool(key.current()) and not key.busy
        return there and (not self.deletes_what_arrived or self._settled(key))

    def _settled(self, key: Key) -> bool:
        state = key.current()
        return state is not None and self.replicator.settled(key.name) == state

    def _pick(self, fits, otherwise: Key | None = None) -> Key:
        for _ in range(200):
            key = self.keys[self.coin.choice(self.names)]
            if fits(key):
                return key
        for name in self.names:
            if fits(self.keys[name]):
                return self.keys[name]
        return otherwise or self._new_key()

    def _new_key(self) -> Key:
        name = f"{PREFIX}{len(self.names):05} {self.coin.randrange(1 << 20):05x}"
        self.keys[name] = Key(name)
        self.names.append(name)
        return self.keys[name]

    def _wire(self) -> Wire:
        self._turn += 1
        return self.wires[self._turn % len(self.wires)]

    async def _ask(self, method: str, key: str = "", query=None, headers=None, body: bytes = b""):
        return await self._wire().request(method, self.bucket, key, query, headers, body, TIMEOUT)

    async def _put(self, key: Key) -> tuple[str, str]:
        key.busy = True
        sizes = self.shape.sizes
        size = self.coin.choices([size for size, _ in sizes], [weight for _, weight in sizes])[0]
        body = self.coin.randbytes(size)
        write = Write(hashlib.md5(body).hexdigest(), time.time())
        key.writes.append(write)
        try:
            headers = {"x-amz-meta-write": write.md5}
            if self.shape.checksums:
                headers["x-amz-checksum-crc32"] = crc32(body)
            reply = await self._ask("PUT", key.name, headers=headers, body=body)
            return self._acknowledged(write, reply, 200)
        finally:
            write.end = time.time()
            key.busy = False

    async def _delete(self, key: Key) -> tuple[str, str]:
        key.busy = True
        write = Write(None, time.time())
        key.writes.append(write)
        try:
            return self._acknowledged(write, await self._ask("DELETE", key.name), 204)
        finally:
            write.end = time.time()
            key.busy = False

    async def _upload(self, key: Key) -> tuple[str, str]:
        """An upload in parts, from its beginning to its completion."""
        key.busy = True
        parts = [self.coin.randbytes(self.shape.part) for _ in range(PARTS)]
        write = Write(hashlib.md5(b"".join(parts)).hexdigest(), time.time())
        digests = [hashlib.md5(part).digest() for part in parts]
        write.etag = f"{hashlib.md5(b''.join(digests)).hexdigest()}-{PARTS}"
        key.writes.append(write)
        try:
            begun = await self._ask("POST", key.name, {"uploads": ""})
            if begun.status != 200:
                return outcome_of(begun)
            upload = {"uploadId": between(begun.body, b"<UploadId>", b"</UploadId>")}
            for number, part in enumerate(parts, 1):
                reply = await self._ask("PUT", key.name, {"partNumber": str(number), **upload}, body=part)
                if reply.status != 200:
                    return outcome_of(reply)
            listed = "".join(
                f'<Part><PartNumber>{number}</PartNumber><ETag>"{digest.hex()}"</ETag></Part>'
                for number, digest in enumerate(digests, 1)
            )
            document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
            reply = await self._ask("POST", key.name, upload, body=document)
            if reply.status == 200 and not reply.code():
                tag = between(reply.body, b"<ETag>", b"</ETag>").replace("&quot;", "").replace("&#34;", "")
                reply.headers["etag"] = tag
            return self._acknowledged(write, reply, 200)
        finally:
            write.end = time.time()
            key.busy = False

    @staticmethod
    def _acknowledged(write: Write, reply, status: int) -> tuple[str, str]:
        if reply.status != status or reply.code():
            return outcome_of(reply)
        etag = write.etag or write.md5
        if etag and reply.etag != etag:
            return "wrong", f"ETag {reply.etag} for {etag}"
        write.acked = True
        return "ok", ""

    async def _read(self, method: str, key: Key) -> tuple[str, str]:
        start = time.time()
        try:
            reply = await self._ask(method, key.name)
        except Failed as cause:
            if cause.stage == "cut" and any(not write.end or write.end >= start for write in key.writes):
                return "changed", "cut: overwritten while it was read"
            raise
        if reply.status not in (200, 404):
            return outcome_of(reply)
        if reply.status == 404:
            found = None
        elif method == "GET":
            found = hashlib.md5(reply.body).hexdigest()
        else:
            found = reply.etag

        def is_it(write: Write) -> bool:
            return found == (write.md5 if method == "GET" else write.etag or write.md5)

        if any(is_it(write) for write in key.possible(start)):
            return "ok", ABSENT if found is None else ""
        outcome = "wrong" if found is None or any(is_it(write) for write in key.writes) else "corrupt"
        return outcome, f"{method} {key.name} found {found}, region {reply.headers.get('x-nearpoint-region')}"

    async def _list(self) -> tuple[str, str]:
        start = time.time()
        sure = {key.name: key.current() for key in self.keys.values() if not key.busy and self._settled(key)}
        found: list[str] = []
        token = None
        first = self.coin.choice(self.names)
        for _ in range(self.coin.randint(1, PAGES_MAX)):
            query = {"list-type": "2", "prefix": PREFIX, "max-keys": str(PAGE)}
            query |= {"continuation-token": token} if token else {"start-after": first}
            reply = await self._ask("GET", query=query)
            if reply.status != 200:
                return outcome_of(reply)
            names, token = _names(reply.body)
            found += names
            if not token:
                break
        return self._judge(found, first, sure, start, whole=token is None)

    def _judge(self, found: list[str], first: str, sure: dict, start: float, whole: bool) -> tuple[str, str]:
        if any(before >= after for before, after in zip(found, found[1:])):
            return "wrong", "LIST is out of order or repeats"
        last = "\U0010ffff" if whole else (found[-1] if found else "")
        listed = set(found)
        for name, state in sure.items():
            if not first < name <= last or any(
                write.end == 0 or write.end >= start for write in self.keys[name].writes
            ):
                continue
            if bool(state) != (name in listed):
                return "wrong", f"LIST {'lacks' if state else 'shows deleted'} {name}"
        return "ok", ""


def outcome_of(reply) -> tuple[str, str]:
    """How a reply that is no success counts."""
    return ("503" if reply.status == 503 else "failed"), f"{reply.status} {reply.code()}"


def crc32(body: bytes) -> str:
    """The checksum as S3 writes it."""
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def between(body: bytes, before: bytes, after: bytes) -> str:
    return body.partition(before)[2].partition(after)[0].decode()


def _names(body: bytes) -> tuple[list[str], str | None]:
    names = [part.partition(b"</Key>")[0].decode() for part in body.split(b"<Key>")[1:]]
    _, mark, rest = body.partition(b"<NextContinuationToken>")
    return names, rest.partition(b"</NextContinuationToken>")[0].decode() if mark else None


async def drive(workloads: list[Workload], rate: float, seconds: float) -> None:
    """Open loop: each request starts at its time, however the ones before it fare."""
    begin = time.time()
    tasks = set()
    for number in range(int(rate * seconds)):
        intended = begin + number / rate
        pause = intended - time.time()
        if pause > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(workloads[number % len(workloads)].one(intended))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks)


@dataclass
class Verdict:
    """What the stores hold at the end, against what was acknowledged."""

    keys: int = 0
    lost: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)


async def verify(workload: Workload, hung: tuple[float, float] | None) -> Verdict:
    """Reads each key from every store directly.

    A key is *lost* where it holds something older than its last acknowledged mutation, *late* where that older thing was
    under way when its region hung: sent in full, it was committed after the region went on.
    """
    verdict = Verdict()
    for key in workload.keys.values():
        verdict.keys += 1
        for side in workload.replicator.sides:
            reply = await side.wire.request("GET", side.bucket, key.name)
            state = hashlib.md5(reply.body).hexdigest() if reply.status == 200 else None
            fault = _older(key, state, hung)
            if fault:
                found = f"{key.name} at {side.name} is {(state or 'absent')[:6]} after {key.history()}"
                getattr(verdict, fault).append(found)
    return verdict


def _older(key: Key, state: str | None, hung: tuple[float, float] | None) -> str | None:
    last = key.last_acked()
    after = key.writes[key.writes.index(last) :] if last else [*key.writes, Write(None, 0)]
    if state in {write.md5 for write in after}:
        return None
    # A key may have been deleted more than once: any of its deletes may be the one that was committed late.
    culprits = [write for write in key.writes if write.md5 == state]
    if hung and any(write.end >= hung[0] and write.start <= hung[1] for write in culprits):
        return "late"
    return "lost"
