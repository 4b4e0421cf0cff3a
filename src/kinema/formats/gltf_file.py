"""The container of glTF 2.0 (.glb, .vrm, .gltf): its JSON and the arrays in its buffers, read without trust, written.

Written from the specification (Khronos, glTF 2.0, 2021). Nothing outside of the file itself is ever opened.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import os
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from kinema.formats.files import atomic_write

MAX_BYTES = 500_000_000
MAX_TEXT_BYTES = 100_000_000  # of JSON, of which a .gltf with its buffers inside consists
MAX_VALUES = 1_000_000  # in the JSON; each costs about 100 bytes of memory
MAX_ITEMS = 50_000  # nodes, accessors, animation channels and so on
MAX_MAGNITUDE = 1e9
PIECE_BYTES = 1_000_000

# the length field of the file is 32 bits wide
_MAX_WRITTEN = 2**32 - 1
_DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COMPONENT = {"uint8": 5121, "uint16": 5123, "uint32": 5125, "float32": 5126}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class Document:
    """The JSON of a glTF file, with typed and bounded access to it and to its buffers.

    Raises:
        ValueError: from every method, where the file is damaged; the sentence names the file and the place.
        OSError: the file cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._binary = (0, 0)  # start and length of the binary chunk in the file
        self._decoded: dict[int, bytes] = {}
        self._lists: dict[str, list[dict[str, Any]]] = {}
        size = self.path.stat().st_size
        if size > MAX_BYTES:
            self.fail(f"{size / 1e6:.0f} MB is more than the {MAX_BYTES / 1e6:.0f} MB that are read; make it smaller")
        # A file's arrays are read once or twice; a small file that says more has one piece read over and over.
        self._numbers_left = max(2_000_000, size)
        self.size = size
        with open(self.path, "rb") as file:
            text = self._json_chunk(file.read(20), size, file)
        self.content = self._parse(text)
        version = self.object(self.content, "asset", "the file").get("version")
        if not str(version).startswith("2."):
            self.fail(f"is glTF {str(version)[:20]}, and only 2.0 is read; export it again as glTF 2.0")

    def _json_chunk(self, head: bytes, size: int, file: Any) -> bytes:
        if head[:4] != b"glTF":
            if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"{":
                self.fail("is not a glTF file: it begins neither with glTF nor with a {")
            self._limit_text(size)
            return head + file.read()
        if len(head) < 20:
            self.fail("is cut off after its header; export it again")
        version, total, length, kind = struct.unpack("<IIII", head[4:20])
        if version != 2:
            self.fail(f"is version {version} of the format, and only 2 is read; export it again as glTF 2.0")
        if total > size or 20 + length > total:
            self.fail(f"says {max(total, 20 + length)} bytes but has {size}; it is cut off or damaged, export it again")
        if kind != 0x4E4F534A:
            self.fail("has no JSON as its first part; it is damaged, export it again")
        self._limit_text(length)
        text = file.read(length)
        file.seek(20 + length)
        head = file.read(8)
        if 28 + length <= total and len(head) == 8:
            binary, kind = struct.unpack("<II", head)
            if kind == 0x004E4942:
                if 28 + length + binary > total:
                    self.fail("has a binary part that goes past its end; it is damaged, export it again")
                self._binary = (28 + length, binary)
        return text

    def _limit_text(self, length: int) -> None:
        if length > MAX_TEXT_BYTES:
            self.fail(f"has {length / 1e6:.0f} MB of JSON, more than any character needs; save it as .glb")

    def _parse(self, text: bytes) -> dict[str, Any]:
        if text.count(b",") + text.count(b"{") + text.count(b"[") > MAX_VALUES:
            self.fail("has more JSON than any character needs; remove what is not the character")

        def refuse(word: str) -> NoReturn:
            raise ValueError(f"{word} is not a number")

        try:
            content = json.loads(text.decode("utf-8-sig"), parse_constant=refuse)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:100]
            self.fail(f"its JSON is damaged ({reason}); export it again")
        if not isinstance(content, dict):
            self.fail("its JSON is not an object; export it again")
        return content

    def fail(self, message: str) -> NoReturn:
        raise ValueError(f"{self.path}: {message}")

    def object(self, holder: dict[str, Any], key: str, where: str) -> dict[str, Any]:
        """A JSON object in another; empty where there is none."""
        value = holder.get(key, {})
        if not isinstance(value, dict):
            self.fail(f"{where}: {key} must be an object, found {_shown(value)}; export it again")
        return value

    def objects(self, holder: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
        """A list of JSON objects; empty where there is none."""
        value = holder.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.fail(f"{where}: {key} must be a list of objects; export it again")
        if len(value) > MAX_ITEMS:
            self.fail(f"{where}: {len(value)} {key} are more than any character needs; remove what is not needed")
        return value

    def items(self, key: str) -> list[dict[str, Any]]:
        """A list of the document itself, such as nodes; checked once."""
        if key not in self._lists:
            self._lists[key] = self.objects(self.content, key, "the file")
        return self._lists[key]

    def integer(self, holder: dict[str, Any], key: str, where: str, below: int, default: int | None = None) -> int:
        """A whole number from 0 to before `below`; `default` where there is none."""
        value = holder.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < below:
            self.fail(f"{where}: {key} must be a whole number from 0 to {below - 1}, found {_shown(value)}")
        return value

    def integers(self, holder: dict[str, Any], key: str, where: str, below: int) -> list[int]:
        """A list of whole numbers from 0 to before `below`; empty where there is none."""
        value = holder.get(key, [])
        if not isinstance(value, list):
            self.fail(f"{where}: {key} must be a list, found {_shown(value)}; export it again")
        return [self.integer({key: item}, key, where, below) for item in value]

    def numbers(self, holder: dict[str, Any], key: str, where: str, default: tuple[float, ...]) -> list[float]:
        """A list of finite numbers, as many as `default` has, which it is where there is none."""
        value = holder.get(key, default)
        if not isinstance(value, list | tuple) or len(value) != len(default):
            self.fail(f"{where}: {key} must be {len(default)} numbers, found {_shown(value)}; export it again")
        for number in value:
            if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < MAX_MAGNITUDE:
                self.fail(f"{where}: {key} holds {_shown(number)}, which is not a usable number; export it again")
        return [float(number) for number in value]

    def bytes(self, buffer: int, start: int, length: int, where: str) -> bytes:
        """Part of a buffer."""
        buffers = self.items("buffers")
        if buffer >= len(buffers):
            self.fail(f"{where}: there is no buffer {buffer}; the file is damaged, export it again")
        uri = buffers[buffer].get("uri")
        if uri is None:
            if buffer or not self._binary[1]:
                self.fail(f"{where}: buffer {buffer} holds no data; export it again as .glb")
            if start + length > self._binary[1]:
                self.fail(f"{where}: goes past the end of the file's {self._binary[1]} bytes of data; export it again")
            with open(self.path, "rb") as file:
                file.seek(self._binary[0] + start)
                data = file.read(length)
            if len(data) < length:
                self.fail(f"{where}: the file became shorter while it was read")
            return data
        if buffer not in self._decoded:
            self._decoded[buffer] = self._decode(uri, buffer)
        data = self._decoded[buffer]
        if start + length > len(data):
            self.fail(f"{where}: goes past the end of buffer {buffer}, which has {len(data)} bytes; export it again")
        return data[start : start + length]

    def _decode(self, uri: Any, buffer: int) -> bytes:
        if not isinstance(uri, str) or not uri.startswith("data:"):
            self.fail(f"its data lie in another file ({_shown(uri)}), and only one file is read; save it as .glb")
        head, comma, data = uri.partition(",")
        try:
            if not comma or not head.endswith(";base64"):
                raise binascii.Error("it is not base64")
            return base64.b64decode(data)
        except ValueError as error:
            self.fail(f"buffer {buffer} cannot be decoded ({error}); save it as .glb")

    def pieces(self, buffer: int, length: int) -> Iterator[bytes]:
        """The first `length` bytes of a buffer, part by part."""
        for start in range(0, length, PIECE_BYTES):
            yield self.bytes(buffer, start, min(PIECE_BYTES, length - start), f"buffer {buffer}")

    def accessor(self, index: int, width: int, where: str) -> np.ndarray:
        """The array (N, width) float64 of an accessor with 1, 3, 4 or 16 numbers an element; integers normalised."""
        where = f"{where}, accessor {index}"
        accessors = self.items("accessors")
        if index >= len(accessors):
            self.fail(f"{where}: there is no such accessor; the file is damaged, export it again")
        accessor = accessors[index]
        if _WIDTHS.get(str(accessor.get("type"))) != width:
            self.fail(f"{where}: type must be {_TYPES[width]}, found {_shown(accessor.get('type'))}; export it again")
        count = self.integer(accessor, "count", where, 2**32)
        self._numbers_left -= count * width
        if count < 1 or self._numbers_left < 0:
            self.fail(f"{where}: {count} elements cannot be all that there are; the file is damaged, export it again")
        there = "bufferView" in accessor
        values = self._view(accessor, count, width, where) if there else np.zeros((count, width))
        if "sparse" in accessor:
            sparse = self.object(accessor, "sparse", where)
            changed = self.integer(sparse, "count", f"{where}, sparse", count + 1)
            if changed:
                at = self.object(sparse, "indices", f"{where}, sparse")
                to = {
                    **self.object(sparse, "values", f"{where}, sparse"),
                    "componentType": accessor.get("componentType"),
                }
                rows = self._view(at, changed, 1, f"{where}, sparse indices")[:, 0]
                if rows.min() < 0 or rows.max() >= count:
                    self.fail(f"{where}: sparse indices go past its {count} elements; export it again")
                values[rows.astype(np.int64)] = self._view(to, changed, width, f"{where}, sparse values")
        whole = self.whole(accessor, where)
        values = np.maximum(values / whole, -1) if whole > 1 else values
        if not np.abs(values).max() < MAX_MAGNITUDE:
            self.fail(f"{where}: holds values that are not usable numbers; export it again")
        return values

    def _kind(self, accessor: dict[str, Any], where: str) -> np.dtype:
        component = accessor.get("componentType")
        if isinstance(component, bool) or not isinstance(component, int) or component not in _DTYPES:
            self.fail(f"{where}: componentType {_shown(component)} is none of those there are; export it again")
        return np.dtype(_DTYPES[component])

    def whole(self, accessor: dict[str, Any], where: str) -> float:
        """What the numbers of an accessor are to be divided by: more than 1 for normalised integers."""
        kind = self._kind(accessor, where)
        return float(np.iinfo(kind).max) if accessor.get("normalized") is True and kind.kind in "iu" else 1.0

    def _view(self, accessor: dict[str, Any], count: int, width: int, where: str) -> np.ndarray:
        kind = self._kind(accessor, where)
        views = self.items("bufferViews")
        number = self.integer(accessor, "bufferView", where, max(len(views), 1))
        if not views:
            self.fail(f"{where}: the file has no bufferViews; it is damaged, export it again")
        view, where = views[number], f"{where}, bufferView {number}"
        if any("meshopt" in name for name in self.object(view, "extensions", where)):
            self.fail("its motion or skeleton is packed with meshopt_compression; save it without compression")
        start = self.integer(accessor, "byteOffset", where, 2**32, 0)
        length = self.integer(view, "byteLength", where, 2**32)
        element = kind.itemsize * width
        stride = self.integer(view, "byteStride", where, 2**16, element)
        needed = (count - 1) * stride + element
        if stride < element or start + needed > length:
            self.fail(f"{where}: {count} elements need {start + needed} bytes, and it has {length}; export it again")
        offset = self.integer(view, "byteOffset", where, 2**32, 0)
        data = self.bytes(self.integer(view, "buffer", where, 2**32), offset + start, needed, where)
        strides = (stride, kind.itemsize)
        return np.ndarray((count, width), kind, data, strides=strides).astype(np.float64)


def _shown(value: Any) -> str:
    """What a file holds, short enough for a sentence."""
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    return "nothing" if value is None else repr(value)[:40]


class Buffer:
    """New binary data, with a buffer view and an accessor for every array put into it.

    Args:
        content: the JSON of the document; bufferViews and accessors are added to its lists.
        start: where in buffer 0 the data will stand, a multiple of 4.
    """

    def __init__(self, content: dict[str, Any], start: int = 0) -> None:
        self.chunks: list[bytes] = []
        self.length = start
        self._views = content.setdefault("bufferViews", [])
        self._accessors = content.setdefault("accessors", [])

    def put(self, array: np.ndarray, *, target: int | None = None, bounds: bool = False) -> int:
        """Index of the new accessor for an array (N,) or (N, K)."""
        data = np.ascontiguousarray(array).tobytes()
        view = {"buffer": 0, "byteOffset": self.length, "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        padding = -len(data) % 4
        self.chunks.append(data + b"\0" * padding)
        self.length += len(data) + padding
        accessor: dict[str, Any] = {
            "bufferView": len(self._views),
            "componentType": _COMPONENT[array.dtype.name],
            "count": len(array),
            "type": _TYPES[array[0].size],
        }
        if bounds:
            flat = array.reshape(len(array), -1)
            accessor["min"], accessor["max"] = flat.min(0).tolist(), flat.max(0).tolist()
        self._views.append(view)
        self._accessors.append(accessor)
        return len(self._accessors) - 1


def write_document(path: str | os.PathLike[str], content: dict[str, Any], binary: Iterable[bytes], length: int) -> None:
    """Write a .glb of a JSON document and its binary chunk, which comes in parts and has `length` bytes in all.

    Raises:
        OSError: the file cannot be written.
        ValueError: it would need more than the 4 GiB that a .glb can hold.
    """
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(errors="replace")
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + length
    if total > _MAX_WRITTEN:
        raise ValueError(f"a .glb file holds at most 4 GiB, this motion needs {total / 2**30:.1f}; crop or resample it")
    with atomic_write(path) as temporary_path, open(temporary_path, "wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, total) + struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", length, b"BIN\0"))
        file.writelines(binary)


def animation_name(metadata: Mapping[str, Any], taken: Collection[str] = ()) -> str:
    """What engines list a motion by: its sentence or the file it came from; with a number where that is `taken`."""
    name = str(metadata.get("text") or Path(str(metadata.get("source", ""))).stem or "motion")[:60]
    candidates = itertools.chain([name], (f"{name} {number}" for number in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)


def plain(value: Any) -> str | int | float | bool | None:
    """A value of a motion's metadata as JSON can hold it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    return value if isinstance(value, float) and np.isfinite(value) else str(value)
