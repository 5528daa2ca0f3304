"""Keys and values of positions before the prompt: what is in the pages, and that the golden model goes on from them."""

import numpy as np
import pytest
from checkpoints import random_tensors, write_huggingface
from scoville.config import PAGE_TOKENS, get_config
from scoville.golden import GoldenChip
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.compiler.compiler import compile_model
from scoville_host.runtime.history import fill_history


@pytest.fixture
def model(tmp_path):
    return load_checkpoint(write_huggingface(tmp_path, random_tensors()))


def chip_of(image, memory=None):
    return GoldenChip(image.config, image.allocate() if memory is None else memory, image.registers, base=image.base)


def attends(chip):
    return [i for i in chip.program if i["opcode"].name == "ATTEND"]


def test_a_sequence_cut_in_two(model):
    """The second half of a prompt, begun at its position on the pages of the first, gives the same bits."""
    image = compile_model(model, get_config("nano"))
    ids = np.random.default_rng(1).integers(0, image.vocab, 50).tolist()
    whole = chip_of(image).run(ids, 4, temperature=0.8, seed=3)
    memory = image.allocate()
    chip_of(image, memory).run(ids[:40], 1)
    rest = chip_of(image, memory).run(ids[40:], 4, temperature=0.8, seed=3, position=40)
    assert rest.tokens == whole.tokens and (rest.logits.view(np.uint32) == whole.logits.view(np.uint32)).all()


def test_content(model):
    image = compile_model(model, get_config("nano"))
    memory = image.allocate()
    fill_history(image, memory, 45)
    chip = chip_of(image, memory)
    for instruction in attends(chip):
        kv = chip.memory.cache.pages(instruction, 2)
        for codes, e8 in ((kv.k, kv.k_e8), (kv.v.swapaxes(-1, -2), kv.v_e8)):
            assert (e8[0] > 100).all() and (e8[1, ..., :45 - PAGE_TOKENS] > 100).all()
            assert (abs(codes[0].astype(int)).max(-1) > 40).all()
            assert not e8[1, ..., 45 - PAGE_TOKENS:].any() and not codes[1, ..., 45 - PAGE_TOKENS:, :].any()
    outside = np.ones(image.size, bool)
    pool = image.regions["kv_pool"]
    outside[pool.address - image.base:pool.address - image.base + pool.size] = False
    assert (memory[outside] == image.allocate()[outside]).all()


def test_every_configuration_gets_the_same(model):
    contents = []
    for name in ("nano", "kria"):
        image = compile_model(model, get_config(name), base=0x1_0000)
        memory = image.allocate()
        fill_history(image, memory, 33)
        chip = chip_of(image, memory)
        contents.append([chip.memory.cache.pages(i, 2) for i in attends(chip)])
    for one, other in zip(*contents, strict=True):
        assert all((vars(one)[name] == vars(other)[name]).all() for name in vars(one))


def test_nothing(model):
    image = compile_model(model, get_config("nano"))
    memory = image.allocate()
    fill_history(image, memory, 0)
    assert (memory == image.allocate()).all()
