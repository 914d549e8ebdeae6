"""The client matrix: every client × store × check, bodies compared by hash, stored bytes read back from the store itself."""

import hashlib
import http.client
import random
import re
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import provision
from clients import CannotDo, Driver, Target, drivers, folder
from places import say
from report import FAIL, NOT_RUN, PASS, Report, Result

MIB = 1 << 20
AT_ONCE = 2
SIZES = {"0 B": 0, "1 B": 1, "8 KiB-1": 8191, "8 MiB+1": 8 * MIB + 1, "100 MiB": 100 * MIB}
NAMES = {
    "space": "a name with spaces",
    "plus": "one+two++three",
    "percent": "50%25 of 100%",
    "umlaut": "grün/größe ü",
    "two slashes": "a//b///c",
    "dots": "up/../and/./down",
    "quotes": 'it\'s "quoted" & <tagged>',
    "marks": "!*()~;:@=,$",
    "final slash": "folder/",
}
METADATA = {"colour": "deep blue", "count": "42"}


class Different(AssertionError):
    """What came back is not what was stored."""


def expect(found, wanted, what: str) -> None:
    """Raises Different unless equal."""
    if found != wanted:
        raise Different(f"{what}: {str(found)[:120]!r} instead of {str(wanted)[:120]!r}")


class Bodies:
    """Files of each size with unguessable, repeatable contents, and their hashes."""

    def __init__(self, home: Path):
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self._hashes: dict[Path, str] = {}
        coin = random.Random(20)
        self.files = {}
        for name, size in SIZES.items():
            self.files[name] = home / f"body-{size}"
            self.files[name].write_bytes(coin.randbytes(size))

    def file(self, name: str) -> Path:
        """The file of this size."""
        return self.files[name]

    def hash(self, path: Path) -> str:
        """Its SHA-256, computed once."""
        if path not in self._hashes:
            self._hashes[path] = hash_file(path)
        return self._hashes[path]


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


