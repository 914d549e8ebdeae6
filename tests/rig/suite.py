"""`tests/run`: stores, gateways, client matrix, conformance, failover run, memory, scoreboard; tables, one closing line."""

import argparse
import hashlib
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import board
import certificates
import conformance
import failover
import matrix
import memory
import page
import provision
import stores
from botocore.exceptions import ClientError
from clients import Target, names
from nearpoint import ALIAS, ALIAS_DOMAIN, DOMAIN, LOGICAL_REGION, AccessPoint, Client, Gateway
from places import CACHE, ROOT, say
from processes import NotReady
from replicator import InThread
from report import FAIL, NOT_RUN, Report, Result
from scoreboard.rows import SHORT
from stores import Store

TIERS = {"ci": ["moto", "ceph"], "full": ["moto", "ceph", "garage"]}
FAILOVER_STORES = ("ceph", "garage")  # a killed moto comes back empty
MATRIX = "matrix"
LAG = 0.3
# where the first gateway has ports 80 and 443 too, which some clients cannot do without; one of its own for each run
STANDARD = ".".join(["127", *(str(random.SystemRandom().randint(2, 254)) for _ in range(3))])
SHIFT_REPEATS = {"ci": 1, "full": 5}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests/run")
    parser.add_argument("--tier", choices=TIERS, required=True)
    parser.add_argument("--only", choices=["matrix", "conformance", "failover", "memory", "scoreboard"])
    parser.add_argument("--store", choices=["ceph", "moto", "garage"])
    parser.add_argument("--client", help="clients whose name contains this, or one of these, by commas")
    parser.add_argument("--suite", help="conformance suites whose name contains this")
    parser.add_argument("--case", action="append", help="cases of those suites, by their name in the table")
    parser.add_argument("--mode", choices=[mode.name for mode in failover.MODES])
    parser.add_argument(
        "--direct", action="store_true", help="clients talk to the first region itself, without nearpoint"
    )
    parser.add_argument("--page", type=Path, help="write the table of every client's newest outcomes there")
    parser.add_argument("--keep", action="store_true", help="keep logs and configuration of a good run too")
    return parser.parse_args()


