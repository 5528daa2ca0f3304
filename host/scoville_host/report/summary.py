"""The numbers of a run: how close it came to the memory bus's limit, and to the multipliers'."""

__all__ = ["passes", "summary"]


def passes(prompt_tokens, generated, lanes, position=0):
    """The passes of a sequence that begins at `position`: list of (position, tokens, makes a token)."""
    end = position + prompt_tokens
    chunks = [(start, min(lanes, end - start)) for start in range(position, end, lanes)]
    prefill = [(start, count, start + count == end) for start, count in chunks]
    return prefill + [(end + index, 1, True) for index in range(generated - 1)]


def summary(image, result, prompt_tokens, backend, text=None, position=0):
    """The JSON of ``generate`` and ``bench``, save what only the command knows.

    Decoding means all passes after the one that ends the prompt (if there are none, the prompt's).
    `model_bytes_per_token`, `cycles_per_token` and `bus_utilisation` are about decoding, ``macs`` and `mac_utilisation`
    about the whole sequence. `decode_bus_utilisation` (None without a pass after the prompt's) and
    `prefill_mac_utilisation` are about one of the two alone.
    """
    config, traffic = image.config, image.traffic
    generated = len(result.tokens)
    every = passes(prompt_tokens, generated, config.seats, position)
    decode = every[len(every) - (generated - 1):] if generated > 1 else every
    model_bytes = sum(traffic.pass_bytes(*each) for each in decode)
    macs = sum(traffic.pass_macs(*each) for each in every)
    prefill = every[:len(every) - (generated - 1)]
    made = max(generated - 1, 1)
    found = {
        "model": image.model, "config": config.name, "backend": backend, "weights": image.weights,
        "layers": image.layers, "position": position,
        "tokens": list(result.tokens), "text": text, "prompt_tokens": prompt_tokens, "generated_tokens": generated,
        "cycles": result.cycles, "cycles_per_token": None,
        "prefill_cycles": result.prefill_cycles, "decode_cycles": result.decode_cycles,
        "model_bytes_per_token": model_bytes / made, "bus_bytes_per_cycle": config.bus_bytes, "bus_utilisation": None,
        "macs": macs, "mac_utilisation": None, "decode_bus_utilisation": None, "prefill_mac_utilisation": None,
        "macs_per_token": sum(traffic.pass_macs(*each) for each in decode) / made,
        "prefill_macs": sum(traffic.pass_macs(*each) for each in prefill),
        "prefill_model_bytes": sum(traffic.pass_bytes(*each) for each in prefill),
        "stalls": result.stalls, "work_cycles": result.work, "beats": result.beats,
        "sim_seconds": result.seconds, "cycles_per_second": None, "golden_match": None,
    }
    if result.cycles:
        cycles = result.decode_cycles if generated > 1 else result.cycles
        found |= {"cycles_per_token": cycles / made, "bus_utilisation": model_bytes / (cycles * config.bus_bytes),
                  "mac_utilisation": macs / (result.cycles * config.multipliers),
                  "cycles_per_second": result.cycles / result.seconds if result.seconds else None}
        if result.prefill_cycles:
            found["prefill_mac_utilisation"] = found["prefill_macs"] / (result.prefill_cycles * config.multipliers)
        if generated > 1:
            found["decode_bus_utilisation"] = found["bus_utilisation"]
    return found
