"""``scoville generate`` with several prompts."""

import json
import sys

from ..errors import RequestError
from .output import RunFailed, Text, say_match

__all__ = ["asked", "run"]


def asked(prompt, prompts, instead, single, several):
    """Whether several prompts are asked for: more than one, or a file of them.

    Parameters
    ----------
    instead, single, several : options by name, None where not given: other kinds of prompt; those of one prompt alone;
        those of several alone

    Raises
    ------
    RequestError
        If an option does not go with the others.
    """
    given = [name for name, value in instead.items() if value is not None]
    many = prompts is not None or len(prompt or ()) > 1
    if prompts is not None and prompt:
        raise RequestError("give either --prompt TEXT, perhaps several times, or --prompts FILE")
    if many and given:
        raise RequestError(f"{given[0]} with several prompts; --prompts FILE.jsonl has texts and ids")
    for name, value in (single if many else several).items():
        if value is not None:
            raise RequestError(f"{name} with several prompts; it is of one" if many else
                               f"{name} with one prompt; it is of several: --prompt TEXT twice, or --prompts FILE")
    return many


def run(prompt, prompts, *, backend, memory, config, slots, pages, json_out, json_lines, default, ignore_eos, report,
        system, raw, check, opened):
    """Print each text when it has ended: with its number in front, or as JSON."""
    from ..files import write_json
    from ..runtime.many.generate import generate_many
    from ..runtime.many.prompts import Asked, read_prompts, several
    from ..runtime.many.serve import refuse_backend, with_slots
    from ..runtime.session import open_session

    refuse_backend(backend, "--prompts" if prompts else "several --prompt", {"--memory": memory})
    default = Asked(where="", **default)
    every = read_prompts(prompts, default) if prompts else several(prompt, default)
    session = open_session(config=config, text=None if any(one.ids for one in every) else True,
                           adapt=lambda chip: with_slots(chip, len(every), slots, pages, backend), **opened)
    text = Text(files=json_out is not None)

    def done(entry):
        shown = " ".join(map(str, entry["tokens"])) if entry["text"] is None else entry["text"]
        text.write(f"{json.dumps(entry)}\n" if json_lines else f"[{entry['prompt']}] {shown}\n")
        if entry["error"]:
            print(f"scoville: failed: [{entry['prompt']}] {entry['error']}", file=sys.stderr)

    found = generate_many(session, every, backend=backend, memory=memory, pages=pages, system=system, raw=raw,
                          stop_ids=() if ignore_eos else session.stop_ids(), check=check, done=done, report=report)
    if json_out:
        write_json(json_out, found)
    text.close()
    if any(entry["error"] for entry in found["sequences"]):
        raise RunFailed("not all prompts were continued")
    _say(found, len(every), report)
    say_match(found, report)


def _say(found, count, report):
    """What is known of how they were served, in a line."""
    said = [f"{count} prompts, {found['generated_tokens']:,} tokens in {found['passes']:,} passes: "
            f"{found['tokens_per_pass']:.2f} tokens a pass"]
    if found["seats_used"] is not None:
        said.append(f"seats used {found['seats_used']:.0%}")
    if found["most_pages"] is not None:
        said.append(f"at most {found['most_pages']} of {found['pool_pages']} pages")
    said.append(f"{found['preempted']} preempted")
    if found["cycles"]:
        said.append(f"{found['cycles']:,} cycles, {found['cycles_per_token']:,.0f} a token")
    report(", ".join(said))
