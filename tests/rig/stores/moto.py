"""moto: three servers with their state in memory, checking keys and signatures after the first three calls."""

import json

import provision
from places import RIG, say
from processes import Service

from stores.region import Region, Store, User

FREE_CALLS = 3
ALLOW_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Moto(Store):
    """Three moto servers. A killed one comes back empty, so the failover run does not use it."""

    kind = "moto"
    any_region = True

    def install(self) -> None:
        self.venv = provision.venv("moto")

    def start(self) -> None:
        for region in self.regions:
            self._launch(region)
        for region in self.regions:
            self._await(region)
            self._make_user(region)
        self.make_buckets()
        self._keep_versions()

    def stop(self) -> None:
        for region in self.regions:
            if region.service:
                region.service.kill()

    def make_user(self, region: Region, name: str) -> User:
        import boto3

        iam = boto3.client(
            "iam",
            endpoint_url=region.endpoint,
            region_name=region.signing_region,
            aws_access_key_id=region.access_key,
            aws_secret_access_key=region.secret_key,
        )
        iam.create_user(UserName=name)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(ALLOW_ALL))
        return User(key["AccessKeyId"], key["SecretAccessKey"])

    def _keep_versions(self) -> None:
        """Versioning on: here version ids travel, and moto refuses the `null` it gives out without it."""
        for region in self.regions:
            for purpose in self.purposes:
                enabled = {"Status": "Enabled"}
                region.client().put_bucket_versioning(
                    Bucket=region.bucket(purpose), VersioningConfiguration=enabled
                )

    def _launch(self, region: Region) -> None:
        env = {
            "INITIAL_NO_AUTH_ACTION_COUNT": str(FREE_CALLS),
            "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(64 << 20),
            "AWS_DEFAULT_REGION": region.signing_region,
        }
        command = [self.venv / "bin" / "python", "-P", RIG / "stores" / "moto_server.py", "-H", "127.0.0.1", "-p", str(region.port)]
        region.service = Service(
            f"moto {region.name}", command, self.home / f"{region.short}.log", env
        ).start()

    def _await(self, region: Region) -> None:
        region.service.await_port(region.port)
        say(f"moto: {region.name} on {region.endpoint}")

    def _make_user(self, region: Region) -> None:
        """Spends the calls that go unchecked on a user, its key and its policy."""
        region.access_key = region.secret_key = "unchecked"
        user = self.make_user(region, "rig")
        region.access_key, region.secret_key = user.access_key, user.secret_key
