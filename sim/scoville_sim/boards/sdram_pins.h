// The SDRAM pins of a Verilated board, joined to a part. The part's shape and times come as macros (sdram.py).
#pragma once
#include "sdram_part.h"

#define PIN(name) top.pins___05F##name

struct SdramPins {
    SdramPart part{{SDRAM_WIDTH, SDRAM_ROW_BITS, SDRAM_COLUMN_BITS, SDRAM_CAS_LATENCY, SDRAM_RP, SDRAM_RCD, SDRAM_RAS,
                    SDRAM_RC, SDRAM_RRD, SDRAM_RFC, SDRAM_WR, SDRAM_MRD, SDRAM_INIT, SDRAM_REFRESH, SDRAM_OPEN}};
    uint32_t driven = 0;

    // Before the rising edge: what the part has driven since the last one, and what it makes of this one.
    template <typename Top>
    void edge(Top& top) {
        PIN(dq_i) = driven;
        driven = part.edge({bool(PIN(clk_en)), bool(PIN(cs_n)),
                            uint8_t(PIN(ras_n) << 2 | PIN(cas_n) << 1 | PIN(we_n)), uint8_t(PIN(ba)), PIN(a), PIN(dqm),
                            PIN(dq_o), bool(PIN(dq_oe))});
        if (SDRAM_WIDTH < 32) driven &= (1u << (SDRAM_WIDTH & 31)) - 1;
    }
};
