"""A matrix of many equal tiles need not be walked tile by tile."""

__all__ = ["TAIL", "Steady"]

TAIL = 4  # tiles at the end of a matrix that are always walked
WINDOW = 8  # tiles that stand for the rest where no tile is quite like the next


class Steady:
    """Leaves out tiles of a long matrix once one tile is like the next: nothing is lost but time.

    Parameters
    ----------
    stream, epilogue : `Stream` and `Epilogue` that the tiles go through
    count : tiles of the matrix
    patience : tiles after which the last `WINDOW` stand for the rest, whether alike or not; None to walk them all
    """

    def __init__(self, stream, epilogue, count, patience=None):
        self.stream, self.epilogue, self.count = stream, epilogue, count
        self.alike, self.state = 0, None
        self.patience, self.window = patience, None
        self._note()

    def _note(self):
        self.accepted, self.beat, self.work = self.stream.accepted, self.stream.beat, self.stream.work
        self.stalls = dict(self.stream.stalls)

    def _impatient(self, number):
        """As `skip`, for tiles that need not be alike."""
        if not self.patience or number < self.patience - WINDOW:
            return 0
        if self.window is None:
            self.window = Steady(self.stream, self.epilogue, self.count)
        times = (self.count - number - TAIL) // WINDOW
        if number < self.patience or times <= 0:
            return 0
        self.patience = None
        window = self.window
        window._repeat(times, self.stream.accepted - window.accepted, self.stream.beat - window.beat)
        self._note()
        return times * WINDOW

    def _repeat(self, times, cycles, beats):
        """All that was since the last note, so many times more."""
        stream = self.stream
        stream.work += times * (stream.work - self.work)
        for name, count in list(stream.stalls.items()):
            stream.stalls[name] += times * (count - self.stalls.get(name, 0))
        stream.skip(times, beats, cycles)
        self.epilogue.skip(times * cycles)

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
            return self._impatient(number)
        self._repeat(times, cycles, beats)
        self._note()
        return times
