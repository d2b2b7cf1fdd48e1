"""Files that are there whole or not at all, and arrays that are what was written. No pickle anywhere."""

from __future__ import annotations

import ast
import hashlib
import io
import math
import os
import re
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

SEAL = "sha256"
"""A sealed file's name for the hash of its other arrays."""

MOST_WORDS = 200
"""Characters of another library's message that a line quotes: zipfile's may hold the whole file."""

MOST_HEADER = 4096
"""Bytes of an array's header that are read: ours take 128."""

NUMBERS = r"[<>|](b1|[iu][1248]|f[248])"
"""What an array may hold, as NumPy's headers have it: truth values, whole numbers, real ones. No objects, no text."""


# ---------------------------------------------------------------------------------------------- files
def write_atomically(path: Path, content: bytes, *, durable: bool = True, own: bool = False) -> None:
    """Write a file so that it is there whole or not at all: temporary file, fsync (if durable), rename.

    ``own``: for its owner's eyes alone (mode 600). Neutral: for whom the umask says, as results are.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        with open(temporary, "xb", opener=_own if own else None) as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        settle(path.parent)


def _own(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def append(path: Path, text: str, *, durable: bool = True) -> None:
    """Add text to the end of a file, on the disk when this returns (if durable; a new file's name is not yet)."""
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def settle(folder: Path) -> None:
    """Put a folder's names on the disk: a renamed file is durable only with them. Not possible on Windows."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------------------------------------- arrays
def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], *, durable: bool = True, own: bool = False) -> None:
    """Write named arrays as an .npz file, atomically (``own``: see :func:`write_atomically`)."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue(), durable=durable, own=own)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read an .npz file as NumPy writes it; nothing larger than the file itself is ever made of it.

    Raises
    ------
    SettingsError
        One line, when it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file; is {path.parent} a run folder?") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read ({error})") from None
    try:
        return _unpacked(content)
    except Exception as error:  # whatever an archive of any bytes makes of zipfile
        why = " ".join(str(error).split())[:MOST_WORDS]
        raise SettingsError(f"{path}: cannot be read ({type(error).__name__}: {why})") from None


def _unpacked(content: bytes) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("compressed, expected arrays as they are")
        if sum(entry.file_size for entry in entries) > len(content):
            raise ValueError("says that it holds more than it does")
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name in found:
                raise ValueError(f"two arrays are named {name}")
            found[name] = parsed_array(archive.read(entry)).copy()
    return found


def parsed_array(data: bytes) -> NDArray[Any]:
    """Return the array of numbers that ``.npy`` bytes hold: a view of them, not to be written to.

    NumPy's own reader makes what the header promises before it looks whether it is there.

    Raises
    ------
    ValueError
        When the bytes are no array of numbers, or not of the length that their header gives.
    """
    header = io.BytesIO(data)
    version = np.lib.format.read_magic(header)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the .npy format, expected (1, 0)")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(header.read(width), "little")
    if length > min(MOST_HEADER, len(data)):
        raise ValueError(f"a header of {length} bytes, expected at most {MOST_HEADER}")
    start = header.tell() + length
    described = _literal(data[header.tell() : start])
    if not isinstance(described, dict) or set(described) != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header is none of NumPy's")
    shape, kind = described["shape"], described["descr"]
    if not (isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)):
        raise ValueError("its header gives no shape")
    if not isinstance(kind, str) or re.fullmatch(NUMBERS, kind) is None:
        raise ValueError(f"holds {kind!r:.20}, expected numbers")
    dtype = np.dtype(kind)
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ValueError(f"{len(data) - start} bytes of data, expected {shape} of {dtype}")
    flat = np.frombuffer(data, dtype, offset=start)
    return flat.reshape(shape, order="F" if described["fortran_order"] is True else "C")


def _literal(text: bytes) -> Any:
    try:
        return ast.literal_eval(text.decode("latin-1").strip())
    except (SyntaxError, TypeError, ValueError, MemoryError, RecursionError):
        raise ValueError("its header is no literal") from None


def model_hash(weights: Mapping[str, NDArray[Any]]) -> str:
    """Return SHA-256 over name, dtype, shape and little-endian bytes of each array, in order."""
    digest = hashlib.sha256()
    for name, array in weights.items():
        digest.update(f"{name} {array.dtype.name} {tuple(array.shape)}\n".encode())
        digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def write_sealed(path: Path, arrays: Mapping[str, NDArray[Any]], *, durable: bool = True, own: bool = False) -> None:
    """Write named arrays with the hash that :func:`read_sealed` checks, atomically (``own``: mode 600)."""
    seal = np.frombuffer(bytes.fromhex(model_hash(arrays)), np.uint8)
    write_arrays(path, {**arrays, SEAL: seal}, durable=durable, own=own)


def read_sealed(path: Path) -> dict[str, NDArray[Any]]:
    """Read what :func:`write_sealed` wrote.

    Raises
    ------
    SettingsError
        One line, when it cannot be read or is not what was written.
    """
    arrays = read_arrays(path)
    seal = arrays.pop(SEAL, None)
    if seal is None or seal.tobytes().hex() != model_hash(arrays):
        raise SettingsError(f"{path}: does not match its checksum; it is torn or was edited")
    return arrays
