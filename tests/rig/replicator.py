"""Two-way replication between the buckets of one purpose: last writer wins by the stores' clocks, deletes included.

The stores here replicate nothing by themselves; the proxy never does. So the rig polls each region's listing, takes
each difference as a mutation made there, and carries the newest version of each key to the others after `lag` seconds.

It must neither loop nor undo: what it wrote itself (or tried to, into a region that hung and may still commit it) is
known by its ETag and never taken for a client's mutation; before each write it looks whether the target holds
something it has not seen yet; and a `claim` lets a workload keep its own writes and the replicator's apart per key.
"""

import asyncio
import hashlib
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from wire import Failed, Reply, Wire

ANSWER_SECONDS = 3.0
COPIED = (
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-language",
    "cache-control",
    "expires",
)
TICK = 1e-6
AT_ONCE = 8


@dataclass(frozen=True)
class Version:
    """The newest state of a key: when it was made, where, and its ETag (None: deleted)."""

    stamp: float
    origin: str
    etag: str | None
    seen: float  # monotonic


@dataclass
class Side:
    """One region as the replicator knows it."""

    name: str
    wire: Wire
    bucket: str
    up: bool = True
    polled: float = 0.0  # wall clock at the start of the last good listing
    known: dict[str, str] = field(default_factory=dict)  # key -> ETag last seen there
    holds: dict[str, float] = field(default_factory=dict)  # key -> stamp of what it holds
    attempted: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # key -> our own ETags and their stamps
    touched: dict[str, float] = field(default_factory=dict)  # key -> monotonic time of our last write


