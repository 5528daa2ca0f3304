"""A third public client, LiteLLM, as it comes: every text is the golden model's alone. Without the package the tests
are skipped: ``pip install litellm``."""

import os

import pytest
from serving import alone, running

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its price list is not fetched
litellm = pytest.importorskip("litellm")

ONCE = "Once upon a time"
CHAT = {"model": "hosted_vllm/tiny", "messages": [{"role": "user", "content": ONCE}], "max_tokens": 8,
        "temperature": 0.7, "seed": 3}
COMPLETION = {"model": "text-completion-openai/tiny", "prompt": ONCE, "max_tokens": 8, "temperature": 0}


@pytest.fixture(scope="module")
def where():
    with running() as served:
        yield {"api_base": f"{served.url}/v1", "api_key": "none", "num_retries": 0}


def test_chat(where):
    found = litellm.completion(**CHAT, **where)
    text, logits = alone(ONCE, 8, 0.7, 3, chat=True)
    assert found.choices[0].message.content == text and found.usage.completion_tokens == len(logits)
    assert found.choices[0].finish_reason == "length"


def test_chat_streamed(where):
    parts = list(litellm.completion(**CHAT, **where, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == alone(ONCE, 8, 0.7, 3, chat=True)[0]
    assert [part.choices[0].finish_reason for part in parts][-1] == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_completion(where, stream):
    found = litellm.text_completion(**COMPLETION, **where, stream=stream)
    parts = list(found) if stream else [found]
    assert "".join(part.choices[0].text or "" for part in parts) == alone(ONCE, 8)[0]


def test_refused(where):
    """An error has a form that the client knows."""
    with pytest.raises(litellm.exceptions.NotFoundError, match="there is no model"):
        litellm.completion(**CHAT | {"model": "hosted_vllm/other"}, **where)
