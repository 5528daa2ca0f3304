"""Reading safetensors files: lazily, by the package safetensors, which checks a header against its file."""

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from ..errors import RequestError
from .model import Tensor
from .schema import JSON_BYTES

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

    def shape(self, name):
        """The shape of a tensor; nothing is read."""
        return tuple(self.file.get_slice(name).get_shape())

    def read(self, name):
        """One tensor as a `Tensor` of float32 values."""
        kind = self.file.get_slice(name).get_dtype()
        if kind not in _DTYPES:
            raise RequestError(f"{self.path}: tensor {name!r} has type {kind}; supported are {', '.join(_DTYPES)}")
        return Tensor(kind, values=self.file.get_tensor(name).astype(np.float32))
