"""From names to something that runs: a compiled model, its tokenizer, and the prompt's token ids."""

from dataclasses import dataclass, replace

from scoville.config import ChipConfig

from ..checkpoint.tokenizer import Tokenizer
from ..compiler.image import Image
from ..errors import RequestError

__all__ = ["DEFAULT_CONFIGS", "Session", "check_prompt", "find_config", "open_session", "parse_ids", "parse_prompt"]

DEFAULT_CONFIGS = ("nano", "kria")  # without --config: the first that the model fits


@dataclass(kw_only=True, eq=False)
class Session:
    """A compiled model and its tokenizer (None if the checkpoint has none)."""

    image: Image
    tokenizer: Tokenizer | None

    def stop_ids(self):
        """Ids that end a text, by the checkpoint or its tokenizer, the likeliest first."""
        named = (*self.image.eos_ids, *(self.tokenizer.eos_ids if self.tokenizer else ()))
        return list(dict.fromkeys(token for token in named if 0 <= token < self.image.vocab))


def find_config(name):
    """The named `ChipConfig`; RequestError lists those there are."""
    from scoville.config import get_config

    try:
        return get_config(name)
    except ValueError as error:
        raise RequestError(str(error)) from None


def open_session(model, config=None, *, weights=None, context=None, layers=None, report=lambda line: None, text=True):
    """Import and compile a model.

    Parameters
    ----------
    model : name, directory or file; see `models.resolve`.
    config : name of a configuration, a `ChipConfig`, or None for the first of `DEFAULT_CONFIGS` that the model fits.
    layers : only so many of the model's first layers; None for all.
    report : called with a line of text about each step.
    text : whether a tokenizer is wanted; None: if there is one that can be used.

    Raises
    ------
    RequestError
    """
    from ..checkpoint.load import load_checkpoint
    from ..checkpoint.models import resolve
    from ..compiler.compiler import compile_model

    configs = [each if isinstance(each, ChipConfig) else find_config(each)
               for each in ([config] if config else DEFAULT_CONFIGS)]
    name, path = resolve(model, report)
    report(f"reading {path}")
    loaded = load_checkpoint(path, name)
    if layers is not None:
        if not 1 <= layers <= loaded.layers:
            raise RequestError(f"--layers is {layers}; {name} has {loaded.layers}, so it must be 1 to {loaded.layers}")
        loaded = replace(loaded, layers=layers)
    for chosen in configs:
        try:
            image = compile_model(loaded, chosen, weights=weights, context=context)
            break
        except RequestError:
            if chosen is configs[-1]:
                raise
    report(f"compiled {name} for {image.config.name}: {len(image.memory):,} bytes, context {image.context}")
    return Session(image=image, tokenizer=None if text is False else _tokenizer(path, text, report))


def _tokenizer(path, needed, report):
    from ..checkpoint.tokenizer import load_tokenizer

    try:
        return load_tokenizer(path)
    except RequestError as error:
        if needed:
            raise
        report(f"tokens are shown as ids ({error})")
        return None


def parse_ids(text):
    """Token ids written as ``1,2,3``.

    Raises
    ------
    RequestError
        If one is not a number.
    """
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise RequestError(f"--prompt-ids is {text!r}; it must be numbers with commas between, such as 1,2,3") from None


def check_prompt(prompt, prompt_ids):
    """Refuse both or neither of a text and token ids."""
    if (prompt is None) == (prompt_ids is None):
        raise RequestError("give either --prompt TEXT or --prompt-ids 1,2,3")


def parse_prompt(session, prompt, prompt_ids, raw=False):
    """The prompt's token ids: of text (in the model's chat template, unless `raw` or it has none), or as given.

    Raises
    ------
    RequestError
        If there is not exactly one of the two, or text but no tokenizer.
    """
    check_prompt(prompt, prompt_ids)
    if prompt_ids is not None:
        return parse_ids(prompt_ids)
    if session.tokenizer is None:
        raise RequestError(f"{session.image.source} has no tokenizer; give --prompt-ids 1,2,3 instead of --prompt")
    if session.tokenizer.template and not raw:
        return session.tokenizer.encode_chat([{"role": "user", "content": prompt}])
    return session.tokenizer.encode(prompt)
