"""The replicator between the project's own regions: reads each region's journal and carries every change to the others.

Last writer wins by the time of the write, deletes included; the regions themselves refuse what is older than what they
hold. `lag` may be changed while it runs; `cut` holds back the pairs of regions that are to hear nothing of each other.
It offers the workload what the replicator by listings does (`replicator.py`), but sees every single change.
"""

import asyncio
import json
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from wire import Wire

POLL = 0.05
PATIENCE = 3.0  # seconds in which a region answers that is alive
ORDERED = 20.0  # the same for what a row tells a region to do: a machine that stalls must not end the run
LINE_MAX = 16 << 20


class Gone(Exception):
    """The region does not answer its control port."""


class Control:
    """One connection to a region's control port."""

    def __init__(self, host: str, port: int, patience: float = PATIENCE):
        self.host, self.port, self.patience = host, port, patience
        self._streams = None

    async def ask(self, order: dict, body: bytes = b"") -> tuple[dict, list[bytes]]:
        """The answer, and the bytes of the changes in it. Raises Gone."""
        try:
            async with asyncio.timeout(self.patience):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(self.host, self.port, limit=LINE_MAX)
                reader, writer = self._streams
                writer.write(json.dumps(order).encode() + b"\n" + body)
                line = await reader.readline()
                answer = json.loads(line)
                sizes = [(change["object"] or {}).get("size", 0) for change in answer.get("changes", [])]
                bodies = [await reader.readexactly(size) for size in sizes]
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as cause:
            self.close()
            raise Gone(f"{type(cause).__name__} {cause}") from cause
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer, bodies

    def close(self) -> None:
        """Ends the connection."""
        if self._streams:
            self._streams[1].transport.abort()
        self._streams = None


@dataclass
class Side:
    """One region as the carrier and the final reading know it."""

    name: str
    wire: Wire
    bucket: str
    reading: Control
    writing: Control
    cursor: int = 0
    polled: float = 0.0
    waiting: deque = field(default_factory=deque)  # (due, from, change, body)


class Carrier:
    """Keeps the regions in step."""

    def __init__(self, sides: list[Side], lag: float):
        self.sides = sides
        self.lag = lag
        self.cut: set[frozenset[str]] = set()
        self.copies = 0
        self.faults: list[str] = []
        self.claim = lambda key: True
        self.release = lambda key: None
        self._newest: dict[str, tuple[tuple, str, set[str]]] = {}  # key -> stamp, ETag, who lacks it
        self._stored: Counter[tuple[str, str]] = Counter()  # key and ETag -> times that a client stored it

    def settled(self, key: str) -> str | None:
        """The ETag that every region holds for this key; empty for a deletion known everywhere; None while it varies."""
        newest = self._newest.get(key)
        return None if newest is None or newest[2] else newest[1]

    async def run(self) -> None:
        """Carries until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for side in self.sides:
                tasks.create_task(self._read(side))
                tasks.create_task(self._write(side))

    async def converge(self, seconds: float) -> bool:
        """Waits until every journal was read after now and nothing is under way."""
        end, start = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end:
            if all(side.polled > start and not side.waiting for side in self.sides):
                return True
            await asyncio.sleep(POLL)
        return False

    def stored_twice(self) -> list[str]:
        """Keys that were given the same content more than once, in whatever regions: contents here are all different."""
        return [key for (key, _), times in self._stored.items() if times > 1]

    def backlog(self) -> int:
        """Changes under way."""
        return sum(len(side.waiting) for side in self.sides)

    async def _read(self, side: Side) -> None:
        while True:
            begin = time.monotonic()
            try:
                answer, bodies = await side.reading.ask({"do": "journal", "cursor": side.cursor})
                for change, body in zip(answer["changes"], bodies):
                    self._take(side, change, body)
                side.cursor = answer["cursor"]
                if answer["changes"]:
                    continue
                side.polled = begin
            except Gone as cause:
                self._note(f"journal of {side.name}: {cause}")
            await asyncio.sleep(POLL)

    def _take(self, side: Side, change: dict, body: bytes) -> None:
        key, stamp = change["key"], (change["at"], change["region"])
        others = [other for other in self.sides if other is not side]
        newest = self._newest.get(key)
        etag = change["object"]["etag"].strip('"') if change["object"] else ""
        if etag:
            self._stored[key, etag] += 1
        if newest is None or stamp > newest[0]:
            self._newest[key] = (stamp, etag, {other.name for other in others})
        due = time.monotonic() + self.lag
        for other in others:
            other.waiting.append((due, side.name, change, body))

    async def _write(self, side: Side) -> None:
        while True:
            now = time.monotonic()
            ready = next(
                (
                    entry
                    for entry in side.waiting
                    if entry[0] <= now and frozenset((entry[1], side.name)) not in self.cut
                ),
                None,
            )
            if ready is None:
                await asyncio.sleep(POLL)
                continue
            _, _, change, body = ready
            try:
                answer, _ = await side.writing.ask({"do": "replicate", "change": change}, body)
            except Gone as cause:
                self._note(f"{side.name}: {cause}")
                await asyncio.sleep(POLL * 4)
                continue
            side.waiting.remove(ready)
            self.copies += answer["taken"]
            newest = self._newest.get(change["key"])
            if newest and newest[0] == (change["at"], change["region"]):
                newest[2].discard(side.name)

    def _note(self, fault: str) -> None:
        if len(self.faults) < 200:
            self.faults.append(f"{time.time():.3f} {fault}")

    def close(self) -> None:
        """Ends its connections."""
        for side in self.sides:
            side.reading.close()
            side.writing.close()
