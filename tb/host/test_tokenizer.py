"""Tokenizers: round trips, streams of text that split no character, chat templates."""

import json
from functools import cache

import pytest
from many_scripts import PAGE, SPECIAL
from scoville_host.checkpoint.models import MODELS, cached_path
from scoville_host.checkpoint.tokenizer import TextStream, load_tokenizer
from scoville_host.errors import RequestError
from vocabularies import byte_level, of_bpe, of_pieces, pieces, write

TEXTS = ["Once upon a time", "naïve café ☃ 日本語 🦙", "12345 + 67", "  two  spaces\n\ttab", "it's <b>fine</b>"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" \
           "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def write_vocabulary(path, *, template=TEMPLATE, **settings):
    """A GGUF file with a tokenizer and no tensors."""
    return write(path, of_bpe(core(), **{"pre": "smollm", "bos_token_id": 0, "eos_token_id": 1} | settings), template,
                 tensors=False)


@cache
def core():
    return byte_level("\n".join(TEXTS), 300, ["<|im_start|>", "<|im_end|>"])


@pytest.fixture(params=["json", "gguf", "llama-bpe", "qwen2"])
def tokenizer(request, tmp_path):
    if request.param == "json":
        core().save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|im_end|>"}, "bos_token": null}')
        (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
        return load_tokenizer(tmp_path)
    pre = "smollm" if request.param == "gguf" else request.param
    return load_tokenizer(write_vocabulary(tmp_path / "v.gguf", pre=pre))


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip_and_stream(tokenizer, text):
    ids = tokenizer.encoder.encode(text)
    assert tokenizer.decode(ids) == text
    stream = TextStream(tokenizer)
    parts = [stream.add(token) for token in ids]
    assert all("\ufffd" not in part for part in parts)
    assert "".join(parts) + stream.finish() == text


def test_unfinished_character_comes_at_the_end(tokenizer):
    ids = tokenizer.encode("🦙🦙")
    stream = TextStream(tokenizer)
    parts = [stream.add(token) for token in tokenizer.encode("a") + [ids[0]]]
    assert "\ufffd" not in "".join(parts)


def test_chat_template(tokenizer):
    ids = tokenizer.encode_chat([{"role": "user", "content": "hi"}])
    between = tokenizer.encoder.encode
    assert ids == [0, *between("user\nhi"), 1, *between("\n"), 0, *between("assistant\n")]
    assert tokenizer.eos_ids == [1]


def test_special_tokens_that_only_the_settings_name(tmp_path):
    """As transformers: each is special, and templates know it; a new one gets the next id."""
    core().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({
        "bos_token": "a", "eos_token": {"content": "<|im_end|>"}, "image_token": "<img>", "add_bos_token": True,
        "chat_template": "{{ bos_token }}{{ image_token }}{{ audio_token }}", "pad_token": None,
        "extra_special_tokens": {"audio_token": "<|im_start|>"}}))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.special == {"bos_token": "a", "eos_token": "<|im_end|>", "image_token": "<img>",
                                 "audio_token": "<|im_start|>"}
    assert tokenizer.encode_chat([{"role": "user", "content": ""}]) == [tokenizer.encoder.find("a"), 300, 0]
    assert tokenizer.decode(tokenizer.encode("<img>xa")) == "x"


@pytest.mark.parametrize("named, tools, wanted", [
    ({"default": "d", "tool_use": "t"}, None, "d"), ({"default": "d", "tool_use": "t"}, [{}], "t"),
    ({"default": "d"}, [{}], "d"), ({"rag": "r"}, None, "the model has chat templates rag and no default"),
])
def test_several_templates(tmp_path, named, tools, wanted):
    """In the settings, or in files, as transformers writes them now."""
    core().save(str(tmp_path / "tokenizer.json"))
    listed = [{"name": name, "template": template} for name, template in named.items()]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": listed}))
    found = [load_tokenizer(tmp_path)]
    if "default" in named:
        (tmp_path / "tokenizer_config.json").unlink()
        (tmp_path / "additional_chat_templates").mkdir()
        for name, template in named.items():
            folder = tmp_path if name == "default" else tmp_path / "additional_chat_templates"
            (folder / ("chat_template.jinja" if name == "default" else f"{name}.jinja")).write_text(template)
        found.append(load_tokenizer(tmp_path))
    for tokenizer in found:
        if len(wanted) > 1:
            with pytest.raises(RequestError, match=wanted):
                tokenizer.encode_chat([], tools=tools)
        else:
            assert tokenizer.decode(tokenizer.encode_chat([], tools=tools)) == wanted


def test_digits_stand_alone(tmp_path):
    tokenizer = load_tokenizer(write_vocabulary(tmp_path / "v.gguf"))
    assert len(tokenizer.encode("12345")) == 5


def test_directory_without_a_tokenizer(tmp_path):
    assert load_tokenizer(tmp_path) is None


@pytest.mark.parametrize("change, message", [
    ({"model": "bert"}, "tokenizer 'bert' is not supported .there are: gpt2, gemma4, llama, t5.; use --prompt-ids"),
    ({"pre": "chameleon"}, "pre-tokenizer 'chameleon' is not supported .there are: default, llama3.*use --prompt-ids"),
    ({"merges": ["a zz"]}, "the merges do not fit the vocabulary .*; use --prompt-ids"),
    ({"merges": None}, "the vocabulary has no merges; use --prompt-ids"),
    ({"tokens": ["a", "b", "a"]}, "token 'a' is in the vocabulary twice; use --prompt-ids"),
    ({"scores": [1.0]}, "tokens, but .* token types and 1 scores; use --prompt-ids"),
    ({"model": "t5", "add_bos_token": True, "bos_token_id": 5000}, "BOS, but bos_token_id is not set"),
])
def test_unsupported(tmp_path, change, message):
    with pytest.raises(RequestError, match=message):
        load_tokenizer(write_vocabulary(tmp_path / "v.gguf", **change))


def test_broken_files(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(RequestError, match="tokenizer.json"):
        load_tokenizer(tmp_path)
    tokenizer = load_tokenizer(write_vocabulary(tmp_path / "v.gguf", template="{% if %}"))
    with pytest.raises(RequestError, match="use --raw"):
        tokenizer.encode_chat([{"role": "user", "content": "hi"}])
    core().save(str(tmp_path / "tokenizer.json"))
    for name, text, message in (("tokenizer_config.json", "{", "not valid JSON"),
                                ("tokenizer_config.json", "[]", "must be a JSON object"),
                                ("tokenizer_config.json", '{"chat_template": [1]}', "chat_template is .1."),
                                ("special_tokens_map.json", "\xff", "not valid JSON")):
        (tmp_path / name).write_bytes(text.encode("latin-1"))
        with pytest.raises(RequestError, match=message):
            load_tokenizer(tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.model").write_bytes(b"some text")
    with pytest.raises(RequestError, match="tokenizer.model: (not a model|neither BPE)"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_tokenizer_model(tmp_path, kind):
    """A directory with tokenizer.model gives the ids of the GGUF file that a converter makes of it."""
    proto = pieces(kind, folder=None if kind == "bpe" else tmp_path, byte_fallback=kind == "bpe",
                   character_coverage=0.98)
    (tmp_path / "tokenizer.model").write_bytes(proto.SerializeToString())
    added = ["<|im_start|>", "<|im_end|>", "<extra>"]
    first = len(proto.pieces)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({
        "bos_token": "<s>", "eos_token": {"content": "</s>"}, "unk_token": "<unk>", "chat_template": TEMPLATE,
        "added_tokens_decoder": {first + n: {"content": text, "special": n < 2} for n, text in enumerate(added)}}))
    ours = load_tokenizer(tmp_path)
    other = load_tokenizer(write(tmp_path / "v.gguf", of_pieces(
        proto, added, bos_token_id=1, eos_token_id=2, unknown_token_id=0), TEMPLATE, tensors=False))
    for text in (PAGE, SPECIAL, *TEXTS):
        assert ours.encode(text) == other.encode(text)
        assert ours.decode(ours.encode(text)) == other.decode(other.encode(text))
    assert ours.encode("x")[0 if kind == "bpe" else -1] == (1 if kind == "bpe" else 2)
    assert ours.decode(ours.encode("  two  words")) == ("  two  words" if kind == "bpe" else "two words")
    assert ours.special == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} == other.special
    assert set(ours.eos_ids) == set(other.eos_ids) == {2, first + 1}


def test_smollm2():
    """Ids that Hugging Face's own tokenizer gives for this model."""
    path = cached_path(MODELS["smollm2"])
    if not path.exists():
        pytest.skip("smollm2 has not been fetched")
    tokenizer = load_tokenizer(path)
    assert tokenizer.encode("Once upon a time, 1234") == [6403, 1980, 253, 655, 28, 216, 33, 34, 35, 36]
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode_chat([{"role": "user", "content": "hi"}])[:2] == [1, 9690]
