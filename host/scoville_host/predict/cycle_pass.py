"""One pass, timed: the program walked in order, each instruction through the front end, the stream and the epilogue."""

from scoville.config import PAGE_TOKENS, TILE_ROWS
from scoville.control.instruction_fetch import CHUNK
from scoville.core import INSTRUCTION_QUEUE
from scoville.isa import INSTRUCTION_BYTES, Dest, Element, Mode, Opcode

from .cycle_attend import AttendTimer
from .cycle_steady import Steady
from .cycle_stream import Stream, Tile
from .cycle_units import Epilogue, FetchPort, KvStore, Softmax

__all__ = ["PassTimer"]

QUEUE = 2  # cycles through a queue
DISPATCH = 4  # from the cycle in which an instruction may begin to the first beat that the decoder takes for it
RESULT = 1  # from a block in the operand buffer to the cycle in which an instruction that waited for it begins
WAITS = {Dest.KEY: "dependency_kv", Dest.VALUE: "dependency_kv", Dest.LOGITS: "dependency_logits"}


class PassTimer:
    """The cycles of one pass.

    Parameters
    ----------
    config : `ChipConfig`
    memory : `Memory`
    program : list of decoded instructions, up to the END
    program_address : of the first
    position, tokens, last : as `PassState`
    patience : see `Steady`

    Members
    -------
    cycles : from the beginning of the pass to the end of its END
    stream : `Stream`, with the array's work and stalls
    """

    def __init__(self, config, memory, program, program_address, position, tokens, last, patience=None):
        self.config, self.memory, self.patience = config, memory, patience
        self.position, self.tokens = position, tokens
        self.pages = (position + tokens - 1) // PAGE_TOKENS + 1
        self.stream = Stream(config, memory)
        self.epilogue, self.softmax = Epilogue(config), Softmax(config)
        self.port = FetchPort(memory, self.stream)
        self.store = KvStore(config, memory)
        self.front = 0.0  # the front end is free
        self.back = 0.0  # the back end is free
        self.vectors = 0.0  # the vector unit is free
        self.promised = -1, []
        self.takes = []  # when the back end took each instruction
        self.sampled = 0.0
        steps = {Opcode.LOAD: self._load, Opcode.ROPE: self._lanes, Opcode.EMBED: self._lanes,
                 Opcode.LINEAR: self._linear, Opcode.ATTEND: self._attend, Opcode.END: self._end}
        self.chunk = max(CHUNK, config.bus_bytes // INSTRUCTION_BYTES)
        for number, fields in enumerate(program):
            self._fetch(number, program_address)
            if fields["only_last"] and not last:
                continue
            forward = self.front + 3
            if len(self.takes) >= INSTRUCTION_QUEUE:
                forward = max(forward, self.takes[-INSTRUCTION_QUEUE])
            self.front = forward
            begin = max(self.back, forward + QUEUE) + 1
            self.takes.append(begin - 1)
            steps[fields["opcode"]](fields, begin)
        self.cycles = self.back

    def _fetch(self, number, address):
        if number % self.chunk == 0:
            beats = self.chunk * INSTRUCTION_BYTES // self.config.bus_bytes
            self.front = self.port.read("program", self.front + 1, beats)

    def _begin(self, fields, begin, reason, wanted=0):
        """When an instruction may begin, and when the operand blocks that it waits for singly are there (or None).

        It waits for all before it to be done, if it has to wait and reads anything but the last results.
        """
        self.reason = "command"
        if not fields["wait"]:
            return begin, None
        if self.promised[0] == fields.get("src", -1) and wanted <= len(self.promised[1]):
            return begin, self.promised[1]
        self.reason = reason
        return max(begin, self.epilogue.done + RESULT, self.vectors), None

    def _promise(self, dst, blocks):
        """The last results: where they are in the operand buffer, and when each block is there."""
        self.promised = dst, blocks

    # --- vectors -------------------------------------------------------------------------------------------------
    def _load(self, fields, begin):
        beats = fields["bytes"] // self.config.bus_bytes
        self.front = self.stream.request(self.front + 1, fields["address"] // self.config.bus_bytes, beats) + 1
        begin, _ = self._begin(fields, begin, "dependency_load")
        self.stream.command(begin + DISPATCH - 1)
        self.vectors = self.stream.vector(beats)[1] + 1
        self.back = begin + 3

    def _lanes(self, fields, begin):
        """ROPE and EMBED: a row of memory for each lane."""
        config, embed = self.config, fields["opcode"] is Opcode.EMBED
        beats = fields["bytes"] // config.bus_bytes
        begin, _ = self._begin(fields, begin, "dependency_load")
        for lane in range(self.tokens):
            at = fields["address"] // config.bus_bytes
            self.front = self.stream.request(self.front + 2, at, beats) + 1
            self.stream.command(begin + DISPATCH - 1 + 2 * lane)
            if embed:
                self._embed(fields, begin + 2 * lane, beats)
            else:
                self.vectors = self.stream.vector(beats)[1] + 1
        self.back = begin + 1 + 2 * self.tokens

    def _embed(self, fields, begin, beats):
        epilogue, latency = self.epilogue, self.epilogue.latency
        epilogue.command(begin + 1 + QUEUE, plain=False)
        words = self.config.bus_bytes // (4 if fields["element"] == Element.FP32 else 2)
        depth = latency.front + latency.plain
        self.stream.command(self.vectors)
        first, _ = self.stream.vector(beats)
        first = max(first + 1, epilogue.running)
        epilogue.flow(first, first + fields["rows"] - 1, fields["rows"], depth, latency.pause)
        epilogue.admitted = epilogue.passed - depth
        self.stream.command(max(self.stream.taken, epilogue.passed - depth - words - latency.pause))
        self.vectors = epilogue.admitted
        epilogue.square(fields["rows"] // TILE_ROWS)
        epilogue.quantise(epilogue.left, 1)

    # --- matrices ------------------------------------------------------------------------------------------------
    def _linear(self, fields, begin):
        config, stream, epilogue = self.config, self.stream, self.epilogue
        self.front = stream.request(self.front + 1, fields["address"] // config.bus_bytes, fields["beats"]) + 1
        begin, operands = self._begin(fields, begin, WAITS.get(Dest(fields["dest"]), "dependency_linear"),
                                      fields["kblocks"])
        results = []
        stream.command(begin + DISPATCH - 1)
        dest, norm, glu = fields["dest"], bool(fields["norm"]), fields["mode"] == Mode.GLU
        logits = dest == Dest.LOGITS
        plain = not (logits or norm or fields["residual"])
        epilogue.command(begin + 1 + QUEUE, plain=plain, rms=bool(fields["lane_scale"]))
        tile = Tile.linear(config, fields)
        count, task, before = fields["tiles"], begin + DISPATCH, stream.accepted
        phases = 1 if logits else -(-self.tokens // config.lanes)
        steady = Steady(stream, epilogue, count, self.patience)
        number = 0
        while number < count:
            before = stream.accepted
            if operands and number == 0:
                first, last = self.guarded(tile, task, epilogue.room(), operands, phases)
            else:
                first, last = self.tile(tile, task, epilogue.room(), phases)
            left = epilogue.tile(first, last, norm=norm, glu=glu, phases=phases)
            number += 1
            if logits:
                stream.write(4 * TILE_ROWS / config.bus_bytes)
            elif not (glu and number % 2):
                rows = TILE_ROWS // 2 if glu else TILE_ROWS + (epilogue.latency.pause if norm else 0)
                for phase in range(phases):
                    lanes = min(config.lanes, self.tokens - phase * config.lanes)
                    blocks = epilogue.quantise(left - rows * (phases - 1 - phase), lanes)
                    if dest in (Dest.KEY, Dest.VALUE):
                        self._append(fields, number - 1, blocks, phase * config.lanes, lanes)
                if dest in (Dest.KEY, Dest.VALUE):
                    continue
                results.append(blocks)
            skipped = steady.skip(number)
            number += skipped
            results += results[-1:] * (skipped // (2 if glu else 1))
        self.back = max(begin + 3, before if count > 1 else 0) + 1
        if dest in (Dest.OPERAND, Dest.QUERY):
            self._promise(fields["dst"], results)
        if norm:
            epilogue.square(count)
        if logits:
            epilogue.done = max(epilogue.done, epilogue.left)
            self.sampled = epilogue.left + epilogue.latency.sample
            self.dumped = epilogue.left + 8 + self.memory.write_latency

    def guarded(self, tile, task, room, operands, phases=1):
        """As `tile`, each k-block from when its operand block is there on."""
        first = None
        for number, (steps, ready) in enumerate(zip(tile.blocks, operands, strict=False)):
            free = room if number == len(tile.blocks) - 1 else 0
            reason = self.reason if task > ready else "operands"
            for place, (header, items) in enumerate(steps):
                begin, last = self.stream.group(header, items, tile.item_beats, free, max(task, ready + 1), reason,
                                                phases)
                first = begin if place == 0 else first
        return first, last

    def tile(self, tile, task, room, phases=1):
        """A tile's items; returns when the first item of its last k-block and its last item are taken."""
        group = self.stream.group
        for header, items in tile.body:
            group(header, items, tile.item_beats, 0, task, self.reason, phases)
        first = None
        for header, items in tile.tail:
            begin, last = group(header, items, tile.item_beats, room, task, self.reason, phases)
            first = begin if first is None else first
        return first, last

    def _append(self, fields, number, blocks, first, lanes):
        """The blocks of a K or V tile for the tokens `first` and so on, lane by lane, to the KV store."""
        value = fields["dest"] == Dest.VALUE
        for lane in range(lanes):
            now = blocks - (lanes - 1 - lane) * self.epilogue.latency.convert
            page = (self.position + first + lane) // PAGE_TOKENS
            known = (number or first or lane) and self.known == page
            self.stream.write(self.store.beats[value] + 1)
            taken = self.store.append(now, value, known)
            self.known = page
        self.epilogue.route(max(blocks, taken))

    def _attend(self, fields, begin):
        begin, queries = self._begin(fields, begin, "dependency_attend", fields["kv_heads"] * fields["group"])
        self.front = max(self.front + 1, self.store.written)
        walked = AttendTimer(self, fields, begin, queries)
        self._promise(fields["dst"], walked.results)
        self.back = walked.walk + 1

    def _end(self, fields, begin):
        settled = max(self.epilogue.done + RESULT, self.store.written, self.vectors, self.sampled)
        if self.sampled:
            settled = max(settled, self.dumped)
        self.back = max(begin, settled) + 1

    def stalls(self):
        """Cycles of the pass in which the array does nothing, by reason."""
        rest = self.cycles - self.stream.work - sum(self.stream.stalls.values())
        return self.stream.stalls | {"pass_end": rest}
