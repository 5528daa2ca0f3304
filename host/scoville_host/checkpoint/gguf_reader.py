"""The package gguf's reader for files that nobody vouches for: nothing beyond the file is read, nothing is endless."""

import numpy as np
from gguf import GGUFReader, GGUFValueType

__all__ = ["BoundedReader"]

ELEMENTS = 1 << 21  # of all arrays together; the largest vocabularies have some 800,000 tokens and merges
COUNT = 1 << 16  # of metadata, and of tensors


class BoundedReader(GGUFReader):
    """A `gguf.GGUFReader` whose loops end with the file and whose arrays are views of it.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError, KeyError, IndexError
        If it is broken, or big-endian.
    """

    def __init__(self, path):
        self.elements = 0
        super().__init__(path, "r")

    def _get(self, offset, dtype, count=1, override_order=None):
        if self.byte_order != "I":
            raise ValueError("big-endian; gguf-convert-endian makes it little-endian")
        dtype, count, offset = np.dtype(dtype), int(count), int(offset)
        if offset + count * dtype.itemsize > len(self.data):
            raise ValueError(f"{count * dtype.itemsize:,} bytes at {offset:,} lie beyond its end")
        return np.ndarray(count, dtype, self.data, offset)

    def _get_field_parts(self, orig_offs, raw_type):
        if raw_type != GGUFValueType.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)
        header = [self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)]
        kind, count = GGUFValueType(header[0][0]), int(header[1][0])
        self.elements += count
        if self.elements > ELEMENTS:
            raise ValueError(f"its arrays have {self.elements:,} elements; at most {ELEMENTS:,} are read")
        start = orig_offs + 12
        if kind in self.gguf_scalar_to_np:
            values = self._get(start, self.gguf_scalar_to_np[kind], count)
            return 12 + values.nbytes, [*header, values], [2], [GGUFValueType.ARRAY, kind]
        if kind != GGUFValueType.STRING:
            raise ValueError(f"an array of {kind.name.lower()}s")
        data, parts, end = memoryview(self.data), [], start
        for _ in range(count):
            length = int.from_bytes(data[end:end + 8], "little")
            end += 8 + length
            if end > len(data):
                raise ValueError("a text reaches beyond its end")
            parts.append(data[end - length:end])
        return end - orig_offs, [*header, *parts], range(2, 2 + count), [GGUFValueType.ARRAY, kind]

    def _build_fields(self, offs, count):
        return super()._build_fields(offs, self._bounded(count))

    def _build_tensor_info(self, offs, count):
        return super()._build_tensor_info(offs, self._bounded(count))

    def _bounded(self, count):
        if count > COUNT:
            raise ValueError(f"it speaks of {int(count):,} entries; at most {COUNT:,} are read")
        return int(count)
