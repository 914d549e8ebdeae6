"""What a region of a store is, whatever makes it."""

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from processes import Service, free_port

# id in the proxy's configuration, signing region, short form in bucket names: all different, so that none can stand in for another
SITES = [
    ("frankfurt", "eu-central-1", "fra"),
    ("dublin", "eu-west-1", "dub"),
    ("sydney", "ap-southeast-2", "syd"),
]


@dataclass
class User:
    """Somebody with keys of their own at a region."""

    access_key: str
    secret_key: str


@dataclass
class Region:
    """One region: where it listens, whom it lets in, what its buckets are called."""

    name: str
    signing_region: str
    short: str
    port: int
    access_key: str = ""
    secret_key: str = ""
    service: Service | None = None
    host: str = "127.0.0.1"
    scheme: str = "http"
    extras: dict = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The base URL."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def bucket(self, purpose: str) -> str:
        """This region's own bucket for a purpose."""
        return f"{purpose}-{self.short}"

    def client(self, **options):
        """A boto3 client that speaks to this region directly."""
        import boto3
        from botocore.config import Config

        plain = {
            "signature_version": "s3v4",
            "retries": {"max_attempts": 3, "mode": "standard"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "s3": {"addressing_style": "path"},
        }
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.signing_region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(**(plain | options)),
        )


class Store(ABC):
    """Regions of one kind of store, three unless told otherwise."""

    kind = ""  # also the proxy's `profile`
    any_region = False  # it takes requests that are signed for another region than its own

    def __init__(self, scratch: Path, purposes: list[str], sites: list[tuple[str, str, str]] = SITES):
        self.home = scratch / self.kind
        self.home.mkdir(parents=True, exist_ok=True)
        self.purposes = purposes
        self.regions = [Region(name, signing, short, free_port()) for name, signing, short in sites]

    @abstractmethod
    def install(self) -> None:
        """Gets the software; raises provision.Unavailable."""

    @abstractmethod
    def start(self) -> None:
        """Brings up every region with its key and buckets."""

    @abstractmethod
    def stop(self) -> None:
        """Ends everything and drops the contents."""

    def make_user(self, region: Region, name: str) -> User:
        """One more user of a running region, who may make buckets."""
        raise NotImplementedError(f"{self.kind} has one user")

    def revive(self, region: Region) -> None:
        """Starts a killed region again on the same port with the same contents."""
        assert region.service is not None
        region.service.start()
        region.service.await_port(region.port)

    def make_buckets(self) -> None:
        """One bucket for each purpose in each region, by its own name there."""

        def fill(region: Region) -> None:
            client = region.client()
            for purpose in self.purposes:
                client.create_bucket(
                    Bucket=region.bucket(purpose),
                    CreateBucketConfiguration={"LocationConstraint": region.signing_region},
                )

        with ThreadPoolExecutor() as pool:
            list(pool.map(fill, self.regions))
