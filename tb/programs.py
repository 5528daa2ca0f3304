"""Random instructions and pass states for the tests of the control blocks."""

from dataclasses import replace
from types import SimpleNamespace

from scoville.attention.kv_store import page_offsets
from scoville.config import BLOCK, SUPER_BLOCKS, get_config
from scoville.control.legality import Legality, Tag
from scoville.control.rules import multiple, tile_beats
from scoville.isa import FIELDS, PAGE_SIZE_BITS, Dest, Element, LoadDest, Mode, Opcode, ScaleFormat, decode, encode
from scoville.registers import Status
from scoville.schedule.seats import of_run, of_runs

__all__ = ["LegalProgram", "encoded", "largest_page", "matrix_beats", "random_instruction", "random_runs",
           "random_state", "with_slots"]


def largest_page(config):
    """The most bytes that a KV page may have."""
    return (1 << PAGE_SIZE_BITS) - config.bus_bytes


def matrix_beats(config, fields):
    """Beats of the matrix of a LINEAR."""
    return fields["tiles"] * int(tile_beats(config, SimpleNamespace(**{"high_bits": 0} | fields)))


def with_slots(name):
    """A configuration, by its name and how many slots it has: "duo 4"; of a name alone, as it is."""
    name, *slots = name.split()
    return replace(get_config(name), slots=int(*slots)) if slots else get_config(name)


IDS = 1 << 16  # token ids are below
FINITE = 255 << 23  # floats below it are finite and not negative


def encoded(opcode, fields):
    """An instruction as a word."""
    return int.from_bytes(encode(opcode, **fields), "little")


def random_state(config, rng, *, last_position=150):
    """A pass state; `position` leaves room for a few pages of context."""
    tokens = rng.randint(1, config.seats)
    return of_run([rng.randrange(IDS) for _ in range(tokens)],
                  rng.choice([0, rng.randrange(32), rng.randrange(last_position)]), last=rng.randrange(2))


