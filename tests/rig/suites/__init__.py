"""Public S3 conformance suites, as installed from registries; none of their code is in this project."""

from suites.suite import Account, Case, Place, Suite


def roster() -> list[Suite]:
    """Every suite, not installed yet."""
    from suites.fsspec import S3fs
    from suites.minio import MinioGo, MinioPy
    from suites.s3s import S3s
    from suites.s3tests import S3Tests

    return [S3Tests(), MinioGo(), MinioPy(), S3fs(), S3s()]


__all__ = ["Account", "Case", "Place", "Suite", "roster"]
