"""A throw-away certificate authority and a server certificate for loopback, by the openssl command."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Certificates:
    """Paths of PEM files."""

    ca: Path
    certificate: Path
    key: Path


PAST = ("20200101000000Z", "20200201000000Z")  # of a certificate that has expired


def make(
    home: Path,
    names: list[str],
    loopback: bool = True,
    authority: Certificates | None = None,
    expired: bool = False,
) -> Certificates:
    """Makes a certificate, good for two days, for these DNS names (`IP:…`: addresses) and 127.0.0.1.

    Its authority is made too, where none is given. One that has `expired` was good for a month of 2020.
    """
    home.mkdir(parents=True, exist_ok=True)
    ca = authority.ca if authority else home / "ca.crt"
    made = Certificates(ca, home / "server.crt", home / "server.key")
    ca_key, request, extensions = ca.with_suffix(".key"), home / "server.csr", home / "server.ext"
    alternatives = ",".join(
        [name if name.startswith("IP:") else f"DNS:{name}" for name in names] + ["IP:127.0.0.1"] * loopback
    )
    extensions.write_text(
        f"subjectAltName={alternatives}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n"
    )
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    is_ca = [
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    ]
    if authority is None:
        _openssl(
            "req",
            "-x509",
            *curve,
            "-keyout",
            ca_key,
            "-out",
            made.ca,
            "-days",
            "2",
            "-subj",
            "/CN=rig authority",
            *is_ca,
        )
    _openssl("req", *curve, "-keyout", made.key, "-out", request, "-subj", "/CN=nearpoint rig")
    if expired:
        _sign_for_the_past(home, made, ca_key, request, extensions)
        return made
    sign = ["-req", "-in", request, "-CA", made.ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2"]
    _openssl("x509", *sign, "-extfile", extensions, "-out", made.certificate)
    return made


def _sign_for_the_past(home: Path, made: Certificates, ca_key: Path, request: Path, extensions: Path) -> None:
    """Only `openssl ca` takes both dates, and it wants the books of an authority."""
    books = home / "books"
    books.mkdir(exist_ok=True)
    (books / "index").write_text("")
    settings = books / "ca.conf"
    settings.write_text(
        f"[ca]\ndefault_ca=rig\n[rig]\ndatabase={books / 'index'}\nnew_certs_dir={books}\nrand_serial=yes\n"
        "default_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n"
    )
    dates = ["-startdate", PAST[0], "-enddate", PAST[1]]
    signer = ["-config", settings, "-cert", made.ca, "-keyfile", ca_key]
    _openssl(
        *("ca", "-batch", "-notext", *signer, *dates, "-in", request),
        *("-extfile", extensions, "-out", made.certificate),
    )


def _openssl(*words) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