def random_runs(config, rng, tokens, *, last_position=300):
    """A pass state of so many tokens of several slots: runs of one or many, positions that differ wildly."""
    lengths = []
    while sum(lengths) < tokens:
        longest = min(tokens - sum(lengths), config.seats // 2 if rng.random() < 0.4 else 1) or 1
        lengths.append(rng.randint(1, longest) if len(lengths) + 1 < config.slots else tokens - sum(lengths))
    slots = rng.sample(range(config.slots), len(lengths))
    return of_runs([(slot, [rng.randrange(IDS) for _ in range(length)],
                     rng.choice([0, rng.randrange(32), rng.randrange(last_position)]), rng.randrange(2))
                    for slot, length in zip(slots, lengths, strict=True)])


def random_instruction(config, rng, opcode, **given):
    """The fields of a legal instruction; those in `given` are taken as they are."""
    bus = config.bus_bytes

    def address(bits=40):
        return rng.getrandbits(bits) // bus * bus

    def beats_bytes():
        return bus * rng.randint(1, 20)

    group = rng.choice([1, 3, 4])

    def place():
        """Of a layer in a page, for a few KV heads."""
        return {"offset": rng.getrandbits(27) // bus * bus, "cache": rng.randrange(config.cache_groups),
                "stride": page_offsets(config, fields["head_blocks"])[1] + bus * rng.randrange(30)}

    fields = {name: rng.getrandbits(width) for name, (_, width) in FIELDS[opcode].items() if name != "opcode"}
    fields |= {"only_last": int(rng.random() < 0.2), "wait": int(rng.random() < 0.3)}
    if "address" in fields:
        fields["address"] = address()
    if "bytes" in fields:
        fields["bytes"] = beats_bytes()
    if opcode in (Opcode.ROPE, Opcode.EMBED):  # rows that are within the address space
        fields |= {"stride": rng.randint(1, 1 << 12) * bus, "address": rng.randrange((1 << 40) - (1 << 37)) & -bus}
    if "head_blocks" in fields:
        fields["head_blocks"] = rng.randint(1, config.max_head_blocks)
    if "group" in fields:
        fields["group"] = group
    if opcode is Opcode.LOAD:
        fields["load_dest"] = rng.choice(list(LoadDest))
    elif opcode is Opcode.EMBED:
        rows = rng.randint(1, min(config.max_hidden // BLOCK, config.operand_blocks))
        fields |= {"rows": rows * BLOCK, "dst": rng.randint(0, config.operand_blocks - rows),
                   "element": rng.choice(list(Element))}
    elif opcode is Opcode.LINEAR:
        kblocks = rng.randint(1, config.operand_blocks)
        fields |= {"tiles": rng.randint(1, min(9, config.max_hidden // BLOCK)),
                   "kblocks": kblocks, "src": rng.randint(0, config.operand_blocks - kblocks),
                   "scale_format": rng.choice([ScaleFormat.NONE, ScaleFormat.E8M0, ScaleFormat.FP16]), "high_bits": 0,
                   "mode": rng.choice(list(Mode)),
                   "dest": given.get("dest", rng.choice([dest for dest in Dest if dest is not Dest.NONE])),
                   "beats": rng.randint(1, 500)}
        fields["limit"] = rng.randint(1, fields["tiles"] * BLOCK)
        if fields["dest"] in (Dest.KEY, Dest.VALUE):
            fields["norm"] = 0
            fields |= place()
            del fields["inv_n"], fields["epsilon"]  # they are in the same bits
        else:
            del fields["offset"], fields["stride"], fields["cache"]
    elif opcode is Opcode.ATTEND:
        room = config.operand_blocks - 3 * group * config.max_head_blocks
        fields |= {"kv_heads": rng.randint(1, 3), "src": rng.randint(0, room), "dst": rng.randint(0, room)}
        fields |= place()
    elif opcode is Opcode.END:
        fields["only_last"] = 0
    fields |= given
    if opcode is Opcode.LINEAR and "tiles" in given and "limit" not in given:
        fields["limit"] = max(1, fields["tiles"] * BLOCK - rng.randrange(BLOCK))
    return fields


class LegalProgram:
    """Random instructions that a pass can carry out, one after the other; `words` and `fields` keep them.

    Parameters
    ----------
    config : ChipConfig
    rng : random.Random
    state : dict of `PassState`
    """

    def __init__(self, config, rng, state):
        self.config, self.rng, self.state = config, rng, state
        self.page_bytes = largest_page(config)
        self.legality = Legality(config)
        self.words, self.fields = [], []

    def add(self, opcode, **given):
        """An instruction with these fields, the others random; returns its fields.

        Raises
        ------
        ValueError
            If none was found that the rules allow.
        """
        for _ in range(1000):
            fields = self._draw(opcode, given)
            if fields is not None and self.try_add(opcode, fields):
                return fields
        raise ValueError(f"no legal {opcode.name} with {given}")

    def try_add(self, opcode, fields):
        """Whether these fields are legal now; then the instruction is added."""
        data = encode(opcode, **fields)
        if self.legality.check(decode(data), self.state, self.page_bytes) is not Status.OK:
            return False
        self.fields.append(fields)
        self.words.append(int.from_bytes(data, "little"))
        return True

    def begin(self, **rows):
        """What the other instructions stand on: table, norm weights, bias, rotations and embeddings.

        `rows` may say the stride and the address of the last two.
        """
        config = self.config
        self.add(Opcode.ROPE, bytes=max(128 * config.max_head_blocks, config.bus_bytes), only_last=0, **rows)
        for dest, count in ((LoadDest.TABLE, 16), (LoadDest.NORM, config.max_hidden), (LoadDest.BIAS, BLOCK * 32)):
            self.add(Opcode.LOAD, load_dest=dest, count=count, only_last=0)
        self.add(Opcode.EMBED, rows=BLOCK * (min(config.max_hidden // BLOCK, config.operand_blocks) // 2), dst=0,
                 only_last=0, **rows)

    def layer(self, *, group=None, kv_heads=None, **pages):
        """An attention with its appends; `pages` may say `offset`, `stride` and `cache`."""
        config, rng = self.config, self.rng
        head_blocks = 1 if group or kv_heads else rng.randint(1, min(2, config.max_head_blocks))
        group = group or rng.choice([1, 3, 4])
        most = max(1, min(3, config.operand_blocks // (4 * group * head_blocks)))
        heads = {"kv_heads": kv_heads or rng.randint(1, most), "head_blocks": head_blocks, "only_last": 0}
        key = self.add(Opcode.LINEAR, dest=Dest.KEY, tiles=heads["kv_heads"] * head_blocks, wait=1, **heads, **pages)
        pages = {name: key[name] for name in ("offset", "stride", "cache")}
        self.add(Opcode.LINEAR, dest=Dest.VALUE, tiles=key["tiles"], **heads, **pages)
        query = self.add(Opcode.LINEAR, dest=Dest.QUERY, tiles=key["tiles"] * group, group=group, **heads)
        self.add(Opcode.ATTEND, src=query["dst"], group=group, wait=1, **heads, **pages)

    def end(self):
        if self.state["last"] and not self.legality.context.logits:
            self.add(Opcode.LINEAR, dest=Dest.LOGITS, only_last=1, wait=1)
        self.add(Opcode.END)

    def _draw(self, opcode, given):
        """Fields that may be legal, or None."""
        config, rng, bus = self.config, self.rng, self.config.bus_bytes
        fields = random_instruction(config, rng, opcode, **given)

        def beats(size):
            return -(-size // bus) * bus

        def put(**values):
            fields.update({name: value for name, value in values.items() if name not in given})

        finite = {"inv_n": rng.randrange(FINITE), "epsilon": rng.randrange(FINITE)}
        if opcode is Opcode.LOAD:
            kind = fields["load_dest"]
            count = {LoadDest.NORM: config.max_hidden, LoadDest.BIAS: config.max_rows}.get(kind, 0) // BLOCK
            put(count=BLOCK * rng.randint(1, count) if count else 16)
            put(bytes=beats(4 * fields["count"]) if count else max(16, bus), wait=1)
        elif opcode is Opcode.ROPE:
            put(bytes=beats(128 * rng.randint(1, config.max_head_blocks)), wait=1,
                limit=self.state["seats"][-1]["position"] + 1 + rng.randrange(1000))
        elif opcode is Opcode.EMBED:
            put(bytes=beats(fields["rows"] * (2 if fields["element"] else 4)), **finite)
            put(limit=IDS + rng.randrange(1000))
        elif opcode is Opcode.LINEAR:
            own = [block for block, tag in enumerate(self.legality.tags) if tag == Tag.OWN]
            wanted = given.get("kblocks", 1)
            own = [block for block in own if self.legality.tags[block:block + wanted] == [Tag.OWN] * wanted]
            if not own:
                return None
            src = rng.choice(own)
            run = next((n for n in range(config.operand_blocks - src) if self.legality.tags[src + n] != Tag.OWN),
                       config.operand_blocks - src)
            put(src=src, kblocks=rng.randint(1, run), only_last=int(fields["dest"] == Dest.LOGITS))
            if config.k_quants and not fields["code_bits8"]:
                put(high_bits=rng.randrange(3))
            if config.k_quants and run >= SUPER_BLOCKS and rng.random() < 0.5:
                put(kblocks=rng.randint(1, run // SUPER_BLOCKS) * SUPER_BLOCKS)
                if multiple(fields["kblocks"], SUPER_BLOCKS):
                    put(scale_format=ScaleFormat.TWO_LEVEL)
            put(dst=rng.randrange(config.operand_blocks), mode=rng.choice([Mode.PLAIN, Mode.ROPE]))
            if fields["dest"] == Dest.OPERAND:
                put(mode=rng.choice(list(Mode)))
            plain = fields["mode"] != Mode.GLU and fields["dest"] == Dest.OPERAND
            put(norm=int(plain and rng.random() < 0.3), residual=int(plain and rng.random() < 0.3))
            if fields["norm"]:
                put(**finite)
            if fields["dest"] in (Dest.QUERY, Dest.KEY, Dest.VALUE):
                group = fields["group"] if fields["dest"] == Dest.QUERY else 1
                put(kv_heads=rng.randint(1, 3))
                put(tiles=fields["kv_heads"] * group * fields["head_blocks"])
            if fields["dest"] == Dest.LOGITS:
                put(mode=Mode.PLAIN, norm=0, residual=0)
                fields["limit"] = min(fields["limit"], fields["tiles"] * BLOCK)
            put(beats=matrix_beats(config, fields))
        elif opcode is Opcode.ATTEND:
            x = self.legality.context
            if not x.values:
                return None
            blocks = x.query_heads * x.query_group * x.query_blocks
            put(src=x.query, kv_heads=x.query_heads, group=x.query_group, head_blocks=x.query_blocks, offset=x.offset,
                stride=x.stride, cache=x.cache, softmax_scale=rng.randrange(FINITE),
                dst=rng.randint(0, config.operand_blocks - blocks))
        return fields
