"""The compiler: what the program says, what it refuses, and that the model it makes is the model it was given."""

from dataclasses import replace

import numpy as np
import pytest
from checkpoints import ODD, SIZES, random_tensors, write_gguf, write_huggingface
from scoville.config import get_config
from scoville.isa import INSTRUCTION_BYTES, Dest, LoadDest, Mode, Opcode, decode
from scoville_host.checkpoint.formats import FORMATS
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.compiler.compiler import compile_model
from scoville_host.compiler.image import Image
from scoville_host.compiler.layout import page_bytes, unpack_matrix
from scoville_host.compiler.listing import listing
from scoville_host.errors import RequestError

LARGE = replace(get_config("nano"), max_hidden=4096, max_rows=4096, operand_blocks=1024)


@pytest.fixture
def model(tmp_path):
    return load_checkpoint(write_huggingface(tmp_path / "model", random_tensors(tied=False)))


def program(image):
    start = image.regions["program"].address - image.base
    return [decode(image.memory[start + INSTRUCTION_BYTES * n:][:INSTRUCTION_BYTES].tobytes())
            for n in range(len(image.listing))]


def test_order_of_a_pass(model):
    opcodes = [i["opcode"].name for i in program(compile_model(model, get_config("nano")))]
    layer = ["LINEAR", "LINEAR", "LINEAR", "ATTEND", "LOAD", "LINEAR", "LINEAR", "LOAD", "LINEAR"]
    assert opcodes == ["ROPE", "LOAD", "EMBED", *layer, *layer, "LINEAR", "END"]


def test_epilogues_and_waits(model):
    linears = [i for i in program(compile_model(model, get_config("nano"))) if i["opcode"] is Opcode.LINEAR]
    k, v, q, o, gate_up, down = linears[:6]
    assert [i["dest"] for i in linears[:6]] == [Dest.KEY, Dest.VALUE, Dest.QUERY] + 3 * [Dest.OPERAND]
    assert [i["wait"] for i in linears[:6]] == [1, 0, 0, 1, 1, 1]
    assert [i["lane_scale"] for i in linears[:6]] == [1, 1, 1, 0, 1, 0]
    assert k["mode"] == q["mode"] == Mode.ROPE and v["mode"] == Mode.PLAIN and gate_up["mode"] == Mode.GLU
    assert o["norm"] == o["residual"] == down["norm"] == down["residual"] == 1
    head = linears[-1]
    assert (head["dest"], head["only_last"], head["wait"], head["limit"]) == (Dest.LOGITS, 1, 1, 70)


def test_operand_addresses_do_not_overlap(model):
    """What an instruction reads and what it writes are apart; x lives through attention."""
    image = compile_model(model, get_config("nano"))
    k, v, q, o, gate_up, down = [i for i in program(image) if i["opcode"] is Opcode.LINEAR][:6]
    attend = next(i for i in program(image) if i["opcode"] is Opcode.ATTEND)
    x, queries = range(2), range(q["dst"], q["dst"] + 4)
    attended = range(attend["dst"], attend["dst"] + 4)
    ffn = range(gate_up["dst"], gate_up["dst"] + 3)
    assert k["src"] == v["src"] == q["src"] == o["dst"] == gate_up["src"] == down["dst"] == x.start
    assert attend["src"] == queries.start and o["src"] == attended.start and down["src"] == ffn.start
    for a, b in ((x, queries), (x, attended), (queries, attended), (x, ffn)):
        assert not set(a) & set(b)


def test_gate_and_up_alternate(model):
    image = compile_model(model, get_config("nano"), weights="q8_0")
    i = next(i for i in program(image) if i["opcode"] is Opcode.LINEAR and i["mode"] == Mode.GLU)
    data = image.memory[i["address"] - image.base:][:i["beats"] * 16]
    rows = unpack_matrix(data, FORMATS["q8_0"], i["tiles"], i["kblocks"], image.config).dequantise()
    assert np.abs(rows[0::2] - model.tensors["0.gate"].floats()).max() < 1e-3
    assert np.abs(rows[1::2] - model.tensors["0.up"].floats()).max() < 1e-3


def test_layers_share_a_page(model):
    """The parts of every layer and KV head lie in a page, beside each other, and fill it."""
    image = compile_model(model, get_config("nano"), context=100)
    parts = page_bytes(image.config, 1)
    keys = [i for i in program(image) if i["opcode"] is Opcode.LINEAR and i["dest"] == Dest.KEY]
    assert [(i["offset"], i["stride"], i["kv_heads"]) for i in keys] == [(0, parts, 2), (2 * parts, parts, 2)]
    assert (image.registers["KV_PAGES"], image.registers["KV_PAGE_BYTES"]) == (4, 4 * parts)
    assert image.regions["kv_pool"].size == 16 * parts


def test_a_context_beyond_a_slot_is_refused(model):
    config = replace(get_config("nano"), slot_pages=2, pool_pages=2)
    compile_model(model, config, context=64)
    with pytest.raises(RequestError, match="context is 65; a sequence has at most 64 positions in configuration nano"):
        compile_model(model, config, context=65)