class Session:
    """One client at one endpoint."""

    def __init__(self, driver: Driver, bodies: Bodies, at_store: Callable[[str], str] | None):
        self.driver = driver
        self.bodies = bodies
        self.at_store = at_store  # key -> SHA-256 of what the home region holds, read directly
        self.folder = driver.scratch.name
        self.into = driver.scratch / "got"
        self.small = bodies.file("8 KiB-1")

    def key(self, name: str) -> str:
        """A key of this client's own."""
        return f"{self.folder}/{name}"

    def round_trip(self, key: str, body: Path) -> None:
        """Put, compare at the store, get, compare."""
        self.driver.put(key, body)
        self.compare(key, body)

    def compare(self, key: str, body: Path) -> None:
        """Whether client and store agree on the contents."""
        wanted = self.bodies.hash(body)
        if self.at_store and not self.driver.opaque:
            expect(self.at_store(key), wanted, "bytes at the store")
        self.into.unlink(missing_ok=True)
        self.driver.get(key, self.into)
        expect(hash_file(self.into), wanted, "bytes fetched")

    def body(self, size: str) -> None:
        """A body of this size, there and back."""
        self.round_trip(self.key(f"body {size}".replace(" ", "-")), self.bodies.file(size))

    def name(self, which: str) -> None:
        """A key that needs encoding: stored, headed, listed, deleted under exactly that name."""
        folder = self.key("n-" + which.replace(" ", "-"))
        key = f"{folder}/{NAMES[which]}"
        self.round_trip(key, self.small)
        expect(self.driver.head(key)[0], self.small.stat().st_size, "size")
        expect(self.driver.listing(folder + "/"), [key], "listing")
        self.driver.delete(key)
        expect(self.driver.listing(folder + "/"), [], "listing after the delete")

    def head(self) -> None:
        """Size of an object; an error for an absent one."""
        self.driver.put(self.key("head"), self.small)
        expect(self.driver.head(self.key("head"))[0], self.small.stat().st_size, "size")
        self.refused(lambda: self.driver.head(self.key("absent")), "an absent key has a head")

    def metadata(self) -> None:
        """User metadata, unchanged."""
        self.driver.put(self.key("metadata"), self.small, METADATA)
        found = {name.lower(): value for name, value in self.driver.head(self.key("metadata"))[1].items()}
        expect({name: found.get(name) for name in METADATA}, METADATA, "metadata")

    def delete(self) -> None:
        """Deleted is gone."""
        key = self.key("deleted")
        self.driver.put(key, self.small)
        self.driver.delete(key)
        self.refused(lambda: self.driver.get(key, self.into), "a deleted key was fetched")

    def list(self) -> None:
        """Ten keys, over several pages, each once and in order."""
        folder = self.key("listed")
        keys = [f"{folder}/{number:02}" for number in range(10)]
        for key in keys:
            self.driver.put(key, self.bodies.file("1 B"))
        expect(self.driver.listing(folder + "/"), keys, "listing")

    def multipart(self) -> None:
        """A body in parts."""
        key, body = self.key("multipart"), self.bodies.file("8 MiB+1")
        self.driver.multipart(key, body)
        self.compare(key, body)

    def buffer(self) -> None:
        """A body from memory."""
        key, body = self.key("buffer"), self.bodies.file("8 MiB+1")
        self.driver.put_buffer(key, body)
        self.compare(key, body)

    def pipe(self) -> None:
        """A body of unknown length."""
        key, body = self.key("pipe"), self.bodies.file("8 MiB+1")
        self.driver.put_pipe(key, body)
        self.compare(key, body)

    def checksums(self) -> None:
        """Each additional checksum that the client can send."""
        if not self.driver.algorithms:
            raise CannotDo("cannot be told which checksum to send")
        for algorithm in self.driver.algorithms:
            key = self.key(f"checksum-{algorithm}")
            try:
                self.driver.put_checked(key, self.small, algorithm)
                self.compare(key, self.small)
            except Exception as cause:
                raise Different(f"{algorithm}: {type(cause).__name__}: {cause}") from cause

    def copy(self) -> None:
        """A copy made by the store, from a name that needs encoding."""
        self._copied("copy source ü")

    def copy_plus(self) -> None:
        """The same from a name with a plus sign, which stands for a space where it is not encoded."""
        self._copied("copy+source")

    def _copied(self, name: str) -> None:
        source, key = self.key(name), self.key("copied from " + name)
        self.driver.put(source, self.small)
        self.driver.copy(source, key)
        self.compare(key, self.small)

    def range(self) -> None:
        """The middle, the first byte, the last."""
        key, body = self.key("ranged"), self.bodies.file("8 MiB+1")
        self.driver.put(key, body)
        contents = body.read_bytes()
        for first, last in ((0, 0), (4 * MIB - 3, 4 * MIB + 5), (len(contents) - 1, len(contents) - 1)):
            expect(
                self.driver.range(key, first, last), contents[first : last + 1], f"bytes {first} to {last}"
            )

    def presigned_get(self) -> None:
        """A URL that fetches without keys, and does not once changed."""
        key = self.key("presigned ü+get")
        self.driver.put(key, self.small)
        url = self.driver.presign_get(key)
        status, body = fetch("GET", url, self.driver.target.ca)
        expect(status, 200, "status")
        expect(hashlib.sha256(body).hexdigest(), self.bodies.hash(self.small), "bytes fetched")
        expect(fetch("GET", forged(url), self.driver.target.ca)[0], 403, "status of a forged URL")

    def presigned_put(self) -> None:
        """A URL that stores without keys."""
        key = self.key("presigned ü+put")
        status, body = fetch(
            "PUT", self.driver.presign_put(key), self.driver.target.ca, self.small.read_bytes()
        )
        expect((status, body[:200]), (200, b""), "status")
        self.compare(key, self.small)

    def delete_many(self) -> None:
        """One call, several keys, odd ones among them."""
        folder = self.key("many")
        keys = [f"{folder}/{name}" for name in ("plain", "a space", "ü&<>", "plus+")]
        for key in keys:
            self.driver.put(key, self.bodies.file("1 B"))
        self.driver.delete_many(keys)
        expect(self.driver.listing(folder + "/"), [], "listing")

    @staticmethod
    def refused(call: Callable[[], object], otherwise: str) -> None:
        """Raises Different unless the call raises."""
        try:
            call()
        except CannotDo:
            raise
        except Exception:  # noqa: BLE001 each client has its own class
            return
        raise Different(otherwise)


def checks() -> dict[str, Callable[[Session], None]]:
    """Every check by its name in the table."""
    table: dict[str, Callable[[Session], None]] = {}
    for size in SIZES:
        table[f"body {size}"] = lambda session, size=size: session.body(size)
    for name in NAMES:
        table[f"name: {name}"] = lambda session, name=name: session.name(name)
    for name in ("head", "metadata", "delete", "list", "multipart", "copy", "range"):
        table[name] = getattr(Session, name)
    table["copy: plus"] = Session.copy_plus
    table["from a buffer"] = Session.buffer
    table["from a pipe"] = Session.pipe
    table["checksums"] = Session.checksums
    table["presigned GET"] = Session.presigned_get
    table["presigned PUT"] = Session.presigned_put
    table["delete many"] = Session.delete_many
    return table


