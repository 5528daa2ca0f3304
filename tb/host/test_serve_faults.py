"""Faults of the chip under the server: who had tokens gets one error, all others their texts, and it goes on."""

import contextlib
import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
import scoville_sim
from fake_chip import FakeChip
from scoville.config import CONFIGS
from scoville.registers import Status
from scoville_host.runtime.driver import RESET
from scoville_host.runtime.many import rtl
from scoville_host.runtime.many.serve import open_requests
from scoville_host.runtime.session import open_session
from scoville_sim import SimError
from serving import CONTEXT, alone, running

NANO4 = dataclasses.replace(CONFIGS["nano"], slots=4, pool_pages=32, slot_pages=8)  # the build of other tests
FIRST, OTHERS = "Once upon a time", ["One day, Lily and Tom went to", "The dog was big. The dog", "She said to the boy"]
TIMING = scoville_sim.get_memory("ideal")
DEAD = 1 - 1e-10  # a channel with this chance of a stall never answers


class Spoiled:
    """A chip that has a fault when the first request has tokens, and the others are there and have none.

    Members
    -------
    lives : chips that were made
    """

    def __init__(self, session, spoil):
        self.session, self.spoil, self.lives, self.served = session, spoil, 0, None
        self.stage = ["first", "others", "spoiled"]

    @contextlib.contextmanager
    def __call__(self):
        self.lives += 1
        with open_requests(self.session, "rtl", rows=True) as requests:
            machine, spoil = requests.machine, self.spoil
            wait, reset = machine.wait, machine.reset

            def spoiled(until=None):
                if self.stage[:1] == ["first"] and any(each.tokens for each in requests._sent.values()):
                    self.stage.pop(0)
                    while self.served.engine._count <= len(OTHERS):
                        time.sleep(0.001)
                elif self.stage[:1] == ["others"]:
                    self.stage.pop(0)
                elif self.stage == ["spoiled"]:
                    self.stage.pop(0)
                    spoil(machine)
                return wait(until)

            def mended():
                if not isinstance(machine.chip, FakeChip):
                    machine.chip.clear_injected_errors()
                    machine.chip.set_timing(TIMING)
                reset()

            machine.wait, machine.reset = spoiled, mended
            yield requests


def serve(chip):
    """The requests, and their ends."""
    with running(chip=chip, session=chip.session) as served, ThreadPoolExecutor(len(OTHERS)) as crowd:
        chip.served = served
        with openai.OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as client:
            def ask(prompt, limit=4, **more):
                return client.completions.create(model="tiny", prompt=prompt, max_tokens=limit, temperature=0, **more)

            stream = ask(FIRST, 30, stream=True)
            text = next(stream).choices[0].text
            others = [crowd.submit(ask, prompt) for prompt in OTHERS]
            with pytest.raises(openai.APIError) as error:
                for part in stream:
                    text += part.choices[0].text
            assert error.value.body == {"message": "the chip failed while it computed this request",
                                        "type": "server_error", "param": None, "code": "chip_error"}
            assert text and alone(FIRST, 30)[0].startswith(text)
            assert [each.result().choices[0].text for each in others] == [alone(each, 4)[0] for each in OTHERS]
            assert ask(FIRST).choices[0].text == alone(FIRST, 4)[0]
        assert served.engine.counts["restarts"] == 1 and not served.engine.failed
        served.idle()


@pytest.fixture(scope="module")
def session():
    return open_session("tiny", NANO4, context=CONTEXT)


def status(code):
    def spoil(machine):
        machine.chip.many.status = code
    return spoil


def lost(machine):
    machine.write("CONTROL", RESET)


def broken(machine):
    raise SimError("cycle 7: m_axi.ar: ARVALID was taken back")


@pytest.mark.parametrize("spoil, lives", [(status(Status.READ_ERROR), 1), (status(Status.WATCHDOG), 1), (broken, 2)],
                         ids=["bus", "watchdog", "simulator"])
def test_a_fault(session, spoil, lives, monkeypatch):
    """The chip is reset and started again; a simulator that has failed is made anew."""
    monkeypatch.setattr(scoville_sim, "VerilatedChip", FakeChip)
    chip = Spoiled(session, spoil)
    serve(chip)
    assert chip.lives == lives and not chip.stage


def bus(machine):
    machine.chip.inject_error(machine.plan.image.regions["0.down.weight"].address, 64)


def hang(machine):
    machine.chip.set_timing(dataclasses.replace(TIMING, stall_r=DEAD))


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [bus, hang, lost])
def test_on_the_rtl(session, spoil, monkeypatch):
    """A read that fails, a memory that does not answer any more, and a soft reset by another hand."""
    monkeypatch.setattr(rtl, "WATCHDOG", 20_000)
    monkeypatch.setattr(rtl, "PATIENCE", 200_000)
    chip = Spoiled(session, spoil)
    serve(chip)
    assert chip.lives == 1 and not chip.stage
