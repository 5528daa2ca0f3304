"""The golden model: the whole chip in numpy, bit for bit.

It executes the same program from the same memory as the RTL, and is a composition of the units' own models. A result
does not depend on the number of lanes, so the model takes as many tokens a pass as is fast.
"""

from dataclasses import dataclass

import numpy as np

from . import sampler
from .attention import softmax
from .config import BLOCK, PAGE_TOKENS, TILE_ROWS
from .golden_linear import linear, sum_of_rows
from .golden_memory import GoldenMemory, PageFault
from .isa import INSTRUCTION_BYTES, Dest, Element, LoadDest, Mode, Opcode, ScaleFormat, decode
from .numerics import block, fp32, sigmoid, table

__all__ = ["GoldenChip", "GoldenResult", "PageFault"]


@dataclass(frozen=True, eq=False)
class GoldenResult:
    """Generated tokens, and the float32 logits ``[len(tokens), vocab]`` that each was chosen from."""

    tokens: list
    logits: np.ndarray


class GoldenChip:
    """The chip's model.

    Parameters
    ----------
    config : ChipConfig; ``act_bits`` is all that matters to the results, ``bus_bytes`` to the layout of the memory.
    memory : uint8 array, written by KV appends; or a `GoldenMemory`
    registers : dict with the values of the registers PROGRAM, KV_BASE, KV_PAGES, KV_PAGE_BYTES and CONTEXT (addresses whole)
    base : address of ``memory[0]``
    """

    def __init__(self, config, memory, registers, *, base=0):
        self.config = config
        self.registers = registers
        self.memory = GoldenMemory(config, memory, base=base, kv_base=registers["KV_BASE"],
                                   kv_pages=registers["KV_PAGES"], kv_page_bytes=registers["KV_PAGE_BYTES"])
        self.program = self._fetch(registers["PROGRAM"])
        self.vocab = next(i["limit"] for i in self.program if i.get("dest") == Dest.LOGITS)

    def _fetch(self, address):
        program = []
        while not program or program[-1]["opcode"] != Opcode.END:
            program.append(decode(self.memory.view(address, INSTRUCTION_BYTES).tobytes()))
            address += INSTRUCTION_BYTES
        return program

    def run(self, prompt_ids, max_new_tokens, *, stop_ids=(), temperature=0.0, seed=0, on_token=None, lanes=16):
        """Process a prompt and generate.

        Parameters
        ----------
        prompt_ids : token ids, at least one
        max_new_tokens : most tokens to generate; a stop token counts and is the last
        temperature : 0 for arg-max
        on_token : called with each token as it comes
        lanes : tokens of the prompt a pass; any value gives the same bits

        Returns
        -------
        GoldenResult
        """
        tokens, logits = [], []
        for start in range(0, len(prompt_ids), lanes):
            chunk = prompt_ids[start:start + lanes]
            values = self.forward(chunk, start, last=start + len(chunk) == len(prompt_ids))
        while True:
            logits.append(values[-1])
            tokens.append(sampler.model.sample(values[-1], temperature, seed, len(tokens)))
            if on_token:
                on_token(tokens[-1])
            position = len(prompt_ids) + len(tokens) - 1
            if len(tokens) == max_new_tokens or tokens[-1] in stop_ids or position >= self.registers["CONTEXT"]:
                return GoldenResult(tokens, np.stack(logits))
            values = self.forward(tokens[-1:], position, last=True)

    def logits(self, ids, *, lanes=32, on_pass=None):
        """Logits after every token of `ids` (teacher forcing): float32 ``[len(ids), vocab]``."""
        parts = []
        for start in range(0, len(ids), lanes):
            parts.append(self.forward(ids[start:start + lanes], start, last=True))
            if on_pass:
                on_pass(len(parts[-1]))
        return np.concatenate(parts)

    def forward(self, ids, position, *, last):
        """One pass: tokens `ids` at `position` and on. Returns logits ``[len(ids), vocab]``, or None if not `last`."""
        if position + len(ids) > self.registers["CONTEXT"]:
            raise ValueError(f"{position + len(ids)} positions; the page table has room for {self.registers['CONTEXT']}")
        state = _Pass(self.config, self.memory, ids, position)
        for instruction in self.program:
            if last or not instruction["only_last"]:
                state.execute(instruction)
        return state.logits