class Replicator:
    """Keeps one bucket per region in step."""

    def __init__(
        self,
        sides: list[Side],
        prefix: str = "",
        lag: float = 0.5,
        interval: float = 0.3,
        limit: int = 16 << 20,
    ):
        self.sides = sides
        self.prefix = prefix
        self.lag = lag
        self.interval = interval
        self.limit = limit
        self.versions: dict[str, Version] = {}
        self.dirty: set[str] = set()
        self.claim: Callable[[str], bool] = lambda key: True
        self.release: Callable[[str], None] = lambda key: None
        self.copies = 0
        self.faults: list[str] = []

    def settled(self, key: str) -> str | None:
        """The ETag that every region holds for this key; empty for a deletion known everywhere; None while it varies."""
        version = self.versions.get(key)
        if version is None or key in self.dirty:
            return None
        return version.etag or ""

    async def run(self) -> None:
        """Polls and copies until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for side in self.sides:
                tasks.create_task(self._watch(side))
            tasks.create_task(self._carry())

    async def converge(self, seconds: float) -> bool:
        """Waits until two listings of every region after now found nothing left to do.

        Gives up after `seconds` in which nothing was copied: a slow machine takes its time, a stuck key does not move.
        """
        start, copies, moved = time.time(), self.copies, time.monotonic()
        while time.monotonic() < moved + seconds:
            if not self.dirty and all(side.up for side in self.sides):
                if all(side.polled > start + 2 * self.interval for side in self.sides):
                    return True
            if self.copies != copies:
                copies, moved = self.copies, time.monotonic()
            await asyncio.sleep(self.interval / 2)
        return False

    def left(self) -> str:
        """What is still to do, for a failure's reason."""
        if not self.dirty:
            return f"nothing; {[side.name for side in self.sides if not side.up]} do not answer"
        shown = [
            f"{key} {self.versions[key]} held as {[side.holds.get(key) for side in self.sides]}, busy: {not self.free(key)}"
            for key in sorted(self.dirty)[:3]
        ]
        return f"{len(self.dirty)} keys: {shown}"

    def free(self, key: str) -> bool:
        """Whether nobody else has claimed the key at this moment."""
        if not self.claim(key):
            return False
        self.release(key)
        return True

    async def _watch(self, side: Side) -> None:
        while True:
            try:
                wall, mono = time.time(), time.monotonic()
                self._compare(side, await self._listing(side), wall, mono)
                side.up = True
            except (Failed, ElementTree.ParseError) as cause:
                side.up = False
                side.wire.close()
                self._note(f"list {side.name}: {cause}")
            await asyncio.sleep(self.interval)

    async def _listing(self, side: Side) -> dict[str, tuple[str, float]]:
        found, token = {}, None
        while True:
            query = {"list-type": "2", "prefix": self.prefix} | (
                {"continuation-token": token} if token else {}
            )
            reply = await side.wire.request("GET", side.bucket, query=query, timeout=ANSWER_SECONDS)
            if reply.status != 200:
                raise Failed("answer", f"{reply.status} {reply.code()}")
            page, token = parse_listing(reply.body)
            found.update(page)
            if not token:
                return found

    def _compare(self, side: Side, now: dict[str, tuple[str, float]], wall: float, mono: float) -> None:
        previous, side.polled = side.polled, wall
        for key, (etag, modified) in now.items():
            if side.known.get(key) != etag and side.touched.get(key, 0) < mono:
                self._changed(side, key, etag, modified)
        for key in [key for key in side.known if key not in now and side.touched.get(key, 0) < mono]:
            # Made at some time since the listing before: the earliest is taken, so that a newer write elsewhere wins.
            del side.known[key]
            self._mutated(side, key, None, previous)

    def _changed(self, side: Side, key: str, etag: str, modified: float) -> None:
        side.known[key] = etag
        version = self.versions.get(key)
        ours = side.attempted.get(key, {}).get(etag)
        if ours is not None:
            side.holds[key] = ours
            self.dirty.add(key)
        elif version is not None and version.etag == etag:
            side.holds[key] = version.stamp
            self.dirty.add(key)
        else:
            self._mutated(side, key, etag, modified)

    def _mutated(self, side: Side, key: str, etag: str | None, stamp: float) -> None:
        # Whatever a region held is older than what replaced it there, however coarse its clock.
        stamp = max(stamp, side.holds.get(key, 0.0) + TICK)
        side.holds[key] = stamp
        version = self.versions.get(key)
        if version is None or stamp > version.stamp:
            self.versions[key] = Version(stamp, side.name, etag, time.monotonic())
        self.dirty.add(key)

    async def _carry(self) -> None:
        while True:
            now = time.monotonic()
            due = [key for key in self.dirty if self.versions[key].seen + self.lag <= now]
            for start in range(0, len(due), AT_ONCE):
                await asyncio.gather(*(self._claimed(key) for key in due[start : start + AT_ONCE]))
            await asyncio.sleep(0.05)

    async def _claimed(self, key: str) -> None:
        if not self.claim(key):
            return
        try:
            await self._settle(key)
        except Failed as cause:
            self._note(f"copy {key}: {cause}")
        finally:
            self.release(key)

    async def _settle(self, key: str) -> None:
        version = self.versions[key]
        behind = [side for side in self.sides if side.holds.get(key) != version.stamp]
        if version.etag is None:
            behind = [side for side in behind if key in side.known or not side.up or side.holds.get(key)]
        if not behind:
            self.dirty.discard(key)
            return
        behind = [side for side in behind if side.up]
        if not behind:
            return
        source = next((side for side in self.sides if side.up and side.holds.get(key) == version.stamp), None)
        reply = None
        if version.etag is not None:
            if source is None:
                return
            reply = await source.wire.request("GET", source.bucket, key, timeout=ANSWER_SECONDS * 5)
            if reply.status != 200 or reply.etag != version.etag:
                return  # it moved on; the next listing tells
        for side in behind:
            moved = await self._moved(side, key)
            if self.versions[key] is not version:
                return  # a listing told of a newer one while we asked
            if not moved:
                await self._write(side, key, version, reply)

    async def _moved(self, side: Side, key: str) -> bool:
        """Whether the target holds something no listing has shown yet."""
        there = await self._ask(side, "HEAD", key)
        return (there.etag if there.status == 200 else None) != side.known.get(key)

    async def _write(self, side: Side, key: str, version: Version, reply: Reply | None) -> None:
        if reply is None:
            done = await self._ask(side, "DELETE", key)
        else:
            if len(reply.body) > self.limit:
                side.holds[key] = version.stamp
                return
            side.attempted.setdefault(key, {})[hashlib.md5(reply.body).hexdigest()] = version.stamp
            kept = {n: v for n, v in reply.headers.items() if n in COPIED or n.startswith("x-amz-meta-")}
            done = await self._ask(side, "PUT", key, kept, reply.body)
        side.touched[key] = time.monotonic()
        if done.status not in (200, 204):
            self._note(f"{side.name} answered {done.status} {done.code()} for {key}")
            return
        self.copies += 1
        side.holds[key] = version.stamp
        if reply is None:
            side.known.pop(key, None)
        else:
            side.known[key] = done.etag
            side.attempted[key][done.etag] = version.stamp

    async def _ask(
        self, side: Side, method: str, key: str, headers: dict | None = None, body: bytes = b""
    ) -> Reply:
        try:
            return await side.wire.request(
                method, side.bucket, key, headers=headers, body=body, timeout=ANSWER_SECONDS
            )
        except Failed:
            side.up = False  # until a listing answers again
            raise

    def _note(self, fault: str) -> None:
        if len(self.faults) < 200:
            self.faults.append(f"{time.time():.3f} {fault}")


def parse_listing(body: bytes) -> tuple[dict[str, tuple[str, float]], str | None]:
    """Keys with ETag and modification time (Unix seconds), and the token of the next page."""
    tree = ElementTree.fromstring(body)
    space = tree.tag.partition("}")[0] + "}" if tree.tag.startswith("{") else ""
    found = {}
    for entry in tree.iter(f"{space}Contents"):
        modified = datetime.fromisoformat(entry.findtext(f"{space}LastModified").replace("Z", "+00:00"))
        etag = (entry.findtext(f"{space}ETag") or "").strip('"')
        found[entry.findtext(f"{space}Key")] = (etag, modified.timestamp())
    return found, tree.findtext(f"{space}NextContinuationToken") or None


class InThread:
    """A replicator on an event loop of its own, for suites that are not asynchronous themselves."""

    def __init__(self, replicator: Replicator):
        self.replicator = replicator
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._main, daemon=True)

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.task = self.loop.create_task(self.replicator.run())
        try:
            self.loop.run_until_complete(self.task)
        except asyncio.CancelledError:
            pass

    def __enter__(self) -> "InThread":
        self.thread.start()
        return self

    def converge(self, seconds: float) -> bool:
        """Waits until the regions agree."""
        waiting = asyncio.run_coroutine_threadsafe(self.replicator.converge(seconds), self.loop)
        return waiting.result(seconds + 5)

    def __exit__(self, *_) -> None:
        self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join(5)
