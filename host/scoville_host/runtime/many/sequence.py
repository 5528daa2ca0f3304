"""A sequence as its user has it: tokens as they come, and how it ended."""

from scoville.schedule.records import Error

from ...errors import ChipError

__all__ = ["Refused", "Sequence"]


class Refused(ChipError):
    """The chip does not serve a request, or no longer; `code` says why. Others are not concerned.

    The driver asks for nothing that it knows to be wrong, so this is a fault of the memory or of the driver.
    """

    def __init__(self, name, code):
        self.code = code
        why = f"{Error(code).name}: {Error(code).text.replace('`', '')}" if code in list(Error) else f"code {code}"
        super().__init__(f"the chip refuses request {name}, {why}")


class Sequence:
    """What `Requests.submit` gives. Iterating over it gives its tokens, and lets the chip go on where there are none.

    Members
    -------
    name : its `id` on the chip; None until it is sent
    prompt, limit, temperature, seed, stops, priority, tenant, park : as submitted; the limit cut to what has room
    tokens : token ids that have come; a stop token counts and is the last
    count : how many those are
    times : of each token, in the machine's unit since the start
    reason : `Reason`, once it has ended by itself or was cancelled
    cancelled : whether that was asked for
    error : the exception that ended it; iterating raises it behind the last token
    preempted : how often its pages went to others
    shared : tokens of the prompt that it asked to have from another sequence
    logits : float32 ``[len(tokens), vocab]`` if they are kept, once it has ended
    """

    def __init__(self, requests, prompt, limit, **settings):
        self._requests = requests
        self.prompt, self.limit = list(prompt), limit
        self.temperature, self.seed = settings["temperature"], settings["seed"]
        self.stops, self.priority = settings["stops"], settings["priority"]
        self.tenant, self.park = settings["tenant"], settings["park"]
        self.name = None
        self.ids = list(prompt)  # prompt, then tokens
        self.times = []
        self.reason = None
        self.error = None
        self.preempted = self.shared = 0
        self.cancelled = False
        self.logits = None

    @property
    def tokens(self):
        return self.ids[len(self.prompt):]

    @property
    def count(self):
        return len(self.ids) - len(self.prompt)

    @property
    def ended(self):
        return self.reason is not None or self.error is not None

    def cancel(self):
        """End it, at the next pass but one at most; if it has ended and was parked, its pages go."""
        self._requests.cancel(self)

    def __iter__(self):
        index = len(self.prompt)
        while True:
            while index < len(self.ids):
                yield self.ids[index]
                index += 1
            if self.error is not None:
                raise self.error
            if self.ended:
                return
            self._requests.go_on()