def main() -> int:
    """Runs what was asked for; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is undone
    chosen = arguments()
    report = Report()
    scratch = Path(tempfile.mkdtemp(prefix="nearpoint-rig-"))
    begin = time.monotonic()
    groups: list[str] = []
    try:
        provision.debian(provision.TOOLS)
        pems = certificates.make(scratch / "tls", [DOMAIN, f"*.{DOMAIN}", f"*.mrap.{ALIAS_DOMAIN}", f"IP:{STANDARD}"])
        for kind in [chosen.store] if chosen.store else TIERS[chosen.tier]:
            groups += with_store(kind, chosen, report, scratch, pems)
        if not chosen.direct and conformance.wanted(chosen):
            kinds = [chosen.store] if chosen.store else TIERS[chosen.tier]
            print(conformance.execute(report, kinds, scratch, pems, chosen))
        if not chosen.direct and chosen.only in (None, "memory") and not chosen.store:
            memory.execute(report, scratch, pems, chosen.tier)
        scoreboard = chosen.only in (None, "scoreboard")
        if not chosen.direct and scoreboard and not chosen.store:
            short = chosen.tier == "ci"
            rows = SHORT if short else None
            result = board.execute(rows, short, True, board.RATE, scratch / "scoreboard")
            board.into(report, result, rows, short)
            if not isinstance(result, str):
                print(board.shown(result.lines))
    except KeyboardInterrupt:
        report.add(Result("suite", "-", "finished", FAIL, "interrupted"))
    print(report.matrix(list(dict.fromkeys(groups))))
    print(report.failures())
    report.write(CACHE / "last-run.json")
    if chosen.page:
        page.write(ROOT / chosen.page)
    if report.count(FAIL) or chosen.keep:
        say(f"logs and configuration: {scratch}")
    else:
        shutil.rmtree(scratch, ignore_errors=True)
    say(f"{time.monotonic() - begin:.0f} s in all")
    print(report.summary())
    return 1 if report.count(FAIL) or not report.results else 0


def with_store(kind: str, chosen: argparse.Namespace, report: Report, scratch: Path, pems) -> list[str]:
    """Everything against one kind of store; the client names it ran."""
    wanted = [part for part in ("matrix", "failover") if chosen.only in (None, part)]
    if kind not in FAILOVER_STORES:
        wanted = [part for part in wanted if part != "failover"]
    if not wanted:
        return []
    purposes = [MATRIX, *(failover.purposes() if "failover" in wanted else [])]
    store = stores.make(kind, scratch, purposes)
    try:
        store.install()
        store.start()
    except provision.Unavailable as cause:
        report.add(Result("store", kind, "installed", NOT_RUN, str(cause)))
        return []
    except NotReady as cause:
        report.add(Result("store", kind, "started", FAIL, str(cause)))
        store.stop()
        return []
    gateways: list[Gateway] = []
    ran: list[str] = []
    try:
        if not chosen.direct:
            gateways = start_gateways(store, scratch / f"gateways-{kind}", pems, "failover" in wanted)
        if "matrix" in wanted:
            ran = run_matrix(store, gateways, chosen, report, scratch / f"clients-{kind}", pems)
        if "failover" in wanted:
            modes = [mode for mode in failover.MODES if chosen.mode in (None, mode.name)]
            failover.execute(report, store, gateways, chosen.direct, modes, SHIFT_REPEATS[chosen.tier])
    except (NotReady, OSError) as cause:
        report.add(Result("nearpoint", kind, "serves", FAIL, str(cause)[-600:]))
    finally:
        for gateway in gateways:
            report.check(
                "nearpoint",
                kind,
                f"{gateway.name} drains and ends with 0",
                gateway.stop() == 0,
                gateway.service.tail(300),
            )
        store.stop()
    return ran


def start_gateways(store: Store, scratch: Path, pems, with_failover: bool) -> list[Gateway]:
    """Two gateways with the same token keys over the same regions."""
    regions = [region.name for region in store.regions]
    points = [AccessPoint(MATRIX, MATRIX, regions, regions[0], alias=ALIAS)]
    if with_failover:
        points += [point for mode in failover.MODES for point in failover.points(mode, regions)]
    client, token_key = Client(), secrets.token_hex(32)
    whole = store.regions, store.kind, points, client, pems, token_key
    return [
        Gateway(f"gateway-{number}", scratch, *whole, standard=standard).start()
        for number, standard in ((1, STANDARD), (2, None))
    ]


def run_matrix(
    store: Store, gateways: list[Gateway], chosen, report: Report, scratch: Path, pems
) -> list[str]:
    """The client matrix through the first gateway, or at the first region itself."""
    home = store.regions[0]
    if chosen.direct:
        return matrix.run(report, store.kind, itself(home), None, scratch, chosen, lambda *_: None, None)
    gateway = gateways[0]
    keys = gateway.client.access_key, gateway.client.secret_key
    ends = gateway.endpoint("http"), gateway.endpoint("https")
    target = Target(*ends, pems.ca, DOMAIN, STANDARD, ALIAS, MATRIX, LOGICAL_REGION, *keys)
    names.stands_for(ALIAS_DOMAIN, STANDARD)
    replicator = failover.replicator_for(store, MATRIX, LAG)
    replicator.prefix = ""

    def ended(folder: str, found: list[Result]) -> None:
        page.keep(store.kind, found)
        for region in store.regions:
            clear(region, folder + "/")
            clear(region, folder.replace("-https", "-http") + "/")

    with InThread(replicator) as replicating:
        ran = matrix.run(report, store.kind, target, hash_at(home), scratch, chosen, ended, itself(home))
        agreed = replicating.converge(60)
        report.check(
            "replicator", store.kind, "regions converge after the matrix", agreed, str(replicator.faults[-3:])
        )
    return ran


def itself(region) -> Target:
    """A region without nearpoint."""
    keys = region.access_key, region.secret_key
    return Target(region.endpoint, None, None, None, None, None, region.bucket(MATRIX), region.signing_region, *keys)


def clear(region, prefix: str) -> None:
    """Removes a client's objects from a region itself, every version: the stores keep all they have in memory."""
    client, bucket = region.client(), region.bucket(MATRIX)
    calls = {"list_object_versions": ("Versions", "DeleteMarkers"), "list_objects_v2": ("Contents",)}
    for call, parts in calls.items():
        with suppress(ClientError):  # a store without versions
            for found in client.get_paginator(call).paginate(Bucket=bucket, Prefix=prefix):
                for each in (each for part in parts for each in found.get(part, [])):
                    version = {"VersionId": each["VersionId"]} if "VersionId" in each else {}
                    client.delete_object(Bucket=bucket, Key=each["Key"], **version)


def hash_at(region):
    """A function from key to SHA-256 of what this region holds under it, read from the store itself."""
    client = region.client()

    def ask(key: str) -> str:
        digest = hashlib.sha256()
        for piece in client.get_object(Bucket=region.bucket(MATRIX), Key=key)["Body"].iter_chunks(1 << 20):
            digest.update(piece)
        return digest.hexdigest()

    return ask


if __name__ == "__main__":
    sys.exit(main())
