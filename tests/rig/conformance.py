"""Public S3 suites at a store itself and through a nearpoint in front of it: nothing that passes directly may fail.

The nearpoint is a transparent proxy: one region, any bucket, users who keep their own keys, anonymous requests passed on.
"""

import json
import secrets
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import comparison
import provision
import stores
from comparison import Comparison, Runs
from nearpoint import Client, Gateway
from places import CACHE, RIG, say
from processes import NotReady
from report import FAIL, NOT_RUN, Report, Result
from stores import Region, Store
from suites import Account, Place, Suite, roster

SITE = [("virginia", "us-east-1", "vir")]  # suites create buckets without naming a region
REPEATS = 2  # of a case that failed through nearpoint only, each way
RESULTS = CACHE / "conformance.json"
USERS = ("main", "alt")


def wanted(chosen) -> bool:
    """Whether this command line asks for conformance."""
    return chosen.only == "conformance" or (chosen.only is None and chosen.tier == "full")


def execute(report: Report, kinds: list[str], scratch: Path, pems, chosen) -> str:
    """Every chosen suite at every kind of store; the table."""
    suites = [suite for suite in roster() if not chosen.suite or chosen.suite in suite.name]
    found = [each for kind in kinds for each in _at(report, kind, scratch, pems, suites, chosen)]
    return comparison.shown(found)


def _at(report: Report, kind: str, scratch: Path, pems, suites: list[Suite], chosen) -> list[Comparison]:
    store = stores.make(kind, scratch / "conformance", [], SITE)
    try:
        store.install()
        store.start()
    except (provision.Unavailable, NotReady) as cause:
        outcome = NOT_RUN if isinstance(cause, provision.Unavailable) else FAIL
        report.add(Result("conformance", kind, "store starts", outcome, str(cause)))
        store.stop()
        return []
    try:
        return _compared(report, store, scratch, pems, suites, chosen)
    except (NotReady, OSError) as cause:
        report.add(Result("conformance", kind, "nearpoint serves", FAIL, str(cause)[-600:]))
        return []
    finally:
        store.stop()


def _compared(report: Report, store: Store, scratch: Path, pems, suites, chosen) -> list[Comparison]:
    region = store.regions[0]
    accounts = [_account(store, region, name) for name in USERS]
    gateway = _gateway(store, accounts, scratch / f"conformance-{store.kind}", pems).start()
    direct = Place("direct", region.host, region.port, region.signing_region, *accounts)
    proxied = replace(direct, name="proxied", host="127.0.0.1", port=gateway.ports["http"])
    allowed = comparison.differences(RIG / "differences.txt")
    found = []
    try:
        for suite in suites:
            try:
                suite.install()
            except provision.Unavailable as cause:
                report.add(Result(suite.name, store.kind, "installed", NOT_RUN, str(cause)))
                continue
            runs = _runs(suite, store, direct, proxied, gateway.home, chosen.tier == "full", chosen.case)
            found.append(Comparison(runs, allowed))
            found[-1].into(report)
            _keep(runs)
    finally:
        code = gateway.stop()
    end = "nearpoint drains and ends with 0"
    report.check("conformance", store.kind, end, code == 0, gateway.service.tail(300))
    return found


def _account(store: Store, region: Region, name: str) -> Account:
    """A new user, and who it is in the store's own words."""
    user = store.make_user(region, name)
    client = replace(region, access_key=user.access_key, secret_key=user.secret_key).client()
    owner = client.list_buckets().get("Owner", {})
    return Account(user, owner.get("ID", name), owner.get("DisplayName", name))


def _gateway(store: Store, accounts: list[Account], home: Path, pems) -> Gateway:
    """The transparent proxy."""
    region = store.regions[0]
    overlay = {
        "logical_region": "*" if store.any_region else region.signing_region,
        "access_points": {"*": {"regions": [region.name]}},
        "clients": [
            {
                "name": name,
                "access_key_id": account.user.access_key,
                "secret_access_key": account.user.secret_key,
                "region_credentials": "same",
            }
            for name, account in zip(USERS, accounts)
        ],
    }
    token_key = secrets.token_hex(32)
    whole = store.regions, store.kind, [], Client(), pems, token_key, overlay
    return Gateway("transparent", home, *whole, anonymous="forward")


def _runs(suite: Suite, store: Store, direct: Place, proxied: Place, home: Path, twice: bool, only) -> Runs:
    """Both ways, directly once more, and again what looks worse through the proxy."""
    number = 0

    def run(place: Place, cases: list[str] | None):
        nonlocal number
        number += 1
        begin = time.monotonic()
        found = suite.run(place, home / f"{suite.name}-{number}-{place.name}", cases)
        if cases is not None:
            found = {name: case for name, case in found.items() if name in cases}
        taken = time.monotonic() - begin
        failed = sum(case.outcome == FAIL for case in found.values())
        say(f"{suite.name} on {store.kind}, {place.name}: {len(found)} cases, {failed} failed, {taken:.0f} s")
        _sweep(store.regions[0], direct)
        return found, taken

    (first, seconds), (through, longer) = run(direct, only), run(proxied, only)
    runs = Runs(suite.name, store.kind, [first], [through], (seconds, longer))
    if twice:
        runs.direct.append(run(direct, only)[0])
    for _ in range(REPEATS):
        if suspects := runs.suspects():
            runs.direct.append(run(direct, suspects)[0])
            runs.proxied.append(run(proxied, suspects)[0])
    return runs


def _sweep(region: Region, direct: Place) -> None:
    """Removes what a suite left, so that the next does not meet it; what is locked stays."""
    for account in (direct.main, direct.alt):
        user = account.user
        client = replace(region, access_key=user.access_key, secret_key=user.secret_key).client()
        for bucket in client.list_buckets()["Buckets"]:
            with suppress(Exception):  # another run's leavings are no result
                _remove(client, bucket["Name"])


def _remove(client, bucket: str) -> None:
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            client.delete_object(Bucket=bucket, Key=found["Key"])
    with suppress(client.exceptions.ClientError):  # a store without versions
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for found in page.get("Versions", []) + page.get("DeleteMarkers", []):
                client.delete_object(Bucket=bucket, Key=found["Key"], VersionId=found["VersionId"])
    client.delete_bucket(Bucket=bucket)


def _keep(runs: Runs) -> None:
    """Every outcome of the last run of each suite and store, for whoever looks into a difference."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[f"{runs.store} {runs.suite}"] = {
        name: {
            how: [asdict(case) for case in cases] for how, cases in zip(("direct", "proxied"), runs.outcomes(name))
        }
        for name in runs.names()
    }
    RESULTS.write_text(json.dumps(kept, indent=1))

