"""A conversation: each turn is put into the chat template with all that was said before it."""

from ..errors import RequestError
from .generate import generate

__all__ = ["Conversation"]


class Conversation:
    """What was said so far.

    Parameters
    ----------
    session : `Session`
    system : message in front of it, or None
    settings : of `generate.generate`, the same in each turn

    Raises
    ------
    RequestError
        If the model has no tokenizer or no chat template.
    """

    def __init__(self, session, system=None, **settings):
        if session.tokenizer is None or not session.tokenizer.template:
            lacks = "tokenizer" if session.tokenizer is None else "chat template"
            raise RequestError(f"{session.image.source} has no {lacks}, so it cannot be talked with; "
                               "see scoville generate")
        self.session, self.system, self.settings = session, system, settings
        self.begin()

    def begin(self):
        """Forget all but the system message."""
        self.messages = [] if self.system is None else [{"role": "system", "content": self.system}]

    def say(self, text, max_new, write):
        """Say something; `write` is called with the answer as it comes. Returns the answer.

        Raises
        ------
        RequestError
            If the template refuses it, or the context has no room. Then it was not said.
        """
        asked = [*self.messages, {"role": "user", "content": text}]
        tokenizer, stops = self.session.tokenizer, self.session.stop_ids()
        _, result = generate(self.session, tokenizer.encode_chat(asked), max_new, stop_ids=stops, check=False,
                             write=write, **self.settings)
        tokens = result.tokens[:-1] if result.tokens[-1] in stops else result.tokens
        answer = tokenizer.decode(tokens)
        self.messages = [*asked, {"role": "assistant", "content": answer}]
        return answer