def forged(url: str) -> str:
    """The URL with one digit of its signature changed: the last of SigV4's hexadecimal one, the first of SigV2's Base64."""
    before, mark, rest = url.partition("Signature=")
    signature, amp, after = rest.partition("&")
    if before.endswith("X-Amz-"):
        signature = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    else:
        signature = ("A" if signature[0] != "A" else "B") + signature[1:]
    return before + mark + signature + amp + after


def fetch(method: str, url: str, ca: Path | None, body: bytes | None = None) -> tuple[int, bytes]:
    """A plain HTTP request to exactly this target, always to loopback, whatever the host in the URL says."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        trust = ssl.create_default_context(cafile=str(ca))
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=trust, timeout=30)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    target = parts.path + ("?" + parts.query if parts.query else "")
    connection.request(method, target, body=body)
    reply = connection.getresponse()
    found = reply.status, reply.read()
    connection.close()
    return found


def run(
    report: Report,
    store: str,
    target: Target,
    at_store,
    scratch: Path,
    chosen,
    ended: Callable[[str, list[Result]], None],
    itself: Target | None,
) -> list[str]:
    """Runs the chosen clients of the tier through every check, two at a time; answers their names.

    `ended` is told of each that is done: the folder of its keys, and its results. What fails is tried at the store
    `itself`, the home region without nearpoint: where it fails there in the same way, the store is what cannot do it.
    """
    bodies = Bodies(scratch / "bodies")
    roster = drivers(target, scratch, chosen.tier == "full")
    wanted = chosen.client.split(",") if chosen.client else [""]
    rows = [(name, make) for name, make in roster if any(part in name for part in wanted)]
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for found in pool.map(lambda each: _row(each[0], each[1], store, bodies, at_store), rows):
            if itself and any(result.outcome == FAIL for result in found):
                _tried_at(itself, found, bodies, scratch / "itself", chosen.tier == "full")
            for result in found:
                report.add(result)
            ended(folder(found[0].group), found)
    finally:
        pool.shutdown(cancel_futures=True)  # a run that is ended begins no more clients
    return [name for name, _ in rows]


def _tried_at(itself: Target, found: list[Result], bodies: Bodies, scratch: Path, full: bool) -> None:
    """Tries what failed for a client once more at the store itself; says so of what is the store's own."""
    makers = dict(drivers(itself, scratch, full))
    # a store here has plain http only
    make = makers.get(found[0].group.replace(" https", " http"))
    if make is None:
        return
    driver = make()
    session = Session(driver, bodies, None)
    for result in (result for result in found if result.outcome == FAIL):
        there = _cell(result.group, result.store, result.check, checks()[result.check], session)
        if there.outcome == FAIL and way_of(there.reason) == way_of(result.reason):
            result.outcome, result.reason = NOT_RUN, f"fails at {result.store} itself too: {there.reason}"[:400]
            say(f"  {result.group}: {result.check}: {result.reason}")
    driver.close()


def way_of(reason: str) -> str:
    """How a client failed: the error's code, in the ways that clients say it, or its words."""
    found = re.search(r"""(?:code:? ?\[?|error(?: occurred)? \()["']?(\w+)""", reason, re.IGNORECASE)
    return found[1] if found else reason


def _row(name: str, make: Callable[[], Driver], store: str, bodies: Bodies, at_store) -> list[Result]:
    start = time.monotonic()
    try:
        driver = make()
    except provision.Unavailable as cause:
        return [Result(name, store, check, NOT_RUN, str(cause)) for check in checks()]
    except Exception as cause:  # noqa: BLE001 a client that does not start fails in all its cells
        reason = f"{type(cause).__name__}: {cause}"[:400]
        return [Result(name, store, check, FAIL, reason) for check in checks()]
    session = Session(driver, bodies, at_store)
    results = [_cell(name, store, check, call, session) for check, call in checks().items()]
    driver.close()
    failed = [result for result in results if result.outcome == FAIL]
    say(f"{name} on {store}: {len(failed)} failed, {time.monotonic() - start:.1f} s")
    for result in failed:
        say(f"  {result.check}: {result.reason}")
    return results


def _cell(name: str, store: str, check: str, call: Callable[[Session], None], session: Session) -> Result:
    start = time.monotonic()
    outcome, reason = PASS, ""
    try:
        call(session)
    except CannotDo as cause:
        outcome, reason = NOT_RUN, str(cause)
    except Exception as cause:  # noqa: BLE001 whatever a client raises is the cell's failure
        outcome, reason = FAIL, f"{type(cause).__name__}: {cause}".replace("\n", " ")[:400]
    return Result(name, store, check, outcome, reason, time.monotonic() - start)
