"""The network: one namespace a region, joined to this one by a path with a distance and by one without.

nearpoint dials a region over the far path (a TUN pair with a delay); drops, resets and losses are nft rules on it.
The replicator and the rig's own look-ups take the near path (a veth pair), which no fault touches. Everything is named
after this process, and goes with it: what an earlier run left behind is removed first.
"""

import atexit
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from places import RIG
from processes import NotReady

MTU = 9000
TOOLS = {"ip": "iproute2", "nft": "nftables"}
TABLE = "table inet nearpoint_scoreboard"


class Refused(Exception):
    """There can be no namespaces here; the rows are *not run* with this reason."""


def _run(*words, text: str | None = None) -> str:
    done = subprocess.run([str(word) for word in words], input=text, capture_output=True, text=True)
    if done.returncode:
        raise Refused(f"{' '.join(map(str, words))}: {done.stderr.strip()[:300]}")
    return done.stdout


def why_not() -> str | None:
    """Why there can be no namespaces here; None where there can."""
    if os.geteuid() != 0:
        return "needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN) for network namespaces"
    for tool, package in TOOLS.items():
        if not shutil.which(tool):
            return f"needs {tool} (Debian: {package})"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    name = f"np{os.getpid()}t"
    try:
        _run("ip", "netns", "add", name)
    except Refused as cause:
        return f"namespaces are refused: {cause}"
    try:
        _run("ip", "netns", "exec", name, "nft", "list", "ruleset")
    except Refused as cause:
        return f"nftables are refused: {cause}"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return None


def sweep() -> None:
    """Removes the namespaces of runs whose process is gone, and what still runs in them."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    for name in re.findall(r"^(np\d+[rt]\d*)\b", listed, re.MULTILINE):
        owner = int(re.match(r"np(\d+)", name)[1])
        if not Path(f"/proc/{owner}").exists():
            inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout
            for pid in inside.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Leg:
    """One region's namespace and its two paths."""

    def __init__(self, number: int, ms: float):
        owner = os.getpid()
        net = 64 + owner % 64
        self.ms = ms
        self.name = f"np{owner}r{number}"
        self.far_here, self.far_there = f"npa{owner % 100000}-{number}", f"npb{owner % 100000}-{number}"
        self.near_here, self.near_there = f"npc{owner % 100000}-{number}", f"npd{owner % 100000}-{number}"
        self.here = f"10.{net}.{number}.1"
        self.address = f"10.{net}.{number}.2"  # what nearpoint dials
        self.more = [f"10.{net}.{number}.{last}" for last in (3, 4)]  # the same region, further addresses
        self.near = f"10.{net + 64}.{number}.2"  # what the rig dials
        self._near_gateway = f"10.{net + 64}.{number}.1"
        self._forwarder: subprocess.Popen | None = None

    def up(self) -> None:
        """Makes it."""
        _run("ip", "netns", "add", self.name)
        _run("ip", "-n", self.name, "link", "set", "lo", "up")
        command = [
            sys.executable,
            RIG / "scoreboard" / "tundelay.py",
            self.far_here,
            self.far_there,
            self.name,
            self.one_way(),
        ]
        self._forwarder = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._forwarder.stdout.readline().strip() != "ready":
            raise Refused("the TUN forwarder did not start")
        _run("ip", "addr", "add", self.here, "peer", self.address, "dev", self.far_here)
        _run("ip", "link", "set", self.far_here, "mtu", MTU, "up")
        for address in self.more:
            _run("ip", "route", "add", address, "dev", self.far_here)
        _run("ip", "-n", self.name, "addr", "add", self.address, "peer", self.here, "dev", self.far_there)
        _run("ip", "-n", self.name, "link", "set", self.far_there, "mtu", MTU, "up")
        for address in self.more:
            _run("ip", "-n", self.name, "addr", "add", f"{address}/32", "dev", self.far_there)
        _run(
            "ip",
            "link",
            "add",
            self.near_here,
            "type",
            "veth",
            "peer",
            "name",
            self.near_there,
            "netns",
            self.name,
        )
        _run("ip", "addr", "add", f"{self._near_gateway}/30", "dev", self.near_here)
        _run("ip", "link", "set", self.near_here, "up")
        _run("ip", "-n", self.name, "addr", "add", f"{self.near}/30", "dev", self.near_there)
        _run("ip", "-n", self.name, "link", "set", self.near_there, "up")

    def one_way(self) -> float:
        """Half of the round trip, which is how far the path is each way."""
        return self.ms / 2

    def inside(self, *words) -> list[str]:
        """The command that runs these words inside the namespace, as the same process."""
        return ["ip", "netns", "exec", self.name, *[str(word) for word in words]]

    def further(self, ms: float) -> None:
        """Adds so many milliseconds to the round trip; 0 ends it."""
        self._forwarder.stdin.write(f"{(self.ms + ms) / 2}\n")
        self._forwarder.stdin.flush()

    def rules(self, *rules: str) -> None:
        """Puts nft rules on the far path: each begins with `in` (towards the region) or `out` (away from it)."""
        self.heal()
        lines = [f"{TABLE} {{"]
        for hook, way, port in (("in", "input", "iifname"), ("out", "output", "oifname")):
            chosen = [rule.removeprefix(f"{hook} ") for rule in rules if rule.startswith(f"{hook} ")]
            lines.append(f"  chain {way} {{ type filter hook {way} priority 0;")
            lines += [f'    {port} "{self.far_there}" {rule}' for rule in chosen]
            lines.append("  }")
        lines.append("}")
        _run(*self.inside("nft", "-f", "-"), text="\n".join(lines) + "\n")

    def heal(self) -> None:
        """Removes every rule."""
        subprocess.run(self.inside("nft", "delete", *TABLE.split()), capture_output=True)

    def down(self) -> None:
        """Removes all of it; the devices go with the namespace and the forwarder."""
        if self._forwarder:
            self._forwarder.stdin.close()
            try:
                self._forwarder.wait(5)
            except subprocess.TimeoutExpired:
                self._forwarder.kill()
                self._forwarder.wait()
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)
        subprocess.run(["ip", "link", "del", self.near_here], capture_output=True)


class Lab:
    """All regions' networks."""

    def __init__(self, distances: list[float]):
        self.legs = [Leg(number + 1, ms) for number, ms in enumerate(distances)]

    def up(self) -> "Lab":
        """Makes them; raises NotReady where one cannot be made."""
        sweep()
        atexit.register(self.down)
        try:
            for leg in self.legs:
                leg.up()
        except Refused as cause:
            self.down()
            raise NotReady(str(cause)) from cause
        return self

    def down(self) -> None:
        """Removes them."""
        for leg in self.legs:
            leg.down()
