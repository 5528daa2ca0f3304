"""Stop strings: the text up to the first one, however it is cut into tokens, and nothing is held for longer."""

from hypothesis import given, settings
from hypothesis import strategies as st
from scoville_host.serve.text import StopText


class Letters:
    """A tokenizer whose token ids are letters, or pairs of them."""

    def decode(self, ids):
        return "".join("abc"[each % 3] + "abc"[each // 3 % 3] * (each >= 9) for each in ids)


@settings(deadline=None)
@given(st.lists(st.integers(0, 17), max_size=12), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_any_cut(tokens, stops):
    text, whole, shown = StopText(Letters(), stops), Letters().decode(tokens), ""
    for number, token in enumerate(tokens, 1):
        shown += text.add(token)
        so_far = Letters().decode(tokens[:number])
        if text.stopped:
            break
        held = so_far[len(shown):]
        assert not held or any(stop.startswith(held) for stop in stops)
    shown += text.finish()
    places = [whole.find(stop) for stop in stops if stop in whole]
    assert text.stopped == bool(places)
    if not places:
        assert shown == whole
    else:  # of two that one token completes, the one that begins first
        assert whole.startswith(shown) and not any(stop in shown for stop in stops)
        assert any(whole.startswith(stop, len(shown)) for stop in stops)
