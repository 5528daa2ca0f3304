"""The compiler: a model and a configuration become a program and the memory it runs in."""

import math

import numpy as np
from scoville.config import BLOCK, PAGE_TOKENS, TILE_ROWS
from scoville.isa import Dest, Element, LoadDest, Mode, Opcode
from scoville.program.spread import places
from scoville.registers import fits

from ..checkpoint.formats import get_format
from ..errors import RequestError
from .image import Image, Region, Traffic
from .layout import align, head_blocks, matrix_bytes, pack_matrix, page_bytes
from .limits import buffer_needs
from .matrices import Matrices
from .program import MemoryMap, Program
from .rope import rope_table

__all__ = ["DEFAULT_CONTEXT", "Compiler", "compile_model"]

DEFAULT_CONTEXT = 512
MAX_TURNS = 1 << 22  # positions times blocks of a head: bounds the table of positions


def compile_model(model, config, *, weights=None, context=None, base=0, progress=None):
    """Lower a model to an `Image`.

    Parameters
    ----------
    model : `Model`, already checked.
    config : `ChipConfig`.
    weights : name of a weight format for every matrix. None: blocks stay as they are stored, floats become MXINT8.
    context : positions to make room for; None means the model's own, at most 512.
    base : address of the image's first byte.
    progress : called with (done, total) layers.

    Raises
    ------
    RequestError
        If the configuration is too small for the model, or the model cannot be lowered.
    """
    context = context or min(model.context, DEFAULT_CONTEXT)
    if not 1 <= context <= model.context:
        raise RequestError(f"context is {context}; {model.name} allows 1 to {model.context}")
    matrices = Matrices(model, get_format(weights or "mxint8"), config, requantise=weights is not None)
    return Compiler(model, config, matrices, context, base).build(progress)


