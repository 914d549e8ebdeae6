"""A small S3 client over asyncio: signs by itself, keeps connections, tells exactly how a request failed.

It is the load generator's and the replicator's. It retries nothing, so that each failure the proxy lets through is
counted, and it shares no code with the proxy: its signatures are judged by the stores as well.
"""

import asyncio
import hashlib
import hmac
import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import quote

EMPTY_HASH = hashlib.sha256(b"").hexdigest()
HEAD_LIMIT = 64 << 10


class Failed(Exception):
    """A request without a complete answer. `stage` is connect, answer (no head came), cut (body incomplete) or timeout."""

    def __init__(self, stage: str, cause: object = ""):
        super().__init__(f"{stage}: {cause}")
        self.stage = stage


@dataclass
class Reply:
    """A complete answer."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def etag(self) -> str:
        """The entity tag without its quotes."""
        return self.headers.get("etag", "").strip('"')

    def code(self) -> str:
        """The S3 error code in the body, if any."""
        before, _, rest = self.body.partition(b"<Code>")
        return rest.partition(b"</Code>")[0].decode(errors="replace") if rest else ""


@dataclass
class Signer:
    """One key pair signing for one region; the derived key is kept for the day."""

    access_key: str
    secret_key: str
    region: str
    _day: str = ""
    _key: bytes = b""

    def _signing_key(self, day: str) -> bytes:
        if day != self._day:
            key = ("AWS4" + self.secret_key).encode()
            for word in (day, self.region, "s3", "aws4_request"):
                key = hmac.digest(key, word.encode(), "sha256")
            self._day, self._key = day, key
        return self._key

    def sign(self, method: str, path: str, query: str, headers: dict[str, str], payload: str) -> None:
        """Adds date, payload hash and authorization; `path` and `query` are as sent, the query already sorted."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers["x-amz-date"] = stamp
        headers["x-amz-content-sha256"] = payload
        signed = sorted(name for name in headers if name not in ("content-length", "connection"))
        lines = [f"{name}:{headers[name].strip()}\n" for name in signed]
        names = ";".join(signed)
        canonical = f"{method}\n{path}\n{query}\n{''.join(lines)}\n{names}\n{payload}"
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        proof = hmac.digest(self._signing_key(stamp[:8]), text.encode(), "sha256").hex()
        credential = f"Credential={self.access_key}/{scope}"
        headers["authorization"] = f"AWS4-HMAC-SHA256 {credential},SignedHeaders={names},Signature={proof}"


@dataclass
class Wire:
    """An endpoint with its idle connections."""

    host: str
    port: int
    signer: Signer
    tls: ssl.SSLContext | None = None
    timeout: float = 30.0
    _idle: list = field(default_factory=list)

    async def request(
        self,
        method: str,
        bucket: str,
        key: str = "",
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        timeout: float | None = None,
    ) -> Reply:
        """One request, signed with the body's hash.

        Raises Failed where no complete answer came.
        """
        payload = hashlib.sha256(body).hexdigest() if body else EMPTY_HASH
        head = self.head(method, bucket, key, query, headers, len(body), payload)
        try:
            async with asyncio.timeout(timeout or self.timeout):
                return await self._exchange(method, head, body)
        except TimeoutError as slow:
            raise Failed("timeout", slow) from slow

    def head(
        self,
        method: str,
        bucket: str,
        key: str = "",
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        length: int = 0,
        payload: str = EMPTY_HASH,
    ) -> bytes:
        """The signed head of a request whose body is so long and has this SHA-256."""
        path = "/" + bucket + ("/" + quote(key, safe="/-_.~") if key else "")
        pairs = sorted(
            (quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in (query or {}).items()
        )
        text = "&".join(f"{name}={value}" for name, value in pairs)
        fields = {name.lower(): value for name, value in (headers or {}).items()}
        fields["host"] = f"{self.host}:{self.port}"
        self.signer.sign(method, path, text, fields, payload)
        if length or method in ("PUT", "POST"):
            fields["content-length"] = str(length)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{method} {path}{'?' + text if text else ''} HTTP/1.1\r\n{lines}\r\n".encode()

    async def _exchange(self, method: str, head: bytes, body: bytes) -> Reply:
        reader, writer = await self._connection()
        clean = False
        try:
            writer.write(head + body if len(body) < 65536 else head)
            if len(body) >= 65536:
                writer.write(body)
            reply = await self._answer(method, reader)
            clean = reply.headers.get("connection", "").lower() != "close"
            return reply
        finally:
            if clean:
                self._idle.append((reader, writer))
            else:
                writer.transport.abort()

    async def _connection(self):
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
        try:
            return await asyncio.open_connection(self.host, self.port, ssl=self.tls, limit=HEAD_LIMIT * 16)
        except OSError as cause:
            raise Failed("connect", cause) from cause

    async def _answer(self, method: str, reader) -> Reply:
        try:
            while True:
                raw = await reader.readuntil(b"\r\n\r\n")
                status, headers = _parse_head(raw)
                if status >= 200:
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as cause:
            raise Failed("answer", cause) from cause
        if method == "HEAD" or status in (204, 304):
            return Reply(status, headers)
        try:
            return Reply(status, headers, await _body(reader, headers))
        except (OSError, asyncio.IncompleteReadError, ValueError) as cause:
            raise Failed("cut", cause) from cause

    def close(self) -> None:
        """Drops every idle connection."""
        for _, writer in self._idle:
            writer.transport.abort()
        self._idle.clear()


def _parse_head(raw: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = raw.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.lower()] = value.strip()
    return int(first.split(" ", 2)[1]), headers


async def _body(reader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        if "content-length" not in headers:
            return await reader.read()
        return await reader.readexactly(int(headers["content-length"]))
    parts = []
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size == 0:
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return b"".join(parts)
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
