"""Attention: lengths and heads of what softmax, page walker and KV store are asked for."""

from cocotb_coverage.coverage import CoverCross, CoverPoint

from cover.observe import observes

PLACES = ["first of a page", "middle", "last of a page"]
MANY = ["one", "few", "many"]


def place(position):
    return PLACES[0 if position % 32 == 0 else 2 if position % 32 == 31 else 1]


def many(count):
    return MANY[0 if count == 1 else 1 if count <= 4 else 2]


@observes("test_softmax", "command")
@CoverPoint("attention.softmax.pages", xf=lambda item: many(item["pages"]), bins=MANY)
@CoverPoint("attention.softmax.head_blocks", xf=lambda item: item["head_blocks"], bins=[1, 2])
@CoverCross("attention.softmax.shape", items=["attention.softmax.pages", "attention.softmax.head_blocks"])
def softmax(item):
    pass


@observes("test_kv_store", "command")
@CoverPoint("attention.kv_store.value", xf=lambda item: item["value"], bins=[0, 1])
@CoverPoint("attention.kv_store.place", xf=lambda item: place(item["position"]), bins=PLACES)
@CoverCross("attention.kv_store.value_place", items=["attention.kv_store.value", "attention.kv_store.place"])
def store(item):
    pass


@observes("test_kv_store", "found")
@CoverPoint("attention.kv_store.fault", xf=lambda item: item["fault"], bins=[0, 1])
def found(item):
    pass


@observes("test_pages", "response0")
@observes("test_pages", "response1")
@CoverPoint("attention.pages.fault", xf=lambda item: item["fault"], bins=[0, 1])
def walked(item):
    pass


@observes("test_pages", "read_response")
@CoverPoint("attention.pages.error", xf=lambda item: item["error"], bins=[0, 1])
def entry(item):
    pass
