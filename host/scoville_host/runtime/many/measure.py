"""How sequences were served: times to first tokens and between tokens, and what of the chip was used."""

import numpy as np

from ..generate import matches
from ..golden import GoldenBackend

__all__ = ["as_alone", "distribution", "measured"]

QUANTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}


def distribution(values):
    """Count, mean, quantiles and maximum of numbers; all but the count None where there are none. A quantile is one of
    the numbers: the least that so many of them do not exceed."""
    names = ("mean", *QUANTILES, "max")
    if not len(values):
        return {"count": 0} | dict.fromkeys(names)
    quantiles = np.quantile(values, list(QUANTILES.values()), method="inverted_cdf")
    found = (np.mean(values), *quantiles, np.max(values))
    return {"count": len(values)} | {name: float(value) for name, value in zip(names, found, strict=True)}


def measured(requests, sequences, arrivals, times, seconds):
    """The JSON of many sequences that have ended, save text.

    Parameters
    ----------
    requests : Requests
    sequences : list of Sequence
    arrivals : when each came, and `times` : lists of when its tokens did, in the machine's unit
    seconds : wall-clock time
    """
    machine, image, config = requests.machine, requests.plan.image, requests.plan.config
    tokens = sum(len(sequence.tokens) for sequence in sequences)
    passes = requests.passes
    cycles = machine.time if machine.unit == "cycles" else None
    each = [{"arrival": arrival, "prompt_tokens": len(sequence.prompt), "generated_tokens": len(sequence.tokens),
             "tokens": sequence.tokens, "reason": sequence.reason.name if sequence.reason else None,
             "error": str(sequence.error) if sequence.error else None,
             "first_token": at[0] - arrival if at else None, "between_tokens": np.diff(at).tolist(),
             "preempted": sequence.preempted, "shared": sequence.shared}
            for sequence, arrival, at in zip(sequences, arrivals, times, strict=True)]
    return {
        "model": image.model, "config": config.name, "backend": machine.name, "weights": image.weights,
        "layers": image.layers, "slots": config.slots, "seats": config.seats, "pool_pages": requests.plan.pages,
        "prompt_tokens": sum(len(sequence.prompt) for sequence in sequences), "generated_tokens": tokens,
        "passes": passes, "cycles": cycles, "unit": machine.unit,
        "cycles_per_token": cycles / tokens if cycles and tokens else None,
        "beats": machine.beats, "bus_utilisation": machine.beats / cycles if cycles else None,
        "tokens_per_pass": tokens / passes if passes else None,
        "seats_used": machine.seats / (passes * config.seats) if passes and machine.seats is not None else None,
        "most_pages": machine.pool.most if machine.pool else None,
        "pool": machine.pool.changes if machine.pool else None,
        "preempted": sum(sequence.preempted for sequence in sequences),
        "first_token": distribution([one["first_token"] for one in each if one["first_token"] is not None]),
        "between_tokens": distribution([gap for one in each for gap in one["between_tokens"]]),
        "sequences": each, "sim_seconds": seconds, "golden_match": None,
    }


def as_alone(image, sequences):
    """Whether tokens, and logits if they were kept, of sequences that have ended by themselves are those that the
    golden model gives each alone."""
    return all(matches(each, GoldenBackend().generate(image, each.prompt, each.limit, temperature=each.temperature,
                                                      seed=each.seed, stop_ids=tuple(each.stops)))
               for each in sequences)
