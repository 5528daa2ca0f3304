"""Import of a checkpoint, whatever kind of file it is."""

from pathlib import Path

from ..errors import RequestError

__all__ = ["kind_of", "load_checkpoint"]


def kind_of(path):
    """``"huggingface"`` or ``"gguf"``.

    Raises
    ------
    RequestError
        If there is nothing usable at `path`; the message says what is wrong.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / "config.json").exists() and not (path / "adapter_config.json").exists():
            raise RequestError(f"{path}: this directory has no config.json, so it is not a Hugging Face checkpoint")
        return "huggingface"
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(4) != b"GGUF":
                raise RequestError(f"{path}: neither a GGUF file nor a checkpoint directory")
        return "gguf"
    raise RequestError(f"{path}: no such file or directory")


def load_checkpoint(path, name=None, *, weights=None, **options):
    """The `Model` of a Hugging Face directory or a GGUF file.

    Parameters
    ----------
    name : what to call the model; the file's own name if None.
    weights : name of the format that all its matrices are to become; None leaves them as they are.
    options : `refusals`, `outline`, as in `huggingface.load_huggingface`.

    Raises
    ------
    RequestError
        As `kind_of`, or if the checkpoint cannot run.
    """
    path = Path(path)
    if kind_of(path) == "huggingface":
        from .huggingface import load_huggingface as load
    else:
        from .gguf_file import load_gguf as load
    model = load(path, requantise=weights is not None, **options)
    if name:
        model.name = name
    return model