class _Pass:
    """The chip's buffers during one pass, a lane for each of its tokens."""

    def __init__(self, config, memory, ids, position):
        self.config, self.memory = config, memory
        self.ids = np.asarray(ids, np.int64)
        self.lanes = len(self.ids)
        self.positions = position + np.arange(self.lanes)
        depth = (self.lanes, config.operand_blocks)
        self.q = np.zeros((*depth, BLOCK), np.int16)
        self.e8 = np.zeros(depth, np.uint8)
        self.sums = np.zeros(depth, np.int32)
        self.logits = None

    def execute(self, instruction):
        """Run one instruction."""
        getattr(self, "_" + instruction["opcode"].name.lower())(instruction)

    def _end(self, instruction):
        pass

    def _load(self, i):
        dest = LoadDest(i["load_dest"])
        if dest is LoadDest.TABLE:
            self.table = self.memory.view(i["address"], 16).view(np.int8).copy()
        elif dest is LoadDest.BIAS:
            self.bias = self.memory.floats(i["address"], i["count"])[:, None]
        else:
            self.norm_weights = self.memory.floats(i["address"], i["count"])[:, None]

    def _rope(self, i):
        rows = [self.memory.floats(i["address"] + i["stride"] * int(p), i["bytes"] // 4) for p in self.positions]
        self.cos, self.sin = np.stack(rows, axis=1).reshape(-1, 2, self.lanes).swapaxes(0, 1)

    def _embed(self, i):
        size = 2 if i["element"] == Element.BF16 else 4
        rows = np.stack([self.memory.view(i["address"] + i["stride"] * int(token), size * i["rows"]) for token in self.ids])
        bits = rows.view(np.uint16).astype(np.uint32) << 16 if size == 2 else rows.view(np.uint32)
        self.residual = fp32.model.flush(bits.view(np.float32).T)
        self._to_operands(self._norm(self.residual, i), i["dst"])

    def _linear(self, i):
        weights = self.memory.weights(i, self.table)
        source = slice(i["src"], i["src"] + i["kblocks"])
        v = linear(weights, self.q[:, source], self.e8[:, source], self.sums[:, source])
        if i["lane_scale"]:
            v = fp32.model.mul(v, self.lane_scale)
        if i["bias"]:
            v = fp32.model.add(v, self.bias[:len(v)])
        if i["mode"] == Mode.ROPE:
            v = self._rotate(v)
        elif i["mode"] == Mode.GLU:
            v = fp32.model.mul(fp32.model.mul(v[0::2], sigmoid.model(v[0::2])), v[1::2])
        if i["residual"]:
            v = self.residual = fp32.model.add(v, self.residual)
        if i["norm"]:
            v = self._norm(v, i)
        dest = Dest(i["dest"])
        if dest is Dest.LOGITS:
            self.logits = np.ascontiguousarray(v[:i["limit"]].T)
        elif dest is Dest.OPERAND:
            self._to_operands(v, i["dst"])
        elif dest is Dest.QUERY:
            self._to_queries(v, i)
        elif dest in (Dest.KEY, Dest.VALUE):
            self._to_cache(v, i, value=dest is Dest.VALUE)

    def _rotate(self, v):
        a, b = (half.reshape(-1, *self.cos.shape) for half in (v[0::2], v[1::2]))
        add, mul, neg = fp32.model.add, fp32.model.mul, fp32.model.neg
        c, s = self.cos, self.sin
        turned = add(mul(a, c), neg(mul(b, s))), add(mul(a, s), mul(b, c))
        return np.stack(turned, axis=2).reshape(v.shape)

    def _norm(self, v, i):
        """Sum of squares, in row order, for the lane scale to come; `v` times the norm weights."""
        total = sum_of_rows(fp32.model.mul(v, v))
        inv_n, epsilon = np.array([i["inv_n"], i["epsilon"]], np.uint32).view(np.float32)
        self.lane_scale = table.model.rsqrt(fp32.model.add(fp32.model.mul(total, inv_n), epsilon))
        return fp32.model.mul(v, self.norm_weights[:len(v)])

    def _quantise(self, v, bits):
        """Blocks of rows ``[rows, lanes]``: (q ``[lanes, blocks, 32]``, e8, sums)."""
        return block.model.quantise(np.ascontiguousarray(v.T).reshape(v.shape[1], -1, BLOCK), bits)

    def _store(self, lanes, addresses, blocks):
        if np.max(addresses) >= self.config.operand_blocks:
            raise ValueError(f"operand address {np.max(addresses)}; the buffer has {self.config.operand_blocks} blocks")
        for array, values in zip((self.q, self.e8, self.sums), blocks, strict=True):
            array[lanes, addresses] = values

    def _to_operands(self, v, dst):
        blocks = self._quantise(v, self.config.act_bits)
        self._store(np.arange(self.lanes)[:, None], dst + np.arange(blocks[1].shape[1]), blocks)

    def _query_map(self, i, kv_heads):
        """Where query n of KV head h lies: (bank ``[h, n, 1]``, block offset ``[h, n, B]``)."""
        n = np.arange(self.lanes * i["group"])[None, :, None]
        head = np.arange(kv_heads)[:, None, None] * i["group"]
        return n % self.lanes + 0 * head, (head + n // self.lanes) * i["head_blocks"] + np.arange(i["head_blocks"])

    def _by_kv_head(self, blocks, i):
        """Arrays ``[lanes, heads * B, ...]`` as ``[kv heads, lanes * group, B, ...]``."""
        shape = (self.lanes, -1, i["group"], i["head_blocks"])
        return [np.moveaxis(a.reshape(*shape, *a.shape[2:]), 1, 0).reshape(-1, self.lanes * shape[2], shape[3], *a.shape[2:])
                for a in blocks]

    def _to_queries(self, v, i):
        blocks = self._by_kv_head(self._quantise(v, self.config.act_bits), i)
        bank, address = self._query_map(i, len(blocks[1]))
        self._store(bank, i["dst"] + address, blocks)

    def _to_cache(self, v, i, *, value):
        q, e8, _ = self._quantise(v, 8)
        for lane, position in enumerate(self.positions):
            codes, exponents = (a[lane].reshape(-1, i["head_blocks"], *a.shape[2:]) for a in (q, e8))
            self.memory.append(i, int(position), codes.astype(np.int8), exponents, value=value)

    def _attend(self, i):
        bank, address = self._query_map(i, i["kv_heads"])
        q, e8 = self.q[bank, i["src"] + address].astype(np.float32), self.e8[bank, i["src"] + address].astype(np.int64)
        scale = np.array(i["softmax_scale"], np.uint32).view(np.float32)
        positions = np.repeat(self.positions, i["group"])
        state, acc = softmax.model.start(e8.shape[:2]), np.zeros((*e8.shape, BLOCK), np.float32)
        for page in range(int(self.positions[-1]) // PAGE_TOKENS + 1):
            kv = self.memory.pages(i, page)
            valid = page * PAGE_TOKENS + np.arange(PAGE_TOKENS) <= positions[:, None]
            state, shift, (p, p_e8, _) = softmax.model.page(
                state, self._scores(q, e8, kv), np.broadcast_to(valid, (*e8.shape[:2], PAGE_TOKENS)),
                scale, kv.v_e8[:, None], self.config.act_bits)
            dot = np.einsum("hnbt,hbdt->hnbd", p.astype(np.float32), kv.v.astype(np.float32), optimize=True)
            acc = fp32.model.add(fp32.model.scale2(acc, -shift[..., None, None]),
                                 fp32.model.scale2(dot, p_e8.astype(np.int64)[..., None] - 127))
        v = fp32.model.mul(acc, table.model.recip(state.total)[..., None, None])
        v = v.reshape(i["kv_heads"], self.lanes, -1, BLOCK).swapaxes(0, 1).reshape(self.lanes, -1)
        self._to_operands(v.T, i["dst"])

    @staticmethod
    def _scores(q, e8, kv):
        """Scores of 32 tokens: float32 ``[kv heads, queries, 32]``, a linear layer whose weights are a page of keys."""
        acc = np.float32(0)
        scales = block.model.scale_e8m0(kv.k_e8)
        for b in range(q.shape[2]):
            p = fp32.model.mul(q[:, :, b] @ kv.k[:, b].astype(np.float32).swapaxes(1, 2), scales[:, None, b])
            acc = fp32.model.add(acc, fp32.model.scale2(p, e8[:, :, b, None] - 127))
        return acc
