"""Fingerprints of files."""

import hashlib
from pathlib import Path


def file_digest(file: Path) -> str:
    """
    SHA-256 of a file as a hexadecimal string, read in pieces: replay buffers are large.

    :param file: The file.
    """
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def content_digest(content: bytes) -> str:
    """
    SHA-256 of bytes as a hexadecimal string.

    :param content: The bytes.
    """
    return hashlib.sha256(content).hexdigest()
