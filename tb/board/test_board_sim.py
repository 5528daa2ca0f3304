"""The whole board, pins to pins, and the real host program: a small model's text equals the golden model's."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from scoville.board.block_ram import BlockRam
from scoville.board.board import Board
from scoville.config import get_config
from scoville_host import cli
from scoville_host.runtime.session import open_session
from scoville_sim.boards.board import BoardTerminal, VerilatedBoard
from scoville_sim.boards.board_sim import DIVISOR, SIM_BAUD, simulated_board
from scoville_sim.boards.fpga import load
from scoville_sim.chip.build import SimError

HIDDEN, FFN, VOCAB = 32, 32, 64


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A Hugging Face checkpoint of one layer with random weights."""
    folder, rng = tmp_path_factory.mktemp("model"), np.random.default_rng(1)
    layer = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (HIDDEN, HIDDEN),
             "self_attn.v_proj": (HIDDEN, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (FFN, HIDDEN),
             "mlp.up_proj": (FFN, HIDDEN), "mlp.down_proj": (HIDDEN, FFN), "input_layernorm": (HIDDEN,),
             "post_attention_layernorm": (HIDDEN,)}
    shapes = {f"model.layers.0.{name}.weight": shape for name, shape in layer.items()}
    shapes |= {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,)}
    save_file({name: (0.2 * rng.standard_normal(shape) + (len(shape) == 1)).astype(np.float32)
               for name, shape in shapes.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": FFN,
        "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": VOCAB,
        "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
        "hidden_act": "silu", "eos_token_id": 0, "bos_token_id": 0}))
    return folder


@pytest.mark.heavy
def test_text_over_the_line(checkpoint, capsys, tmp_path):
    config = get_config("slim")
    board = Board(config, BlockRam(config, 1 << 16), clock_hz=SIM_BAUD * DIVISOR, baud=SIM_BAUD, name="test")

    def run(port, *arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main(["generate", "--backend", "board", "--port", port, "--baud", str(SIM_BAUD), "--board", "test",
                      "--model", str(checkpoint), "--prompt-ids", "1,2,3", "--max-new-tokens", "4", "--ignore-eos",
                      *arguments])
        return stop.value.code, *capsys.readouterr()

    with VerilatedBoard(board) as verilated, BoardTerminal(verilated) as terminal:
        status, text, said = run(terminal.port, "--json", str(tmp_path / "run.json"))
        assert status == 0, said
        assert "uploaded and verified" in said and "tokens and logits equal the golden model's" in said
        found = json.loads((tmp_path / "run.json").read_text())
        assert found["golden_match"] is True and found["config"] == "slim" and found["cycles"] > 0
        status, again, said = run(terminal.port)
        assert (status, again) == (0, text) and "is already on the board" in said
        terminal.unplug()
        status, _, said = run(terminal.port)
        assert status == 2 and "no serial port" in said
        assert not verilated.errors


@pytest.mark.parametrize("name", ["ulx3s", "ulx3s-bram"])
def test_tiny_fits(name):
    """What `make board-sim` runs by default has room in the board's memory, but for the logits, which it may leave."""
    module = load(name)
    options = dict(zip(*[iter(getattr(module, "MODEL_OPTIONS", ()))] * 2, strict=True))
    image = open_session("tiny", module.CONFIG, weights=options.get("--weights"),
                         context=int(options["--context"]) if options else None, text=False).image
    end = max(region.address + region.size for name, region in image.regions.items() if name != "logits")
    assert end <= simulated_board(name).memory.size_bytes


def test_unknown_board():
    with pytest.raises(SimError, match="unknown board 'gone'; there are: ulx3s"):
        simulated_board("gone")
