"""`model.sig`: a key's signature over all files of a folder, made and checked offline by the package model-signing.

It is written last and lists the sha256 of every file, SHA256SUMS too, but its own and those of hidden files. The file
is a Sigstore bundle: an in-toto statement of the files in a DSSE envelope. Knows nothing of checkpoints. Needs the
extra `sign`.
"""

import base64
import binascii
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any

from knedit.checkpoints.folder import SIGNATURE, reach
from knedit.checkpoints.strict_json import parse_json, read_json
from knedit.errors import CheckpointError

INSTALL = 'Run: pip install "knedit[sign]"'
CURVES = "an elliptic-curve key (P-256, P-384 or P-521) in PEM"
IGNORED = (SIGNATURE, ".cache")  # .cache: what the Hub's client leaves in a folder that it fills; .git* is ignored too
SHAPE = {"mediaType", "verificationMaterial", "dsseEnvelope"}

AskPassword = Callable[[], str | None]


def no_password() -> None:
    """Give no password, for keys that are not encrypted."""
    return


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature says of itself: the sha256 by file that it covers; nothing of it is proven."""

    files: Mapping[str, str]


def sign_folder(folder: Path, key: Path, *, name: str, password: AskPassword) -> None:
    """Write `model.sig` into the folder, which the statement calls `name`; there may be none yet.

    `password` is asked if the key is encrypted. Raises CheckpointError.
    """
    if (folder / SIGNATURE).exists():
        cure = f"Remove its {SIGNATURE} to sign it anew."
        raise CheckpointError("The folder is signed already", str(folder), cure)
    config = _signer(key, password)
    partial = folder / f".{SIGNATURE}.knedit-partial"
    try:
        config.set_hashing_config(_hashing(folder, name)).sign(folder, partial)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.rename(folder / SIGNATURE)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"The folder cannot be signed: {error}", str(folder)) from error
    finally:
        partial.unlink(missing_ok=True)


def check_key(key: Path, password: AskPassword) -> AskPassword:
    """Raise CheckpointError unless the key can sign; return what gives its password without asking again."""
    told: list[str | None] = []

    def remember() -> str | None:
        if not told:
            told.append(password())
        return told[0]

    _signer(key, remember)
    return remember


def is_signed_by(folder: Path, key: Path, password: AskPassword) -> bool:
    """Tell whether the folder's signature holds and was made by this private key. Raises CheckpointError."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    _signer(key, password)
    content = key.read_bytes()
    try:
        private = load_pem_private_key(content, None)
    except TypeError:
        private = load_pem_private_key(content, (password() or "").encode())
    half = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with NamedTemporaryFile(suffix=".pub") as public:
        Path(public.name).write_bytes(half)
        try:
            check_signature(folder, Path(public.name))
        except CheckpointError:
            return False
    return True


def check_public_key(public_key: Path) -> None:
    """Raise CheckpointError unless the file is a public key that signatures can be checked with."""
    _verifier(public_key)


def check_signature(folder: Path, public_key: Path) -> None:
    """Raise CheckpointError unless the folder's signature was made by the key and fits every file of the folder."""
    _check_shape(folder)
    verifier = _verifier(public_key)
    from cryptography.exceptions import InvalidSignature

    try:
        with redirect_stdout(sys.stderr):  # the library warns by printing
            verifier.set_hashing_config(_hashing(folder, folder.name)).verify(folder, folder / SIGNATURE)
    except InvalidSignature as error:
        what = "The signature is not that of its statement: one of them was changed"
        raise CheckpointError(what, str(folder / SIGNATURE)) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if "Key mismatch" in str(error):
            cure = f"Check with the public key of who signed it: {public_key} is another one's."
            raise CheckpointError("The folder was signed by another key", str(folder), cure) from error
        raise CheckpointError(f"The signature does not hold: {error}", str(folder / SIGNATURE)) from error


def read_signature(folder: Path) -> Signed | None:
    """Return what the folder's signature covers, or None where there is none. Raises CheckpointError, also if broken.

    It is not looked at who signed: `check_signature` does that.
    """
    if not (folder / SIGNATURE).exists():
        return None
    where = str(folder / SIGNATURE)
    bundle = read_json(reach(folder, SIGNATURE))
    try:
        payload = _decoded(bundle["dsseEnvelope"]["payload"])
        statement = parse_json(payload, where)
        resources = statement["predicate"]["resources"]
        files = {str(one["name"]): str(one["digest"]) for one in resources if one["algorithm"] == "sha256"}
        if len(files) != len(resources):
            raise ValueError("a file is listed twice, or not by its sha256")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"The signature is malformed: {error!r}", where, "Fetch the file again.") from error
    return Signed(files)


