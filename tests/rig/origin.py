"""A store that stores nothing: endless generated bodies out, uploads in and gone. One thread for each connection.

Run as a process: `origin.py PORT`. GET answers as many bytes as the last word of the key says, HEAD the same without,
PUT takes any length and forgets it.
"""

import hashlib
import socket
import sys
import threading

PIECE = bytes(1 << 20)
ETAG = hashlib.md5(b"generated").hexdigest()
DATE = "Mon, 23 Nov 2026 12:00:00 GMT"


def serve(port: int) -> None:
    """Accepts for ever."""
    with socket.create_server(("127.0.0.1", port), backlog=512) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_converse, args=(connection,), daemon=True).start()


def _converse(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pending = bytearray()
    sink = bytearray(1 << 20)
    with connection:
        try:
            while _one(connection, pending, sink):
                pass
        except OSError:
            return


def _one(connection: socket.socket, pending: bytearray, sink: bytearray) -> bool:
    while b"\r\n\r\n" not in pending:
        got = connection.recv(65536)
        if not got:
            return False
        pending += got
    head, _, rest = bytes(pending).partition(b"\r\n\r\n")
    pending[:] = rest
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(fields.get("content-length", 0))
    if fields.get("expect") and length > len(pending):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    _discard(connection, pending, sink, length)
    tag = f'ETag: "{ETAG}"\r\nLast-Modified: {DATE}\r\n'
    if method in ("GET", "HEAD"):
        word = target.partition("?")[0].rpartition("/")[2]
        size = int(word) if word.isdigit() else 0
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n{tag}\r\n".encode())
        while method == "GET" and size:
            connection.sendall(PIECE[: min(size, len(PIECE))])
            size -= min(size, len(PIECE))
    else:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{tag}\r\n".encode())
    return True


def _discard(connection: socket.socket, pending: bytearray, sink: bytearray, length: int) -> None:
    have = min(length, len(pending))
    del pending[:have]
    left = length - have
    while left:
        got = connection.recv_into(sink, min(left, len(sink)))
        if not got:
            raise OSError("the sender went away")
        left -= got


if __name__ == "__main__":
    serve(int(sys.argv[1]))
