"""Keys to sign with, made for a test."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "K-256": ec.SECP256K1()}


def write_pair(folder: Path, name: str = "key", *, curve: str = "P-256", password: str | None = None) -> Path:
    """Write NAME.pem and NAME.pub, return the private one; the curve "RSA" is a key of another kind."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    key = rsa.generate_private_key(65537, 2048) if curve == "RSA" else ec.generate_private_key(CURVES[curve])
    locked = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    private = folder / f"{name}.pem"
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    (folder / f"{name}.pub").write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private
