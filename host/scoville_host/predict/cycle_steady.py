"""A matrix of many equal tiles need not be walked tile by tile."""

__all__ = ["TAIL", "Steady"]

TAIL = 4  # tiles at the end of a matrix that are always walked


class Steady:
    """Leaves out tiles of a long matrix once one tile is like the next: nothing is lost but time.

    Parameters
    ----------
    stream, epilogue : `Stream` and `Epilogue` that the tiles go through
    count : tiles of the matrix
    """

    def __init__(self, stream, epilogue, count):
        self.stream, self.epilogue, self.count = stream, epilogue, count
        self.alike, self.state = 0, None
        self._note()

    def _note(self):
        self.accepted, self.beat, self.work = self.stream.accepted, self.stream.beat, self.stream.work
        self.stalls = dict(self.stream.stalls)

    def skip(self, number):
        """How many tiles behind the first `number` are not worth a look; all times are as behind them."""
        stream = self.stream
        cycles, beats = stream.accepted - self.accepted, stream.beat - self.beat
        slack = stream.taken - stream.arrived
        if stream.pace >= 1 and not stream.shared:
            slack = min(slack, 2 * stream.burst)  # more is enough; it goes up and down with bursts, but does not shrink
        state = (round(cycles, 3), round(stream.taken - stream.accepted, 3), round(slack, 3),
                 self.epilogue.state(stream.accepted))
        self.alike = self.alike + 1 if state == self.state else 0
        self.state = state
        times = (self.count - number - TAIL) // 2 * 2
        if self.alike <= stream.depth / beats + 2 or times <= 0:
            self._note()
            return 0
        stream.work += times * (stream.work - self.work)
        for name, count in list(stream.stalls.items()):
            stream.stalls[name] += times * (count - self.stalls.get(name, 0))
        stream.skip(times, beats, cycles)
        self.epilogue.skip(times * cycles)
        self._note()
        return times
