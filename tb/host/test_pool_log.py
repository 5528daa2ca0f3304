"""Who has the pages of the pool over time, by hand."""

import dataclasses

from scoville.config import get_config
from scoville.kv.model import KvModel
from scoville_host.runtime.many.pool import KINDS, PoolLog


def test_kinds_of_pages():
    kv = KvModel(dataclasses.replace(get_config("nano"), slots=4, pool_pages=16, slot_pages=8), 9)
    log = PoolLog()

    def now(passes, parked=()):
        log.note(passes, kv, parked)
        return {name: log.changes[name][-1] for name in KINDS}

    assert now(1) == {"running": 0, "shared": 0, "parked": 0, "free": 9}
    for slot, tokens in ((0, 70), (1, 40)):
        kv.open(slot, 7)
        kv.reserve(slot, tokens)
        kv.commit(slot, tokens)
    assert now(2) == {"running": 5, "shared": 0, "parked": 0, "free": 4}
    assert now(3, [0]) == {"running": 2, "shared": 0, "parked": 3, "free": 4}
    kv.open(2, 7)
    kv.fork(2, 0, 2)
    kv.reserve(2, 80)
    assert now(4, [0]) == now(5, [0]) == {"running": 3, "shared": 2, "parked": 1, "free": 3}
    kv.release(0)
    assert now(6) == {"running": 5, "shared": 0, "parked": 0, "free": 4}
    kv.release(2)
    kv.release(1)
    assert now(8) == now(9) == {"running": 0, "shared": 0, "parked": 0, "free": 9}
    assert log.changes["passes"] == [1, 2, 3, 4, 6, 8] and log.most == 6
