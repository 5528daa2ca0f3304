"""Chat templates: what transformers made of each is stored; where transformers is installed, it is asked again."""

import io
import json
import tomllib
from datetime import datetime
from pathlib import Path

import pytest
from scoville_host import cli
from scoville_host.checkpoint import chat
from scoville_host.errors import RequestError
from scoville_host.runtime.golden import GoldenBackend
from vocabularies import byte_level, of_bpe, write

HERE = Path(__file__).parent
CASES = tomllib.loads((HERE / "templates.toml").read_text())
STORED = HERE / "templates.json"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "sep_token": "<sep>",
           "cls_token": "<cls>", "mask_token": "<mask>"}


class OneDay(datetime):
    """A clock that stands."""

    @classmethod
    def now(cls):
        return cls(2026, 3, 5, 7, 8, 9)


def inputs(name):
    """(template, messages, the rest by name) of a case."""
    case = CASES["templates"][name]
    rest = {key: CASES[key] for key in ("tools", "documents") if case.get(key)}
    return case["source"], CASES["talks"][case["talk"]], rest | case.get("variables", {})


def by_transformers(name):
    """What transformers makes of it: (text, error), one of them None."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import chat_template_utils

    chat_template_utils.datetime = OneDay
    template, messages, rest = inputs(name)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **SPECIAL)
    try:
        return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False,
                                             **{"add_generation_prompt": True} | rest), None
    except Exception as error:
        return None, str(error)


@pytest.mark.parametrize("name", CASES["templates"])
def test_as_transformers(name, monkeypatch):
    monkeypatch.setattr(chat, "datetime", OneDay)
    template, messages, rest = inputs(name)
    text, error = json.loads(STORED.read_text())[name]
    if error is None:
        assert chat.render(template, messages, **SPECIAL | rest) == text
        return
    with pytest.raises(RequestError) as found:
        chat.render(template, messages, **SPECIAL | rest)
    assert "\n" not in str(found.value) and str(found.value).startswith("the model's chat template")
    if not CASES["templates"][name].get("fails"):  # its own message; Python's and Jinja's change with their versions
        assert " ".join(error.split()) in str(found.value)


def test_what_is_stored_is_what_transformers_gives():
    pytest.importorskip("transformers")
    stored = json.loads(STORED.read_text())
    assert stored.keys() == CASES["templates"].keys() and len(stored) >= 40
    for name, (text, error) in stored.items():
        found, failed = by_transformers(name)
        assert (found, failed is None) == (text, error is None), name


def test_none_is_left_out():
    """What a server got as null is not there for the template, as in transformers."""
    messages = [{"role": "user", "content": "a", "tool_calls": None, "name": None}]
    assert chat.render("{{ messages[0] | tojson }}", messages) == '{"role": "user", "content": "a"}'


TEMPLATE = ("{% for m in messages %}{{ m.role[0] }}:{{ m.content }}<|im_end|>{% endfor %}{{ tools | length if tools }}"
            "{{ 'a:' if add_generation_prompt }}{{ mood }}")


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """A command with a model that has a chat template: (status, standard output, standard error, its prompts)."""
    core = byte_level("a b c", 290)
    vocabulary = of_bpe(core, pre="smollm", eos_token_id=2)
    path, seen = write(tmp_path / "v.gguf", vocabulary, TEMPLATE), []
    golden = GoldenBackend.generate
    monkeypatch.setattr(GoldenBackend, "generate", lambda self, image, ids, *rest, **more: (
        seen.append("".join(vocabulary["tokens"][token] for token in ids)), golden(self, image, ids, *rest, **more))[1])

    def call(*arguments, said=""):
        seen.clear()
        monkeypatch.setattr("sys.stdin", io.StringIO(said))
        with pytest.raises(SystemExit) as stop:
            cli.main([arguments[0], "--model", str(path), "--max-new-tokens", "2", *map(str, arguments[1:])])
        out, err = capsys.readouterr()
        return stop.value.code, out, err, list(seen)
    return call


def test_system_and_several_turns(run, tmp_path):
    turns, file = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}], tmp_path / "talk.json"
    assert run("generate", "--prompt", "A", "--system", "S")[3] == ["s:S<|im_end|>u:A<|im_end|>a:"]
    assert run("generate", "--prompt", "A", "--raw")[3] == ["A"]
    file.write_text(json.dumps(turns))
    assert run("generate", "--chat", file)[3] == ["u:A<|im_end|>a:B<|im_end|>a:"]
    file.write_text(json.dumps({"messages": turns, "tools": [{}], "mood": "!"}))
    assert run("generate", "--chat", file, "--system", "S")[3] == ["s:S<|im_end|>u:A<|im_end|>a:B<|im_end|>1a:!"]


@pytest.mark.parametrize("stored, message", [
    ("[", "talk.json: not valid JSON"), ("[]", "talk.json: it must be a list of messages, such as"),
    ("{}", "it must be a list of messages"), ('"a"', "it must be a list of messages"),
    ('[{"role": "user"}, {"content": "a"}]', "message 2 must be a dict"), ("[3]", "message 1 must be a dict"),
    ('{"messages": [{"role": "user", "content": "a"}], "tools": 3}', "tools must be a list"),
    ('[{"role": "system", "content": "a"}]', "which has a system message of its own"),
    ('{"messages": [{"role": "user", "content": "a"}], "template": 1}', None),
])
def test_conversations_that_are_none(run, tmp_path, stored, message):
    (tmp_path / "talk.json").write_text(stored)
    status, out, err, _ = run("generate", "--chat", tmp_path / "talk.json", "--system", "S")
    if message is None:
        assert status == 0
    else:
        assert (status, out) == (2, "") and message in err.splitlines()[-1] and "Traceback" not in err


def test_chat_command(run):
    """Every turn has what was said before it; a turn that cannot be is forgotten; /new begins anew."""
    long = "x" * 200
    status, out, err, seen = run("chat", "--system", "S", said=f"A\n\nB\n{long}\nC\n/new\nD\n")
    assert status == 0 and len(seen) == 4 and len(out.splitlines()) >= 4
    assert "tokens; the context is 128" in err and "/new begins anew" in err
    first = "s:S<|im_end|>u:A<|im_end|>a:"
    assert seen[0] == first and seen[1].startswith(first) and seen[1].endswith("<|im_end|>u:B<|im_end|>a:")
    assert seen[2].startswith(seen[1]) and long not in seen[2] and seen[2].endswith("u:C<|im_end|>a:")
    assert seen[3] == "s:S<|im_end|>u:D<|im_end|>a:"


if __name__ == "__main__":
    STORED.write_text(json.dumps({name: by_transformers(name) for name in CASES["templates"]}, ensure_ascii=False,
                                 indent=1) + "\n")
