"""Where knedit keeps what it is not told to keep elsewhere: read from the environment, never at import."""

import getpass
import os
from pathlib import Path

DEFAULT_DATABASE = "sqlite:///knedit.db"


def database_url(given: str | None = None) -> str:
    """Return the catalog's address: `given`, else `KNEDIT_DATABASE`, else `knedit.db` in the working folder."""
    return given or os.environ.get("KNEDIT_DATABASE") or DEFAULT_DATABASE


def cache_folder() -> Path:
    """Return the folder of converted models: `KNEDIT_CACHE`, else `$XDG_CACHE_HOME/knedit`, else `~/.cache/knedit`."""
    if told := os.environ.get("KNEDIT_CACHE"):
        return Path(told).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "knedit"


def user_name() -> str:
    """Return who signs what is written into a catalog: `KNEDIT_USER`, else the login name, or "" without either."""
    if told := os.environ.get("KNEDIT_USER", "").strip():
        return told
    try:
        return getpass.getuser().strip()
    except (ImportError, KeyError, OSError):  # no such user on this machine, as in a container
        return ""


def key_password() -> str | None:
    """Return the password of a signing key, `KNEDIT_KEY_PASSWORD`, or None where it is not set."""
    return os.environ.get("KNEDIT_KEY_PASSWORD")
