"""All proofs, from the files of this folder."""

import importlib
import pkgutil

import formal

__all__ = ["find"]


def find(pattern="", *, quick=False):
    """Proofs whose name has the text `pattern`, by name; with `quick` those that `make test` runs.

    A file has a list `PROOFS`, or a function `proofs(pattern, quick)` where the list takes long to make.
    """
    found = []
    for module in pkgutil.walk_packages(formal.__path__, "formal."):
        if module.name.endswith("__main__"):
            continue
        file = importlib.import_module(module.name)
        found += file.proofs(pattern, quick) if hasattr(file, "proofs") else getattr(file, "PROOFS", [])
    return sorted((proof for proof in found if pattern in proof.name and (proof.quick or not quick)),
                  key=lambda proof: proof.name)
