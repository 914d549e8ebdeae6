"""Joins two TUN devices with a delay, which is how an IP path gets its distance where the kernel has no netem.

  tundelay.py TUN_A TUN_B NETNS MS

TUN_B is moved into the namespace. Standard input takes a new one-way delay in milliseconds on each line, and ends the
process with its end; the devices vanish with it.
"""

import collections
import fcntl
import os
import selectors
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
TUN_WITHOUT_INFO = 0x0001 | 0x1000
PACKET_MAX = 65536
WAITING_MAX = 20_000  # packets under way; beyond, they are lost, as in any queue
AT_ONCE = 256


def tun(name: str) -> int:
    """Opens a TUN device that lives as long as this process."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), TUN_WITHOUT_INFO))
    return device


def main() -> None:
    """Forwards until standard input ends."""
    name_a, name_b, namespace, ms = sys.argv[1:]
    try:
        os.nice(-10)  # a late forwarder would be measured as the proxy's latency
    except PermissionError:
        pass
    a, b = tun(name_a), tun(name_b)
    subprocess.run(["ip", "link", "set", name_b, "netns", namespace], check=True)
    print("ready", flush=True)
    delay = float(ms) / 1000
    peer = {a: b, b: a}
    waiting: collections.deque = collections.deque()
    selector = selectors.DefaultSelector()
    for source in (a, b, 0):
        selector.register(source, selectors.EVENT_READ)
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, target, packet = waiting.popleft()
            try:
                os.write(target, packet)
            except OSError:
                pass  # a device that is down loses packets
        timeout = max(0.0, waiting[0][0] - now) if waiting else None
        for key, _ in selector.select(timeout):
            if key.fd == 0:
                line = os.read(0, 256)
                if not line:
                    return
                delay = float(line.split()[-1]) / 1000
                waiting = collections.deque(sorted(waiting, key=lambda entry: entry[0]))
                continue
            due = time.monotonic() + delay
            for _ in range(AT_ONCE):
                try:
                    packet = os.read(key.fd, PACKET_MAX)
                except OSError:
                    break
                if len(waiting) < WAITING_MAX:
                    # a shorter delay never lets a packet pass those before it
                    due = max(due, waiting[-1][0]) if waiting else due
                    waiting.append((due, peer[key.fd], packet))


if __name__ == "__main__":
    main()
