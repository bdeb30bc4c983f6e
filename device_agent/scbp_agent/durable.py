"""Files that must be on the disk, or gone from it."""

import os


def sync(path: str) -> None:
    """Have a file's content, or a folder's names, on the disk for good; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    """Delete a file, if it is there; raises OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
