"""Real S3 stores as regions on loopback: one process, signing region, key pair and bucket names for each."""

from stores.region import Region, Store


def make(kind: str, scratch, purposes: list[str]) -> Store:
    """The store of this kind with a bucket in each region for each purpose; not started yet."""
    if kind == "ceph":
        from stores.ceph import Ceph

        return Ceph(scratch, purposes)
    if kind == "moto":
        from stores.moto import Moto

        return Moto(scratch, purposes)
    if kind == "garage":
        from stores.garage import Garage

        return Garage(scratch, purposes)
    raise ValueError(f"no store named {kind}")


__all__ = ["Region", "Store", "make"]
