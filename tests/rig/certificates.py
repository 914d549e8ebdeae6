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


def make(
    home: Path, names: list[str], loopback: bool = True, authority: Certificates | None = None
) -> Certificates:
    """Makes a certificate, good for two days, for these DNS names (`IP:…`: addresses) and 127.0.0.1.

    Its authority is made too, where none is given.
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
    sign = ["-req", "-in", request, "-CA", made.ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2"]
    _openssl("x509", *sign, "-extfile", extensions, "-out", made.certificate)
    return made


def _openssl(*words) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