def test_code_tables_load_when_the_format_changes(tmp_path):
    tensors = random_tensors(tied=False)
    model = load_checkpoint(write_gguf(tmp_path / "a.gguf", tensors, kind="Q4_0"))
    other = load_checkpoint(write_gguf(tmp_path / "b.gguf", tensors, kind="Q4_1"))
    model.tensors["1.down"] = other.tensors["1.down"]
    image = compile_model(model, get_config("nano"))
    loads = [i for i in program(image) if i["opcode"] is Opcode.LOAD and i["load_dest"] == LoadDest.TABLE]
    tables = [image.memory[i["address"] - image.base:][:16].view(np.int8).tolist() for i in loads]
    assert tables == [list(range(-8, 8)), list(range(16)), list(range(-8, 8))]
    assert [(i["wait"], i["only_last"]) for i in loads] == [(0, 0), (1, 0), (1, 1)]


def test_biases_are_loaded_with_a_wait(tmp_path):
    model = load_checkpoint(write_huggingface(tmp_path, random_tensors(biases=("q", "k", "v"))))
    code = program(compile_model(model, get_config("nano")))
    for before, after in zip(code, code[1:], strict=False):
        if after["opcode"] is Opcode.LINEAR and after["bias"]:
            assert before["opcode"] is Opcode.LOAD and before["load_dest"] == LoadDest.BIAS and before["wait"]
            assert before["count"] == 32 * after["tiles"]


@pytest.mark.parametrize("field, value", [("max_hidden", 32), ("operand_blocks", 8), ("max_rows", 64)])
def test_limits_name_the_field(tmp_path, field, value):
    model = load_checkpoint(write_huggingface(tmp_path, random_tensors(biases=("q",))))
    with pytest.raises(RequestError, match=rf"needs {field} = \d+, and it has {value}"):
        compile_model(model, replace(get_config("nano"), **{field: value}))


@pytest.mark.parametrize("context", [-1, 129])
def test_context_out_of_range(model, context):
    with pytest.raises(RequestError, match="allows 1 to 128"):
        compile_model(model, get_config("nano"), context=context)


def test_base_moves_every_address(model):
    low, high = (compile_model(model, get_config("nano"), base=base) for base in (0, 0x4000_0000))
    assert high.size == low.size and high.registers["PROGRAM"] == low.registers["PROGRAM"] + 0x4000_0000
    assert program(high)[0]["address"] == program(low)[0]["address"] + 0x4000_0000
    assert high.registers["WINDOW_BASE"] == 0x4000_0000


def test_image_survives_its_file(model, tmp_path):
    image = compile_model(model, get_config("nano"))
    image.save(tmp_path / "image")
    found = Image.load(tmp_path / "image")
    assert np.array_equal(found.memory, image.memory)
    assert {**vars(found), "memory": 0} == {**vars(image), "memory": 0}
    assert listing(found) == listing(image)
    assert "LINEAR wait address=" in listing(image)


def test_traffic_counts_stored_bytes(model):
    traffic = compile_model(model, get_config("nano")).traffic
    layer = 128 * 2 + 64 * 2 + 64 * 2 + 64 * 4 + 96 * 2 + 96 * 2 + 64 * 3  # blocks of 33 bytes
    assert traffic.layer_bytes == 2 * 33 * layer + 5 * 64 * 4
    assert traffic.head_bytes == 70 * 2 * 33
    assert traffic.kv_bytes == 2 * 2 * 2 * 33
    assert traffic.pass_macs(0, 1, True) == 2 * (2 * 128 * 64 + 2 * 64 * 64 + 3 * 96 * 64) + 70 * 64 + 2 * 2 * 4 * 32


LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}


@pytest.mark.parametrize("sizes, tied, biases, settings", [
    (SIZES, True, (), {}),
    (ODD, False, (), {}),
    (SIZES, False, (), {"rope_parameters": LLAMA3}),
    (ODD, True, ("q", "k", "v", "o"), {"attention_bias": True}),
    (SIZES, True, ("q", "k", "v"), {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}),
], ids=["even", "odd", "llama3", "bias", "qwen2"])
def test_golden_model_agrees_with_transformers(tmp_path, sizes, tied, biases, settings):
    """Near a float model it did not make itself: a wrong row order, rotation or bias would be far away."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from scoville.golden import GoldenChip
    from scoville_host.runtime.reference import load_reference

    tensors = random_tensors(sizes, tied=tied, biases=biases)
    for name in tensors:
        if name.rpartition(".")[2] in ("q", "k"):
            tensors[name] *= 4  # sharp attention, so that positions matter
    path = write_huggingface(tmp_path, tensors, sizes, **settings)
    image = compile_model(load_checkpoint(path), replace(LARGE, act_bits=12))
    ids = np.random.default_rng(2).integers(0, sizes["vocab"], 45).tolist()
    found = GoldenChip(image.config, image.allocate(), image.registers, base=image.base).logits(ids)
    expected = load_reference(path).logits(ids)
    error = np.sqrt(np.mean((found - expected) ** 2)) / expected.std()
    assert error < 0.05