class Compiler:
    """One lowering: see `compile_model`."""

    memory_map = MemoryMap

    def __init__(self, model, config, matrices, context, base):
        self.model, self.config, self.matrices, self.context = model, config, matrices, context
        if model.window is not None and context > model.window:
            raise RequestError(f"{model.source}: a sliding window of {model.window} tokens is not supported in a "
                               f"context of {context}; use --context {model.window} at most")
        self.blocks = head_blocks(model.head_dim)
        if context * self.blocks > MAX_TURNS:
            raise RequestError(f"context is {context:,}; at most {MAX_TURNS // self.blocks:,} positions are laid out "
                               f"with a head dimension of {model.head_dim}")
        self.hidden = align(model.hidden, TILE_ROWS)
        # Operand buffer: what a layer reads stays apart from what it writes; the FFN takes over from attention.
        self.x, self.query = 0, self.hidden // BLOCK
        self.attended = self.query + model.kv_heads * places(config, model.group) * self.blocks
        self.ffn = self.query
        self._check_limits()
        self.map = self.memory_map(config, base)
        self.program = Program()
        self.formats = {}
        self.code_table = None  # name of the format whose code table is loaded
        self.read = {"layers": 0, "head": 0}
        self.macs = {"layers": 0, "head": 0}

    def _check_limits(self):
        """Every size of the build that this model could exceed."""
        for field, (need, what) in buffer_needs(self.model, self.config).items():
            have = getattr(self.config, field)
            if need > have:
                raise RequestError(f"{self.model.name} does not fit configuration {self.config.name}: {what} needs "
                                   f"{field} = {need}, and it has {have}")

    def build(self, progress):
        model, emit = self.model, self.program.emit
        self.head_bytes = page_bytes(self.config, self.blocks)
        self.inv_n = _bits(1 / model.hidden)
        # A norm does not see the size of its input, but for epsilon: so the residual is kept 1/residual_scale as large,
        # and what attention and the FFN add to it needs no factor.
        self.epsilon = _bits(model.epsilon / model.residual_scale ** 2)
        self._embed()
        for layer in range(model.layers):
            self._layer(layer)
            if progress:
                progress(layer + 1, model.layers)
        self._linear(None, "lm_head", self.matrices.lm_head(), only_last=1, wait=1, src=self.x, dest=Dest.LOGITS,
                     lane_scale=1, limit=model.vocab)
        emit("end of the pass", Opcode.END)
        return self._finish()

    def _embed(self):
        model, config = self.model, self.config
        table = rope_table(model, self.context).reshape(self.context, -1)
        stride = align(4 * table.shape[1], config.bus_bytes)
        address = self._place_rows("rope", table, stride)
        self.program.emit("cosines and sines of each lane's position", Opcode.ROPE, address=address, bytes=stride,
                          stride=stride, limit=self.context)
        self._load_norm("0.attention_norm")
        self.embedding_factor = model.embedding_scale / model.residual_scale
        plain = self.embedding_factor == 1 and model.tensors["embedding"].dtype == "BF16"
        element = Element.BF16 if plain else Element.FP32
        values = self._embedding(element)
        stride = align(values.itemsize * self.hidden, config.bus_bytes)
        address = self._place_rows("embedding", values, stride)
        self.program.emit("token embeddings", Opcode.EMBED, address=address, bytes=stride, stride=stride,
                          rows=self.hidden, dst=self.x, element=element, limit=model.vocab, inv_n=self.inv_n,
                          epsilon=self.epsilon)
        self.token_bytes = values.itemsize * model.hidden + 4 * model.head_dim

    def _embedding(self, element):
        """The embedding's rows, padded to whole blocks."""
        values = self._scaled("embedding", self.embedding_factor)
        values = np.pad(values, ((0, 0), (0, self.hidden - self.model.hidden)))
        return (values.view(np.uint32) >> 16).astype(np.uint16) if element is Element.BF16 else values

    def _scaled(self, name, factor):
        """A tensor as float32, multiplied in float64."""
        values = self.model.tensors[name].floats()
        if factor == 1:
            return values
        with np.errstate(over="ignore"):
            values = (values * np.float64(factor)).astype(np.float32)
        if not np.isfinite(values).all():
            raise RequestError(f"{self.model.source}: {name} times {factor} is beyond FP32")
        return values

    def _place_rows(self, name, values, stride):
        return self.map.place(name, _padded(values, stride))

    def _place_matrix(self, name, blocks, size):
        data = pack_matrix(blocks, self.config)
        if len(data) != size:
            raise AssertionError(f"{name}: {len(data)} bytes are not the layout's {size}")
        return self.map.place(name, data)

    def _layer(self, n):
        model, group = self.model, self.model.group
        heads = {"kv_heads": model.kv_heads, "head_blocks": self.blocks}
        pages = {"offset": n * model.kv_heads * self.head_bytes, "stride": self.head_bytes} | heads
        norm = {"residual": 1, "norm": 1, "inv_n": self.inv_n, "epsilon": self.epsilon,
                "dst": self.x, "dest": Dest.OPERAND}
        after = f"{n + 1}.attention_norm" if n + 1 < model.layers else "norm"

        mode = Mode.ROPE if model.turning is None or model.turning[n] else Mode.PLAIN
        scale = math.log2(math.e) / math.sqrt(model.head_dim)
        if model.attention_scale is not None:
            scale = math.log2(math.e) * model.attention_scale

        self._layer_linear(n, "k", wait=1, src=self.x, dest=Dest.KEY, mode=mode, lane_scale=1, **pages)
        self._layer_linear(n, "v", src=self.x, dest=Dest.VALUE, lane_scale=1, **pages)
        self._layer_linear(n, "q", src=self.x, dst=self.query, dest=Dest.QUERY, mode=mode, lane_scale=1,
                           group=group, **heads)
        self.program.emit(f"layer {n} attention", Opcode.ATTEND, wait=1, src=self.query, dst=self.attended,
                          group=group, **pages,
                          softmax_scale=_bits(scale))
        self._load_norm(f"{n}.ffn_norm")
        self._layer_linear(n, "o", wait=1, src=self.attended, **norm)
        self._layer_linear(n, "gate_up", wait=1, src=self.x, dst=self.ffn, dest=Dest.OPERAND, mode=Mode.GLU,
                           lane_scale=1)
        self._load_norm(after)
        self._layer_linear(n, "down", wait=1, src=self.ffn, **norm)

    def _load(self, remark, dest, address, size, count, **flags):
        self.program.emit(remark, Opcode.LOAD, address=address, bytes=size, load_dest=dest, count=count, **flags)

    def _load_norm(self, name):
        # Logits are divided in front of the output matrix.
        values = self._scaled(name, 1 / self.model.logit_scale if name == "norm" else 1.0)
        values = np.pad(values, (0, self.hidden - self.model.hidden))
        address, size = self.map.place_once(name, values)
        self._load(f"norm weights {name}", LoadDest.NORM, address, size, self.hidden)
        self.read["layers"] += 4 * self.model.hidden

    def _load_table(self, fmt, only_last):
        """The values of 4-bit codes, when the last ones loaded were others."""
        if fmt.code_bits == 8 or fmt.name == self.code_table:
            return
        address, size = self.map.place_once(f"codes.{fmt.name.lower()}", np.array(fmt.table, np.int8))
        # Earlier matrices must have left the decoder before their codes change meaning.
        self._load(f"values of {fmt.name} codes", LoadDest.TABLE, address, size, len(fmt.table),
                   wait=int(self.code_table is not None), only_last=only_last)
        self.code_table = fmt.name

    def _layer_linear(self, n, kind, **fields):
        bias = self.matrices.bias(n, kind)
        if bias is not None:
            address, size = self.map.place_once(f"{n}.{kind}.bias", bias)
            # The buffer is free once the last matrix that uses it has left the chain.
            self._load(f"layer {n} {kind} bias", LoadDest.BIAS, address, size, len(bias), wait=1)
            self.read["layers"] += bias.nbytes
        self._linear(n, kind, self.matrices.matrix(n, kind), bias=int(bias is not None), **fields)

    def _linear(self, layer, kind, blocks, **fields):
        fmt = blocks.format
        self.formats.setdefault(kind, fmt.name.lower())
        self._load_table(fmt, fields.get("only_last", 0))
        tiles, kblocks = blocks.codes.shape[0] // TILE_ROWS, blocks.codes.shape[1]
        size = matrix_bytes(fmt, tiles, kblocks, self.config)
        name = kind if layer is None else f"{layer}.{kind}"
        address = self._place_matrix(f"{name}.weight", blocks, size)
        self.program.emit(name, Opcode.LINEAR, address=address, tiles=tiles, kblocks=kblocks,
                          beats=size // self.config.bus_bytes, code_bits8=int(fmt.code_bits == 8),
                          scale_format=fmt.scale_format, minimum=int(fmt.minimum), high_bits=fmt.high_bits, **fields)
        self._count(layer, kind, fmt)

    def _count(self, layer, kind, fmt):
        """The matrix's share of the traffic, without padding."""
        names = ["embedding"] if layer is None else self.matrices.parts(layer, kind)
        sizes = [self.model.shape(name) for name in names]
        part = "head" if layer is None else "layers"
        for rows, columns in sizes:
            self.read[part] += round(rows * -(-columns // BLOCK) * fmt.block_bytes)
            self.macs[part] += rows * columns

    def _finish(self):
        model, config, memory = self.model, self.config, self.map
        pages, size = -(-self.context // PAGE_TOKENS), model.layers * model.kv_heads * self.head_bytes
        if pages > config.slot_pages:
            raise RequestError(f"context is {self.context:,}; a sequence has at most "
                               f"{PAGE_TOKENS * config.slot_pages:,} positions in configuration {config.name}")
        program = memory.place("program", np.frombuffer(self.program.data(), np.uint8))
        initialised = memory.contents()
        prompt = memory.reserve("prompt", 4 * self.context)
        kv = memory.reserve("kv_pool", pages * size, step=4096)
        stride = align(4 * align(model.vocab, TILE_ROWS), config.bus_bytes)
        logits = memory.reserve("logits", self.context * stride, step=4096)
        limit = align(memory.end, 4096)
        if limit >> config.addr_bits:
            raise RequestError(f"{model.name} needs addresses up to {limit:#x}; configuration {config.name} has "
                               f"{config.addr_bits} address bits")
        registers = {"PROGRAM": program, "PROMPT": prompt, "CONTEXT": self.context, "KV_BASE": kv, "KV_PAGES": pages,
                     "KV_PAGE_BYTES": size, "WINDOW_BASE": memory.base, "WINDOW_LIMIT": limit, "LOGITS": logits,
                     "LOGITS_STRIDE": stride}
        for name, value in registers.items():
            if not fits(config, name, value):
                raise RequestError(f"{model.name} needs {value:#x} in register {name}; a chip of configuration "
                                   f"{config.name} cannot hold it")
        traffic = Traffic(
            layer_bytes=self.read["layers"], head_bytes=self.read["head"], token_bytes=self.token_bytes,
            kv_bytes=2 * model.layers * model.kv_heads * (model.head_dim + self.blocks), layer_macs=self.macs["layers"],
            head_macs=self.macs["head"], kv_macs=2 * model.layers * model.heads * model.head_dim)
        return Image(model=model.name, source=model.source, config=config, memory=initialised, base=memory.base,
                     size=limit - memory.base, regions={name: Region(*place) for name, place in memory.regions.items()},
                     registers=registers, vocab=model.vocab, context=self.context, layers=model.layers,
                     eos_ids=list(model.eos_ids), weights=self.formats, traffic=traffic, listing=self.program.remarks)


def _bits(value):
    """The bits of a float rounded to FP32."""
    return int(np.float32(value).view(np.uint32))


def _padded(rows, stride):
    """Rows as bytes, each padded to `stride`."""
    data = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    return np.pad(data, ((0, 0), (0, stride - data.shape[1])))
