"""Attention: lengths and heads of what softmax, page addresses and KV store are asked for."""

from cocotb_coverage.coverage import CoverCross, CoverPoint

from cover.observe import observes

MANY = ["one", "few", "many"]


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
@CoverPoint("attention.kv_store.blocks", xf=lambda item: many(item["blocks"]), bins=MANY)
@CoverCross("attention.kv_store.value_blocks", items=["attention.kv_store.value", "attention.kv_store.blocks"])
def store(item):
    pass


@observes("test_kv_store", "found")
@CoverPoint("attention.kv_store.fault", xf=lambda item: item["fault"], bins=[0, 1])
def found(item):
    pass


@observes("test_address", "response0")
@observes("test_address", "response1")
@CoverPoint("kv.address.fault", xf=lambda item: item["fault"], bins=[0, 1])
def placed(item):
    pass
