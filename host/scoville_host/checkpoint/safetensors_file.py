"""Reading safetensors files: lazily, by the package safetensors, which checks a header against its file."""

import math
import re

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from ..errors import RequestError
from .schema import JSON_BYTES
from .stored import StoredTensor

__all__ = ["SafetensorsFile"]

_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}  # its import tells numpy of BF16


class SafetensorsFile:
    """The tensors of one file, by name.

    Raises
    ------
    RequestError
        If the file is missing, truncated or not safetensors.
    """

    def __init__(self, path):
        self.path = path
        try:
            with open(path, "rb") as file:
                header = int.from_bytes(file.read(8), "little")
                size = file.seek(0, 2)
            if header > min(JSON_BYTES, size - 8):
                raise RequestError(f"{path}: truncated, or not a safetensors file: {size:,} bytes, of which its header "
                                   f"should have {header:,}, and at most {JSON_BYTES:,} are read")
            self.file = safe_open(path, framework="np")
        except (OSError, ValueError) as error:  # ValueError: of a name that holds a zero byte
            raise RequestError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        except SafetensorError as error:
            raise RequestError(f"{path}: truncated, or not a safetensors file ({error})") from None
        self.names = set(self.file.keys())

    def __iter__(self):
        return iter(sorted(self.names))

    def stored(self, name):
        """The `StoredTensor` of a name; nothing is read."""
        piece = self.file.get_slice(name)
        kind, shape = piece.get_dtype(), tuple(piece.get_shape())
        bits = re.search(r"\d+", kind)  # BOOL has none

        def load(start, stop):
            values = piece[start:stop] if shape else self.file.get_tensor(name)
            return values.astype(np.float32)

        refusal = None if kind in _DTYPES else f"has type {kind}; supported are {', '.join(_DTYPES)}"
        return StoredTensor(source=self.path, name=name, dtype=kind, shape=shape, load=load, refusal=refusal,
                            size=math.prod(shape) * int(bits[0] if bits else 8) // 8)
