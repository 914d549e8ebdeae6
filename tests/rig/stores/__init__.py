"""Real S3 stores as regions on loopback: one process, signing region, key pair and bucket names for each."""

from stores.region import SITES, Region, Store, User


def make(kind: str, scratch, purposes: list[str], sites=SITES) -> Store:
    """The store of this kind with a bucket in each region for each purpose; not started yet."""
    if kind == "ceph":
        from stores.ceph import Ceph

        return Ceph(scratch, purposes, sites)
    if kind == "moto":
        from stores.moto import Moto

        return Moto(scratch, purposes, sites)
    if kind == "garage":
        from stores.garage import Garage

        return Garage(scratch, purposes, sites)
    raise ValueError(f"no store named {kind}")


__all__ = ["Region", "Store", "User", "make"]
