"""The golden model of one pass: instructions, executed on the chip's buffers by the units' models."""

from typing import NamedTuple

import numpy as np

from .attention import softmax
from .config import BLOCK, PAGE_TOKENS
from .control.legality import Refused
from .epilogue import chain
from .epilogue import norm as norms
from .golden_linear import linear
from .golden_pages import PagedCache
from .isa import Dest, Element, LoadDest
from .numerics import block, fp32
from .registers import Status

__all__ = ["Part", "Pass"]


class Part(NamedTuple):
    """Consecutive tokens of a pass that belong to one sequence: the `position` of the first, and the sequence's pages.
    """

    tokens: int
    position: int
    cache: PagedCache


class Pass:
    """The chip's buffers during one pass, a lane for each of its tokens.

    Parameters
    ----------
    config : ChipConfig
    memory : GoldenMemory
    ids : token ids, one a lane
    parts : list of `Part`, of as many tokens

    Members
    -------
    logits : float32 ``[lanes, vocab]`` once a LINEAR to the sampler has run, until then None
    """

    def __init__(self, config, memory, ids, parts):
        self.config, self.memory = config, memory
        self.ids = np.asarray(ids, np.int64)
        self.lanes = len(self.ids)
        self.positions = np.concatenate([part.position + np.arange(part.tokens) for part in parts])
        ends = np.cumsum([part.tokens for part in parts])
        self.parts = [(slice(end - part.tokens, end), part.cache) for part, end in zip(parts, ends, strict=True)]
        depth = (self.lanes, config.operand_blocks)
        self.q = np.zeros((*depth, BLOCK), np.int16)
        self.e8 = np.zeros(depth, np.uint8)
        self.sums = np.zeros(depth, np.int32)
        self.table = np.zeros(16, np.int8)
        self.cos = self.sin = np.zeros((0, self.lanes), np.float32)
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
            self.bias = self.memory.floats(i["address"], i["count"])
        else:
            self.norm_weights = self.memory.floats(i["address"], i["count"])

    def _rope(self, i):
        rows = [self.memory.floats(self._row(i, p), i["bytes"] // 4) for p in self.positions]
        self.cos, self.sin = np.stack(rows, axis=1).reshape(-1, 2, self.lanes).swapaxes(0, 1)

    def _row(self, i, number):
        """The address of a row of a table: it does not wrap."""
        address = i["address"] + i["stride"] * int(number)
        if address >> self.config.addr_bits:
            raise Refused(Status.ILLEGAL_INSTRUCTION)
        return address

    def _embed(self, i):
        size = 2 if i["element"] == Element.BF16 else 4
        rows = np.stack([self.memory.view(self._row(i, token), size * i["rows"]) for token in self.ids])
        bits = rows.view(np.uint16).astype(np.uint32) << 16 if size == 2 else rows.view(np.uint32)
        self._to_operands(self._chain(bits.view(np.float32).T, i, norm=True, store=True), i["dst"])

    def _linear(self, i):
        weights = self.memory.weights(i, self.table)
        source = slice(i["src"], i["src"] + i["kblocks"])
        v = linear(weights, self.q[:, source], self.e8[:, source], self.sums[:, source])
        v = self._chain(v, i, scale=self.lane_scale if i["lane_scale"] else None,
                        bias=self.bias if i["bias"] else None, mode=i["mode"],
                        residual=self.residual if i["residual"] else None, store=i["residual"])
        dest = Dest(i["dest"])
        if dest is Dest.LOGITS:
            self.logits = np.ascontiguousarray(v[:i["limit"]].T)
        elif dest is Dest.OPERAND:
            self._to_operands(v, i["dst"])
        elif dest is Dest.QUERY:
            self._to_queries(v, i)
        elif dest in (Dest.KEY, Dest.VALUE):
            self._to_cache(v, i, value=dest is Dest.VALUE)

    def _chain(self, v, i, *, norm=None, **stages):
        """The epilogue; keeps the new residual, and the lane scale that a norm leaves for the next matrix."""
        norm = i["norm"] if norm is None else norm
        weight = self.norm_weights if norm else None
        pairs = slice(i.get("head_blocks", 0) * BLOCK // 2)
        v, kept, total = chain.model_rows(v, cos=self.cos[pairs], sin=self.sin[pairs], weight=weight, **stages)
        if kept is not None:
            self.residual = kept
        if norm:
            self.lane_scale = norms.model(total, *np.array([i["inv_n"], i["epsilon"]], np.uint32).view(np.float32))
        return v

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

    @staticmethod
    def _query_map(i, kv_heads, lanes):
        """Where query n of KV head h of a part lies: (bank ``[h, n, 1]``, block offset ``[h, n, B]``)."""
        count = lanes.stop - lanes.start
        n = np.arange(count * i["group"])[None, :, None]
        head = np.arange(kv_heads)[:, None, None] * i["group"]
        return lanes.start + n % count + 0 * head, (head + n // count) * i["head_blocks"] + np.arange(i["head_blocks"])

    @staticmethod
    def _by_kv_head(blocks, i):
        """Arrays ``[lanes, heads * B, ...]`` as ``[kv heads, lanes * group, B, ...]``."""
        group, size = i["group"], i["head_blocks"]
        return [a.reshape(len(a), -1, group, size, *a.shape[2:]).swapaxes(0, 1)
                .reshape(-1, len(a) * group, size, *a.shape[2:]) for a in blocks]

    def _to_queries(self, v, i):
        quantised = self._quantise(v, self.config.act_bits)
        for lanes, _ in self.parts:
            blocks = self._by_kv_head([a[lanes] for a in quantised], i)
            bank, address = self._query_map(i, len(blocks[1]), lanes)
            self._store(bank, i["dst"] + address, blocks)

    def _to_cache(self, v, i, *, value):
        q, e8, _ = self._quantise(v, 8)
        for lanes, cache in self.parts:
            for lane in range(lanes.start, lanes.stop):
                codes, exponents = (a[lane].reshape(-1, i["head_blocks"], *a.shape[2:]) for a in (q, e8))
                cache.append(i, int(self.positions[lane]), codes.astype(np.int8), exponents, value=value)

    def _attend(self, i):
        self._to_operands(np.concatenate([self._attend_part(i, *part) for part in self.parts]).T, i["dst"])

    def _attend_part(self, i, lanes, cache):
        """What a part's tokens gather from their sequence, float32 ``[lanes, rows]``."""
        bank, address = self._query_map(i, i["kv_heads"], lanes)
        positions = self.positions[lanes]
        q, e8 = self.q[bank, i["src"] + address], self.e8[bank, i["src"] + address]
        kv = cache.pages(i, int(positions[-1]) // PAGE_TOKENS + 1)
        c = np.array(i["softmax_scale"], np.uint32).view(np.float32)
        p, shifts, factor = softmax.model(
            self._scores(q, e8, kv), np.repeat(positions, i["group"]), np.moveaxis(kv.v_e8, 1, 3)[..., None], c)
        p_q, p_e8, _ = block.model.quantise(np.moveaxis(p, 2, 4), self.config.act_bits)
        # [pages, B, heads, queries, 32]; products of a block are below 2^24, so exact in float32
        dots = p_q.astype(np.float32) @ kv.v.astype(np.float32).transpose(0, 2, 1, 4, 3)
        terms = fp32.model.scale2(dots, p_e8.astype(np.int64)[..., None] - 127)
        acc = np.zeros(terms.shape[1:], np.float32)
        for shift, term in zip(shifts, terms, strict=True):
            acc = fp32.model.add(fp32.model.scale2(acc, -shift[..., None]), term)
        v = fp32.model.mul(acc, factor[..., None])
        v = v.reshape(*v.shape[:2], len(positions), i["group"], BLOCK).transpose(2, 1, 3, 0, 4)
        return v.reshape(len(positions), -1)

    @staticmethod
    def _scores(q, e8, kv):
        """Scores float32 ``[pages, 32, kv heads, queries]``: a linear layer whose weights are the keys."""
        acc = np.float32(0)
        scales = block.model.scale_e8m0(kv.k_e8)[..., None]
        exponents = e8.astype(np.int64)[:, None] - 127
        for b in range(e8.shape[2]):
            dots = kv.k[:, :, b].astype(np.float32) @ q[:, :, b].astype(np.float32).swapaxes(1, 2)
            acc = fp32.model.add(acc, fp32.model.scale2(fp32.model.mul(dots, scales[:, :, b]), exponents[..., b]))
        return acc.swapaxes(1, 2)
