"""Families of models, a file each: names in both kinds of file, shapes, facts of the lowering; docs/families.md."""

from ...errors import RequestError
from .glm import GLM
from .granite import GRANITE
from .llama import LLAMA
from .mistral import MISTRAL
from .phi3 import PHI3
from .qwen2 import QWEN2
from .smollm3 import SMOLLM3

__all__ = ["FAMILIES", "family_of"]

FAMILIES = [LLAMA, MISTRAL, QWEN2, GRANITE, SMOLLM3, PHI3, GLM]


def family_of(source, kind, architecture):
    """The `Family` that files of a kind, ``"huggingface"`` or ``"gguf"``, call `architecture`.

    Raises
    ------
    RequestError
        If there is none; the message names `source` and what there is.
    """
    known = {dialect.architecture: family for family in FAMILIES if (dialect := getattr(family, kind))}
    if not isinstance(architecture, str) or architecture not in known:
        raise RequestError(f"{source}: architecture {architecture!r:.80} is not supported; "
                           f"supported are {', '.join(known)}")
    return known[architecture]
