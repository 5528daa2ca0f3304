"""The server, by OpenAI's own client and by bytes: every text is the golden model's alone, whoever else is served."""

import asyncio
import contextlib
import hashlib
import json
import re
import socket
import urllib.error
import urllib.request

import numpy as np
import openai
import pytest
from scoville_host.errors import ChipError
from scoville_host.runtime.many.requests import Requests
from scoville_host.runtime.many.serve import open_requests
from scoville_host.serve.app import MOST_BODY
from scoville_host.serve.keys import Key
from serving import CONTEXT, alone, running, session_of

ONCE = "Once upon a time"
LONG = "Once upon a time, there was a little girl named Lily. One day, Lily"


@pytest.fixture(scope="module")
def served():
    with running() as found:
        yield found


@pytest.fixture
def client(served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def post(url, body, path="completions", key=None):
    """(status, JSON, headers) of a request by bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/{path}", data, headers), timeout=60) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers


def asking(prompt=ONCE, **more):
    return {"model": "tiny", "prompt": prompt, "max_tokens": 6, "temperature": 0} | more


def test_completion(client):
    found = client.completions.create(**asking(max_tokens=12))
    text, logits = alone(ONCE, 12)
    assert found.choices[0].text == text and found.choices[0].finish_reason == "length"
    prompt = len(session_of(1).tokenizer.encode(ONCE))
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (prompt, len(logits))
    assert found.object == "text_completion" and found.model == "tiny"


def test_choices(client):
    """Choice i has seed + i; prompts of a list have theirs, numbered on; what they have in common is computed once."""
    found = client.completions.create(**asking([LONG, ONCE], n=2, temperature=0.8, seed=7))
    assert [each.index for each in found.choices] == [0, 1, 2, 3]
    assert [each.text for each in found.choices] == [alone(prompt, 6, 0.8, seed)[0] for prompt in (LONG, ONCE)
                                                      for seed in (7, 8)]


@pytest.mark.parametrize("stream", [False, True])
def test_the_model_ends_its_text(client, stream):
    """The token that ends a text counts, and is none of it."""
    prompt = "They lived happily ever after."
    text, logits = alone(prompt, 30, 1.0, 1)
    found = client.completions.create(**asking(prompt, max_tokens=30, temperature=1, seed=1, stream=stream, logprobs=0))
    parts = list(found) if stream else [found]
    assert sum(len(part.choices[0].logprobs.tokens) for part in parts if part.choices[0].logprobs) == len(logits) - 1
    assert "".join(part.choices[0].text for part in parts) == text and parts[-1].choices[0].finish_reason == "stop"
    assert len(logits) < 30 and (stream or found.usage.completion_tokens == len(logits))


def test_cached_tokens(client):
    prompt = session_of(1).tokenizer.encode(LONG * 2)[:40]
    first, again = (client.completions.create(**asking(prompt)).usage for _ in range(2))
    assert again.prompt_tokens_details.cached_tokens >= 32 > 0 == first.prompt_tokens_details.cached_tokens % 32


def test_chat(client):
    """The chat template's text, of parts or whole; the answer's role; a seed below 0 is one of 64 bits."""
    for content in (ONCE, [{"type": "text", "text": "Once upon"}, {"type": "text", "text": " a time"}]):
        found = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": content}],
                                               max_completion_tokens=6, seed=-2)
        assert found.choices[0].message.role == "assistant"
        assert found.choices[0].message.content == alone(ONCE, 6, 1.0, -2, chat=True)[0]
    assert found.object == "chat.completion" and found.choices[0].finish_reason == "length"


def test_streams(served):
    """Eight at a time on four slots: the parts of each are its text, then a reason, then the counts."""
    prompts = [ONCE, LONG, "The", "One day", "Lily", "A dog", "Tom and", "She said"]

    async def one(client, number, prompt):
        text, reasons, counts = "", [], None
        stream = await client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": prompt}], max_tokens=8, seed=number, stream=True,
            stream_options={"include_usage": True})
        async for chunk in stream:
            counts = chunk.usage
            for choice in chunk.choices:
                assert chunk.usage is None and not reasons
                text += choice.delta.content or ""
                reasons += [choice.finish_reason] * (choice.finish_reason is not None)
        return text, reasons, counts.completion_tokens

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(one(client, *each) for each in enumerate(prompts)))

    for number, (prompt, (text, reasons, count)) in enumerate(zip(prompts, asyncio.run(all_of_them()), strict=True)):
        wanted, logits = alone(prompt, 8, 1.0, number, chat=True)
        assert (text, count) == (wanted, len(logits)) and reasons in (["length"], ["stop"])
    served.idle()


@pytest.mark.parametrize("stream", [False, True])
def test_stop(client, served, stream):
    """The text ends before the first stop string, also where that is of several tokens; the chip's sequence ends."""
    text = alone(ONCE, 50)[0]
    stop, before = text[9:14], served.engine.counts["passes"]
    found = client.completions.create(**asking(max_tokens=50, stop=["zzz", stop], stream=stream))
    parts = list(found) if stream else [found]
    assert "".join(part.choices[0].text for part in parts) == text[:text.index(stop)]
    assert parts[-1].choices[0].finish_reason == "stop"
    served.idle()
    assert served.engine.counts["passes"] - before < 30


def test_logprobs(client):
    """Logarithms of softmax of the golden model's logits, in each kind of answer."""
    text, logits = alone(ONCE, 4)
    logs = logits - np.log(np.exp(logits.astype(np.float64)).sum(1, keepdims=True))
    best = np.sort(logs)[:, ::-1]
    found = client.completions.create(**asking(max_tokens=4, logprobs=3)).choices[0].logprobs
    assert "".join(found.tokens) == text and found.text_offset[1] == len(found.tokens[0])
    assert np.allclose(found.token_logprobs, best[:, 0], atol=1e-9)
    assert np.allclose([sorted(each.values(), reverse=True) for each in found.top_logprobs], best[:, :3], atol=1e-9)
    chat = {"model": "tiny", "messages": [{"role": "user", "content": ONCE}], "max_tokens": 4, "temperature": 0,
            "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**chat).choices[0].logprobs.content
    parts = [each for chunk in client.chat.completions.create(**chat, stream=True)
             for choice in chunk.choices if choice.logprobs for each in choice.logprobs.content]
    assert whole == parts and len(whole) == 4 and all(len(each.top_logprobs) == 2 for each in whole)
    assert all(bytes(each.bytes).decode() == each.token for each in whole)


WRONG = {
    "JSON": (b'{"model": ', 400, None), "text": (b"\xff\xfe", 400, None), "no body": (b"", 400, None),
    "list": ([], 400, None), "model": ({"model": "gpt-4", "prompt": "x"}, 404, "model"),
    "no prompt": ({"model": "tiny"}, 400, "prompt"), "empty prompt": (asking(""), 400, "prompt"),
    "ids": (asking([1, 99999]), 400, None), "negative": (asking([-1]), 400, "prompt"),
    "long": (asking([1] * (CONTEXT + 1)), 400, "max_tokens"), "many": (asking(max_tokens=CONTEXT), 400, "max_tokens"),
    "zero": (asking(max_tokens=0), 400, "max_tokens"), "kind": (asking(max_tokens="6"), 400, "max_tokens"),
    "hot": (asking(temperature=2.5), 400, "temperature"), "top_p": (asking(top_p=0.5), 400, "top_p"),
    "penalty": (asking(frequency_penalty=0.5), 400, "frequency_penalty"), "n": (asking(n=17), 400, "n"),
    "stops": (asking(stop=["a"] * 5), 400, "stop"), "empty stop": (asking(stop=""), 400, "stop"),
    "unknown": (asking(tool="x"), 400, "tool"), "logprobs": (asking(logprobs=6), 400, "logprobs"),
    "bias": (asking(logit_bias={"5": 1}), 400, "logit_bias"), "echo": (asking(echo=True), 400, "echo"),
    "large": (b" " * (MOST_BODY + 1), 413, None),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests(served, name):
    """One line in OpenAI's form that names the parameter; nothing reaches the chip."""
    body, status, param = WRONG[name]
    found, answer, _ = post(served.url, body)
    assert found == status and set(answer) == {"error"}
    error = answer["error"]
    assert set(error) == {"message", "type", "param", "code"} and "\n" not in error["message"]
    assert "/" not in error["message"].replace("/v1/", "") and "Traceback" not in error["message"]
    assert param is None or error["param"].split(".")[0] == param
    served.idle()


def test_wrong_paths(served):
    for path, status in (("../../etc/passwd", 404), ("models/x", 404), ("nothing", 404)):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{served.url}/v1/{path}")
        assert error.value.code == status and "error" in json.load(error.value)
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{served.url}/v1/completions")
    assert error.value.code == 405


def test_models_health_metrics(client, served):
    assert [each.id for each in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").max_model_len == CONTEXT
    assert urllib.request.urlopen(f"{served.url}/health").status == 200
    before = served.engine.counts["generated_tokens"]
    client.completions.create(**asking(max_tokens=5))
    served.idle()
    lines = urllib.request.urlopen(f"{served.url}/metrics").read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    label = '{model_name="tiny"}'
    assert float(values[f"vllm:generation_tokens_total{label}"]) == before + 5
    assert float(values[f"vllm:num_requests_running{label}"]) == 0
    assert 0 <= float(values[f"vllm:kv_cache_usage_perc{label}"]) <= 1
    assert float(values[f"vllm:time_to_first_token_seconds_count{label}"]) > 0


def test_page(served):
    """Every file that the page asks for is here, and nothing comes from elsewhere."""
    with urllib.request.urlopen(served.url) as answer:
        text, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
    names = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert policy.startswith("default-src 'none'") and len(names) == 2
    assert urllib.request.urlopen(f"{served.url}/favicon.ico").status == 204
    for name in names:
        with urllib.request.urlopen(f"{served.url}/{name}") as answer:
            text += (more := answer.read().decode())
            assert more and answer.headers["Content-Type"].partition(";")[0] == {"css": "text/css", "js": (
                "text/javascript")}[name.rpartition(".")[2]]
    assert "://" not in text and set(re.findall(r'at\("(\w+)"\)', text)) <= set(re.findall(r'id="(\w+)"', text))


def test_live(client, served):
    """What the chip does, while it does it: the slot of a stream, its tokens and pages, and then that it is gone."""
    with urllib.request.urlopen(f"{served.url}/live") as live:
        def following(condition):
            while not condition(seen := json.loads(live.readline().decode()[6:] or live.readline().decode()[6:])):
                live.readline()
            live.readline()
            return seen

        assert following(lambda seen: not seen["running"])["context"] == CONTEXT
        stream = client.completions.create(**asking(max_tokens=30, stream=True))
        seen = following(lambda seen: seen["running"] and seen["slots"][0]["tokens"] > 2)
        assert seen["slots"][0]["prompt"] == len(session_of(1).tokenizer.encode(ONCE)) and seen["pool"]["running"] > 0
        list(stream)
        assert following(lambda seen: not seen["running"])["counts"]["generated_tokens"] >= 30


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_goes_away(served, stream):
    """Its sequence is cancelled in the chip, long before its last token."""
    before, passes = (served.engine.counts[name] for name in ("generated_tokens", "passes"))
    body = json.dumps(asking("A", max_tokens=60, stream=stream, temperature=1, seed=3)).encode()
    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        served.until(lambda: served.engine.counts["generated_tokens"] > before + 2)
    served.idle()
    assert served.engine.counts["generated_tokens"] < before + 40 and served.engine.counts["passes"] < passes + 50


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


def test_keys():
    """Who has no key gets nothing; tenants share no pages; each key's limits are its own."""
    keys = [Key(name="a", sha256=digest("ka")), Key(name="b", sha256=digest("kb"), tokens=8, waiting=2),
            Key(name="c", sha256=digest("kc"), a_minute=2)]
    prompt = session_of(1).tokenizer.encode(LONG * 2)[:40]
    with running(keys=keys) as served:
        for key in (None, "", "k", "kaa"):
            status, answer, headers = post(served.url, asking(), key=key)
            assert (status, answer["error"]["code"], headers["WWW-Authenticate"]) == (401, "invalid_api_key", "Bearer")
        cached = [post(served.url, asking(prompt), key=key)[1]["usage"]["prompt_tokens_details"]["cached_tokens"]
                  for key in ("ka", "kb", "ka")]
        assert cached[:2] == [0, 0] and cached[2] >= 32
        assert post(served.url, asking(max_tokens=9), key="kb")[0] == 400
        following = {key: urllib.request.urlopen(urllib.request.Request(f"{served.url}/live", headers={
            "Authorization": f"Bearer {key}"})) for key in ("ka", "kb")}
        seen = dict.fromkeys(following, 0)
        post(served.url, asking(max_tokens=8), key="kb")
        for key, live in following.items():
            event = {"counts": {"generated_tokens": 0}}
            while event["counts"]["generated_tokens"] < 26:  # of this test
                event = json.loads(live.readline().decode()[6:])
                live.readline()
                seen[key] += len(event["slots"])
            live.close()
        assert seen["kb"] > 0 == seen["ka"]
        assert post(served.url, asking(n=3), key="kb")[0] == 429 and post(served.url, asking(n=2), key="kb")[0] == 200
        assert [post(served.url, asking(), key="kc")[0] for _ in range(3)] == [200, 200, 429]
        assert post(served.url, asking(), key="ka")[0] == 200


def test_too_many():
    """Beyond the bound requests are refused, at once and whole; those that are there end."""
    with running(most=3) as served:
        assert post(served.url, asking(n=4))[0] == 429
        served.idle()
        assert post(served.url, asking(n=3))[0] == 200
        served.idle()


class Failing(Requests):
    """Stops in a pass that is named, once."""

    at = None

    def go_on(self, until=None):
        ended = super().go_on(until)
        if type(self).at is not None and self.passes >= type(self).at:
            type(self).at = None
            self._fail("planted: a bus error")
        return ended


def failing(monkeypatch, at, slots=4):
    monkeypatch.setattr("scoville_host.runtime.many.serve.Requests", Failing)
    Failing.at = at
    return lambda: open_requests(session_of(slots), rows=True)


def test_the_chip_fails(monkeypatch):
    """Who had tokens gets an error that tells nothing of the inside; who had none is served by the chip's next life."""
    with running(chip=failing(monkeypatch, 12, slots=2), slots=2) as served:
        with openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
            found = client.completions.create(**asking([ONCE] * 2, max_tokens=40, stream=True))
            texts = ["", ""]
            with pytest.raises(openai.APIError, match="the chip failed"):
                for chunk in found:
                    for choice in chunk.choices:
                        texts[choice.index] += choice.text
            assert texts[0] and all(alone(ONCE, 40)[0].startswith(text) for text in texts)
            assert client.completions.create(**asking()).choices[0].text == alone(ONCE, 6)[0]
        assert served.engine.counts["restarts"] == 1
        served.idle()


def test_who_waits_is_posted_again(monkeypatch):
    with running(chip=failing(monkeypatch, 3, slots=2), slots=2) as served:
        status, answer, _ = post(served.url, asking(LONG))  # its prompt takes more passes than those
        assert status == 200 and answer["choices"][0]["text"] == alone(LONG, 6)[0]
        assert served.engine.counts["restarts"] == 1


def test_a_chip_that_never_works():
    def broken():
        raise ChipError("planted: /secret/path")

    with running(chip=broken) as served:
        served.until(lambda: served.engine.failed)
        status, answer, _ = post(served.url, asking())
        assert status == 500 and "secret" not in json.dumps(answer)
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{served.url}/health")


def test_the_end():
    """Who is there is served to the end, and who comes is told that it is over; then the chip's thread ends."""
    with running() as served, contextlib.closing(openai.OpenAI(base_url=f"{served.url}/v1", api_key="x",
                                                               max_retries=0)) as client:
        stream = client.completions.create(**asking(max_tokens=30, stream=True))
        text = next(stream).choices[0].text
        served.engine.close()
        with pytest.raises(openai.APIStatusError) as error:
            client.completions.create(**asking())
        assert error.value.status_code == 503
        assert text + "".join(part.choices[0].text for part in stream) == alone(ONCE, 30)[0]
        assert served.engine.join(10)
