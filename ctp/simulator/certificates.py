"""A private certificate authority, so that unmodified clients trust the simulator under the exchange's names.

Owns `simulator-ca.pem` (public) and `simulator.pem` (server key and certificate, 0600) in the folder given.
The authority's own key is thrown away after signing: nobody can issue more certificates with it.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOSTS = (
    "api.binance.com", "fapi.binance.com", "dapi.binance.com", "eapi.binance.com", "stream.binance.com",
    "fstream.binance.com", "dstream.binance.com", "ws-api.binance.com", "ws-fapi.binance.com", "localhost",
)  # fmt: skip
_VALID_DAYS = 825
_RENEW_DAYS = 30


class Certificates(NamedTuple):
    """Where the files are."""

    authority: Path
    server: Path


def ensure(folder: Path) -> Certificates:
    """Return the certificates of a folder, made anew when missing, damaged or about to expire."""
    files = Certificates(folder / "simulator-ca.pem", folder / "simulator.pem")
    folder.mkdir(parents=True, exist_ok=True)
    if not _are_usable(files):
        _make(files)
    return files


def server_context(files: Certificates) -> ssl.SSLContext:
    """Return the TLS context of the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server)
    return context


def client_context(authority: Path) -> ssl.SSLContext:
    """Return a TLS context for a client that trusts this simulator and nobody else."""
    return ssl.create_default_context(cafile=str(authority))


def _are_usable(files: Certificates) -> bool:
    """Tell whether both files exist, belong together and stay valid for a month."""
    try:
        authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
        server = x509.load_pem_x509_certificate(files.server.read_bytes())
        server.verify_directly_issued_by(authority)
        server_context(files)
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, ssl.SSLError, x509.ExtensionNotFound, InvalidSignature):
        return False
    limit = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=_RENEW_DAYS)
    return server.not_valid_after_utc > limit and set(names.get_values_for_type(x509.DNSName)) >= set(HOSTS)


def _make(files: Certificates) -> None:
    """Create the authority, sign one server certificate, write both files."""
    now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    end = now + datetime.timedelta(days=_VALID_DAYS)
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Crypto Trader Pro simulator CA")])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    authority = (
        x509.CertificateBuilder()
        .subject_name(issuer)
        .issuer_name(issuer)
        .public_key(authority_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in HOSTS]
    names.append(x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")))
    server = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Crypto Trader Pro simulator")]))
        .issuer_name(issuer)
        .public_key(server_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    key = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(files.server, key + server.public_bytes(serialization.Encoding.PEM))
    files.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))


def write_private(file: Path, content: bytes) -> None:
    """Write a file that only its owner may read, from its first byte on; replaces atomically."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
