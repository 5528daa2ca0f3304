"""Tokenizers: round trips, streams of text that split no character, chat templates."""

import json

import gguf
import pytest
from scoville_host.checkpoint.models import MODELS, cached_path
from scoville_host.checkpoint.tokenizer import TextStream, load_tokenizer
from scoville_host.errors import RequestError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXTS = ["Once upon a time", "naïve café ☃ 日本語 🦙", "12345 + 67", "  two  spaces\n\ttab", "it's <b>fine</b>"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" \
           "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def byte_level():
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|im_start|>", "<|im_end|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return core


def write_vocabulary(path, *, pre="smollm", model="gpt2", template=TEMPLATE):
    """A GGUF file with a tokenizer and no tensors."""
    core = byte_level()
    state = json.loads(core.to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].get)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in state["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    if template:
        writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(params=["json", "gguf", "llama-bpe", "qwen2"])
def tokenizer(request, tmp_path):
    if request.param == "json":
        byte_level().save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|im_end|>"}, "bos_token": null}')
        (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
        return load_tokenizer(tmp_path)
    pre = "smollm" if request.param == "gguf" else request.param
    return load_tokenizer(write_vocabulary(tmp_path / "v.gguf", pre=pre))


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip_and_stream(tokenizer, text):
    ids = tokenizer.encode(text)
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
    ids = tokenizer.encode_chat("hi")
    assert tokenizer.core.decode(ids, skip_special_tokens=False) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    assert ids[0] == 0 and tokenizer.eos_ids == [1]


def test_digits_stand_alone(tmp_path):
    tokenizer = load_tokenizer(write_vocabulary(tmp_path / "v.gguf"))
    assert len(tokenizer.encode("12345")) == 5


def test_directory_without_a_tokenizer(tmp_path):
    assert load_tokenizer(tmp_path) is None


@pytest.mark.parametrize("change, message", [
    ({"model": "llama"}, "tokenizer 'llama' is not supported"),
    ({"pre": "chameleon"}, "pre-tokenizer 'chameleon' is not supported .there are: smollm"),
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
        tokenizer.encode_chat("hi")


def test_smollm2():
    """Ids that Hugging Face's own tokenizer gives for this model."""
    path = cached_path(MODELS["smollm2"])
    if not path.exists():
        pytest.skip("smollm2 has not been fetched")
    tokenizer = load_tokenizer(path)
    assert tokenizer.encode("Once upon a time, 1234") == [6403, 1980, 253, 655, 28, 216, 33, 34, 35, 36]
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode_chat("hi")[:2] == [1, 9690]
