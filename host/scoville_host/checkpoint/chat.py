"""Chat templates, rendered as transformers renders them (``utils/chat_template_utils.py``)."""

import json
from datetime import datetime

from jinja2 import TemplateError, pass_eval_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from ..errors import RequestError

__all__ = ["check_messages", "render"]

_REASONING = ("reasoning_content", "thinking", "reasoning")  # names of a message's reasoning, the usual one first


class _Generation(Extension):
    """``{% generation %}``: what the model said, which training marks. Here it is only text."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    @pass_eval_context
    def _said(self, context, caller):
        return caller()


class _Namespace(Namespace):
    """Jinja's, without names that begin with an underscore."""

    def __init__(*args, **kwargs):  # no named parameter: templates may use any name
        self, *args = args
        attributes = dict(*args, **kwargs)
        for name in attributes:
            _Namespace._check(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        _Namespace._check(name)
        Namespace.__setitem__(self, name, value)

    @staticmethod
    def _check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"a namespace cannot have {name!r}, which begins with an underscore")


class _Dict:
    """``dict``, without the attributes by which a template could get out."""

    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args, **kwargs):
        return dict.fromkeys(*args, **kwargs)


def _raise(message):
    raise TemplateError(message)


def _tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _environment():
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise, "dict": _Dict(), "namespace": _Namespace,
                            "strftime_now": lambda form: datetime.now().strftime(form)}
    return environment


def _prepared(message):
    """Without what is None; reasoning under the names that templates read."""
    message = {key: value for key, value in message.items() if value is not None}
    reasoning = next((message[name] for name in _REASONING if name in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def render(template, messages, /, *, add_generation_prompt=True, tools=None, documents=None, **variables):
    """The text of a conversation.

    Parameters
    ----------
    template : Jinja source
    messages : dicts with ``role`` and ``content``, and what else the template knows
    add_generation_prompt : whether it ends where the answer begins
    tools, documents : lists of dicts, or None
    variables : whatever else the template may name, such as the special tokens

    Raises
    ------
    RequestError
        Whatever goes wrong in the template, in one line.
    """
    try:
        return _environment().from_string(template).render(
            messages=[_prepared(message) for message in messages], tools=tools, documents=documents,
            add_generation_prompt=add_generation_prompt, **variables)
    except Exception as error:  # a template computes: it can fail in every way in which Python can
        said = str(error) or type(error).__name__
        raise RequestError(f"the model's chat template does not work ({' '.join(said.split())}); use --raw") from None


def check_messages(source, messages):
    """Refuse what is no conversation.

    Raises
    ------
    RequestError
    """
    if not isinstance(messages, list) or not messages:
        raise RequestError(f"{source}: it must be a list of messages, such as "
                           '[{"role": "user", "content": "Hello"}]')
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RequestError(f"{source}: message {number} must be a dict with \"role\" and \"content\"")
