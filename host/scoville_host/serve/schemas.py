"""Requests of OpenAI's API, as far as the chip can do what they ask: whatever else is refused by name.

Names, ranges and defaults are those of https://platform.openai.com/docs/api-reference (chat, completions).
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import ApiError

__all__ = ["ChatRequest", "CompletionRequest", "parse"]

MOST_CHOICES, MOST_STOPS, MOST_TOP = 16, 4, 20
Text = Annotated[str, Field(min_length=1)]
Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(Request):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class Common(Request):
    """What both kinds of request have.

    Those that are said to have one value only are there because clients send them.
    """

    model: str
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=MOST_STOPS)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    user: str | None = None
    top_p: Annotated[float, Field(ge=1, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict, Field(max_length=0)] | None = None

    @property
    def stops(self):
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def choices(self):
        return self.n or 1

    @property
    def heat(self):
        """The temperature; OpenAI's default is 1."""
        return 1.0 if self.temperature is None else self.temperature

    @property
    def usage_at_the_end(self):
        return self.stream_options is not None and self.stream_options.include_usage


class Part(Request):
    type: Literal["text"]
    text: str


class Message(BaseModel):
    """The chat template sees all members; those of tools, which are not served, are its own affair."""

    model_config = ConfigDict(extra="allow", strict=True)

    role: Text
    content: str | list[Part] | None = None

    def plain(self):
        """As chat templates have it: content is text."""
        found = self.model_dump(exclude_none=True)
        if isinstance(self.content, list):
            found["content"] = "".join(part.text for part in self.content)
        return found | {"content": found.get("content", "")}


class TextFormat(Request):
    type: Literal["text"]


class ChatRequest(Common):
    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None
    response_format: TextFormat | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    store: Literal[False] | None = None
    metadata: dict[str, str] | None = None

    @property
    def limit(self):
        return self.max_completion_tokens or self.max_tokens

    @property
    def top(self):
        if self.top_logprobs and not self.logprobs:
            raise ApiError(400, "top_logprobs without logprobs", param="top_logprobs")
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(Common):
    prompt: Text | Annotated[list[Text], Field(min_length=1)] | Ids | Annotated[list[Ids], Field(min_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None
    best_of: Literal[1] | None = None

    @property
    def limit(self):
        return 16 if self.max_tokens is None else self.max_tokens  # OpenAI's default

    @property
    def top(self):
        return self.logprobs

    @property
    def prompts(self):
        """Each as text or a list of ids."""
        one = isinstance(self.prompt, str) or isinstance(self.prompt[0], int)
        return [self.prompt] if one else self.prompt


def parse(kind, body):
    """A request of JSON; ApiError names the first member that is wrong, and what it may be.

    Parameters
    ----------
    kind : class of the request
    body : bytes
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("constrained", "function")))
        if first["type"] == "extra_forbidden":
            raise ApiError(400, f"unrecognised or unsupported argument: {where}", param=where) from None
        raise ApiError(400, f"{where or 'body'}: {first['msg']}", param=where or None) from None
