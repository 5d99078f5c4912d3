"""Make what the server and its clients need: a CA, a certificate, a service account's key.

    python keys.py FOLDER NAME...

NAME... are the DNS names and addresses of the server. Written are
`server/` (tls.crt, tls.key, accounts.json: public keys by e-mail address),
`client/` (google.json: the service account's key file, ca.crt).
"""

import ipaddress
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PROJECT = "ashchat-test"
EMAIL = f"translator@{PROJECT}.iam.gserviceaccount.com"
LIFE = timedelta(days=2)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, names: list[str] | None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if names is None:
        return builder
    return builder.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
    ).add_extension(x509.SubjectAlternativeName([_san(name) for name in names]), critical=False)


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def make(folder: Path, names: list[str]) -> None:
    """Write everything below a folder; existing files are replaced."""
    server, client = folder / "server", folder / "client"
    for place in (server, client):
        place.mkdir(parents=True, exist_ok=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("AshChat test CA", ca_key, "AshChat test CA", None).sign(
        ca_key, hashes.SHA256()
    )
    certificate = _certificate(names[0][:64], key, "AshChat test CA", names).sign(
        ca_key, hashes.SHA256()
    )
    (client / "ca.crt").write_bytes(ca.public_bytes(Encoding.PEM))
    (server / "tls.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    (server / "tls.key").write_text(_pem(key))

    account = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = account.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (server / "accounts.json").write_text(json.dumps({EMAIL: public.decode()}))
    # The shape that Google's console gives; nothing answers at its token_uri.
    google = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "1",
        "private_key": _pem(account),
        "client_email": EMAIL,
        "client_id": "1",
        "token_uri": "https://127.0.0.1:1/token",
    }
    (client / "google.json").write_text(json.dumps(google))


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2:])
