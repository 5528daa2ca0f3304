"""Reading safetensors files: lazily, with the checks that turn a broken download into one clear line.

The safetensors package's numpy interface knows no BF16, and most checkpoints are BF16; the format is a length, a JSON
header and the data, so it is read here. (https://github.com/huggingface/safetensors#format)
"""

import json

import numpy as np

from ..errors import RequestError
from .model import Tensor

__all__ = ["SafetensorsFile"]

_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


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
            size = path.stat().st_size
            with open(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if size < 8 or length > size - 8:
                    raise RequestError(f"{path}: truncated, or not a safetensors file")
                header = json.loads(file.read(length))
        except OSError as error:
            raise RequestError(f"{path}: {error.strerror}") from None
        except ValueError:
            raise RequestError(f"{path}: not a safetensors file") from None
        header.pop("__metadata__", None)
        self.header = header
        self.start = 8 + length
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if self.start + end > size:
            raise RequestError(f"{path}: truncated; it holds {size} bytes and its header speaks of {self.start + end}")

    def __iter__(self):
        return iter(self.header)

    def read(self, name):
        """One tensor as a `Tensor` of float32 values."""
        entry = self.header[name]
        kind, (begin, end) = entry["dtype"], entry["data_offsets"]
        if kind not in _DTYPES:
            raise RequestError(f"{self.path}: tensor {name!r} has type {kind}; supported are {', '.join(_DTYPES)}")
        dtype = np.dtype(_DTYPES[kind])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        if end - begin != count * dtype.itemsize:
            raise RequestError(f"{self.path}: tensor {name!r} has {end - begin} bytes; "
                               f"its shape {entry['shape']} needs {count * dtype.itemsize}")
        raw = np.fromfile(self.path, dtype, count, offset=self.start + begin).reshape(entry["shape"])
        if kind == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        return Tensor(kind, values=raw.astype(np.float32, copy=False))
