"""Import of a checkpoint, whatever kind of file it is."""

from pathlib import Path

from ..errors import RequestError

__all__ = ["load_checkpoint"]


def load_checkpoint(path, name=None):
    """The `Model` of a Hugging Face directory or a GGUF file.

    Parameters
    ----------
    name : what to call the model; the file's own name if None.

    Raises
    ------
    RequestError
        If there is nothing usable at `path`; the message says what is wrong.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / "config.json").exists() and not (path / "adapter_config.json").exists():
            raise RequestError(f"{path}: this directory has no config.json, so it is not a Hugging Face checkpoint")
        from .huggingface import load_huggingface as load
    elif path.is_file():
        with open(path, "rb") as file:
            if file.read(4) != b"GGUF":
                raise RequestError(f"{path}: neither a GGUF file nor a checkpoint directory")
        from .gguf_file import load_gguf as load
    else:
        raise RequestError(f"{path}: no such file or directory")
    model = load(path)
    if name:
        model.name = name
    return model