def coverage_problems(folder: Path, hashes: Mapping[str, str]) -> list[str]:
    """Return a sentence for each file of which `hashes` and the folder's signature, if there is one, tell otherwise."""
    signed = read_signature(folder)
    if signed is None:
        return []
    present = {name: digest for name, digest in hashes.items() if name != SIGNATURE}
    return [
        *(f"{name} is missing, {SIGNATURE} covers it" for name in sorted(signed.files.keys() - present.keys())),
        *(f"{name} is not covered by {SIGNATURE}" for name in sorted(present.keys() - signed.files.keys())),
        *(
            f"{name} is not the file that {SIGNATURE} covers"
            for name in sorted(present.keys() & signed.files.keys())
            if present[name] != signed.files[name]
        ),
    ]


def _check_shape(folder: Path) -> None:
    """Refuse a bundle with anything in it that the library would pass over, so that no bit of the file can change."""
    if not (folder / SIGNATURE).exists():
        raise CheckpointError("The folder is not signed", str(folder), "Run: knedit checkpoint sign DIR --key KEY")
    where = str(folder / SIGNATURE)
    bundle = read_json(reach(folder, SIGNATURE))
    try:
        material, envelope = bundle["verificationMaterial"], bundle["dsseEnvelope"]
        (signature,) = envelope["signatures"]
        _decoded(envelope["payload"]), _decoded(signature["sig"])
        right = (
            bundle.keys() == SHAPE
            and material == {"publicKey": {"hint": material["publicKey"]["hint"]}, "tlogEntries": []}
            and envelope.keys() == {"payload", "payloadType", "signatures"}
            and signature == {"sig": signature["sig"], "keyid": ""}
            and isinstance(material["publicKey"]["hint"], str)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"The signature is malformed: {error!r}", where, "Fetch the file again.") from error
    if not right:
        raise CheckpointError("The signature is not of the form that a key's signature has", where)


def _decoded(text: str) -> bytes:
    """Return what Base64 text stands for. Raises ValueError also where another text would stand for the same."""
    found = base64.b64decode(text, validate=True)
    if base64.b64encode(found).decode() != text:
        raise binascii.Error("not the one way to write this in Base64")
    return found


def _signer(key: Path, password: AskPassword) -> Any:
    signing = _library().signing
    try:
        try:
            return signing.Config().use_elliptic_key_signer(private_key=key)
        except TypeError:  # it is encrypted
            secret = password()
        if secret is None:
            cure = "Set KNEDIT_KEY_PASSWORD, or sign where a terminal can ask for it."
            raise CheckpointError("The key is encrypted, and no password was given", str(key), cure)
        return signing.Config().use_elliptic_key_signer(private_key=key, password=secret.encode())
    except OSError as error:
        raise CheckpointError(f"The key cannot be read: {error.strerror}", str(key)) from None
    except _unfit() as error:
        if "ncorrect password" in str(error):
            raise CheckpointError("The key's password is another one", str(key), "Try again.") from None
        raise CheckpointError(f"The file is no private key to sign with: {CURVES} is", str(key)) from None


def _verifier(public_key: Path) -> Any:
    verifying = _library().verifying
    try:
        return verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except OSError as error:
        raise CheckpointError(f"The key cannot be read: {error.strerror}", str(public_key)) from None
    except _unfit() as error:
        what = f"The file is no public key to verify with: the public half of {CURVES} is"
        raise CheckpointError(what, str(public_key)) from error


def _unfit() -> tuple[type[Exception], ...]:
    """Return what the library raises for files that are no keys, or keys of another kind."""
    from cryptography.exceptions import UnsupportedAlgorithm

    return ValueError, TypeError, AttributeError, UnsupportedAlgorithm


def _library() -> Any:
    try:
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        what = f"Signatures need the package {error.name or 'model-signing'}"
        raise CheckpointError(what, "package model-signing", INSTALL) from error
    return model_signing


def _hashing(folder: Path, name: str) -> Any:
    """Return how the library is to hash the folder: all but hidden files, under the name that it will appear with."""
    from model_signing import hashing, manifest

    class Named(hashing.Config):
        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> Any:
            found = super().hash(model_path, files_to_hash=files_to_hash)
            items = [
                manifest.FileManifestItem(path=PurePosixPath(one.identifier), digest=one.digest)
                for one in found.resource_descriptors()
            ]
            return manifest.Manifest(name, items, manifest.SerializationType.from_args(found.serialization_type))

    hidden = [path.relative_to(folder) for path in folder.rglob(".*") if path.name not in IGNORED]
    config: Any = Named
    return config().set_ignored_paths(paths=[*IGNORED, *hidden]).set_allow_symlinks(True)
