"""From names to something that runs: a compiled model, its tokenizer, and the prompt's token ids."""

from dataclasses import dataclass, replace
from pathlib import Path

from scoville.config import ChipConfig

from ..checkpoint.tokenizer import Tokenizer
from ..compiler.image import Image
from ..errors import RequestError

__all__ = ["DEFAULT_CONFIGS", "Prompt", "Session", "find_config", "open_session", "parse_ids", "parse_prompt"]

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


def open_session(model, config=None, *, weights=None, context=None, layers=None, report=lambda line: None, text=True,
                 adapt=lambda config: config):
    """Import and compile a model.

    Parameters
    ----------
    model : name, directory or file; see `models.resolve`.
    config : name of a configuration, a `ChipConfig`, or None for the first of `DEFAULT_CONFIGS` that the model fits.
    layers : only so many of the model's first layers; None for all.
    report : called with a line of text about each step.
    text : whether a tokenizer is wanted; None: if there is one that can be used.
    adapt : what makes of each configuration the one that is compiled for.

    Raises
    ------
    RequestError
    """
    from ..checkpoint.load import load_checkpoint
    from ..checkpoint.models import resolve
    from ..compiler.compiler import compile_model

    configs = [adapt(each if isinstance(each, ChipConfig) else find_config(each))
               for each in ([config] if config else DEFAULT_CONFIGS)]
    name, path = resolve(model, report)
    report(f"reading {path}")
    loaded = load_checkpoint(path, name, weights=weights)
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


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a user wants to be answered or continued: text, token ids as text, or a file with a conversation.

    Members
    -------
    text, ids, chat : one of the three
    system : what comes in front of a conversation, or None
    raw : text is continued as it is, not put into the model's chat template
    """

    text: str | None = None
    ids: str | None = None
    chat: Path | None = None
    system: str | None = None
    raw: bool = False

    def check(self):
        """Refuse what contradicts itself; RequestError."""
        if [self.text, self.ids, self.chat].count(None) != 2:
            raise RequestError("give either --prompt TEXT or --prompt-ids 1,2,3 or --chat FILE.json")
        if self.raw and self.chat:
            raise RequestError("--raw with --chat; a conversation needs the model's chat template")
        if self.system is not None and (self.raw or self.ids is not None):
            raise RequestError(f"--system with {'--raw' if self.raw else '--prompt-ids'}; it needs the model's chat "
                               "template: --prompt TEXT or --chat FILE.json")

    def conversation(self):
        """(messages, other variables of the template); RequestError if the file is none."""
        if self.chat is None:
            messages, more = [{"role": "user", "content": self.text}], {}
        else:
            messages, more = _read_chat(self.chat)
        if self.system is not None:
            if messages[0]["role"] == "system":
                raise RequestError(f"--system with --chat {self.chat}, which has a system message of its own")
            messages = [{"role": "system", "content": self.system}, *messages]
        return messages, more


def _read_chat(path):
    """A list of messages, or a dict of them and of other variables: tools, documents ..."""
    from ..checkpoint.chat import check_messages
    from ..checkpoint.schema import read_value

    found = read_value(path)
    more = found if isinstance(found, dict) else {"messages": found}
    messages = more.pop("messages", None)
    check_messages(path, messages)
    for name in ("tools", "documents"):
        if not isinstance(more.get(name, []), list | None):
            raise RequestError(f"{path}: {name} must be a list")
    return messages, more


def parse_prompt(session, prompt):
    """The prompt's token ids: of text (in the model's chat template, unless `raw` or it has none), or as given.

    Raises
    ------
    RequestError
        If there is not exactly one kind of prompt, or text but no tokenizer.
    """
    prompt.check()
    if prompt.ids is not None:
        return parse_ids(prompt.ids)
    tokenizer = session.tokenizer
    if tokenizer is None:
        raise RequestError(f"{session.image.source} has no tokenizer; give --prompt-ids 1,2,3 instead of text")
    if tokenizer.template and not prompt.raw:
        messages, more = prompt.conversation()
        return tokenizer.encode_chat(messages, **more)
    if prompt.chat is not None or prompt.system is not None:
        raise RequestError(f"{session.image.source} has no chat template; give --prompt TEXT alone")
    return tokenizer.encode(prompt.text)
