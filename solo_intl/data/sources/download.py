"""Fetching archives so that a failure leaves the disk as it was."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Seconds without an answer after which an address is given up.
TIMEOUT = 30


class DownloadError(Exception):
    """A file that couldn't be had, with the reason in one line."""


def fetch(url: str, target: Path, md5: str) -> None:
    """Download ``url`` into the file ``target`` and check it.

    Raises:
        DownloadError: no connection, an answer other than the file, or a wrong checksum.
    """
    print(f"downloading {url}", file=sys.stderr)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"{url}: {' '.join(str(error).split())}") from error
    with target.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    if digest.hexdigest() != md5:
        raise DownloadError(f"{url}: incomplete or not the expected file (md5 {digest.hexdigest()})")


@contextmanager
def staging(root: Path) -> Iterator[Path]:
    """A temporary folder inside ``root``, gone afterwards, with the folders made for it if nothing was kept.

    Raises:
        DownloadError: ``root`` can't be written.
    """
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".download-", dir=root))
    except OSError as error:
        raise DownloadError(f"{root} can't be written ({error.strerror})") from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in made:
            with suppress(OSError):  # not empty: something was kept
                folder.rmdir()


def keep(staged: Path, folder: Path) -> None:
    """Move the files of ``staged`` into ``folder``, each whole: other processes may do the same.

    Raises:
        DownloadError: ``folder`` can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(staged.iterdir()):
            os.replace(file, folder / file.name)
    except OSError as error:
        raise DownloadError(f"{folder} can't be written ({error.strerror})") from error
