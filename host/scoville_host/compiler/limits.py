"""What a model needs of a configuration's buffers."""

from scoville.config import BLOCK, TILE_ROWS
from scoville.program.spread import places

from .layout import align, head_blocks
from .matrices import matrix_rows

__all__ = ["buffer_needs"]


def buffer_needs(model, config):
    """Fields of `config` that a model could exceed: dict of the field to (what it needs, what needs it)."""
    hidden, blocks = align(model.hidden, TILE_ROWS), head_blocks(model.head_dim)
    # What a layer reads stays apart from what it writes; the FFN takes over from attention.
    queries = model.kv_heads * places(config, model.group)
    operands = hidden // BLOCK + max((queries + model.heads) * blocks, -(-model.ffn // BLOCK))
    parts = {"gate_up": ("gate", "up")}
    rows = max((len(numbers) for kind, numbers in matrix_rows(model).items()
                if any(f"{n}.{part}_bias" in model.tensors for n in range(model.layers)
                       for part in parts.get(kind, (kind,)))), default=0)
    return {
        "max_hidden": (hidden, f"hidden size {model.hidden}"),
        "max_head_blocks": (blocks, f"head dimension {model.head_dim}"),
        "operand_blocks": (operands, "hidden size, heads and FFN together"),
        "max_rows": (rows, "the longest bias vector"),
    }
