// The C ABI of a Verilated chip. chip.py is its only user; structs have the same fields in the same order there.
#pragma once
#include <cstdint>

extern "C" {

// A DRAM and its controller; see `DramTiming.clocks` of dram.py. No channels: no DRAM. Times from `burst` on are clocks.
struct ScovilleDram {
    uint32_t channels, dram_khz, chip_khz, interleave, access_bytes, row_bytes, groups, banks, row_bus;
    uint32_t window, write_queue, write_high, write_age;
    uint32_t burst, cl, cwl, rcd, rp, ras, rc, rrd_s, rrd_l, ccd_s, ccd_l, faw, wr, wtr_s, wtr_l, rtp, rtw, rfc, refi;
};

// A command that a DRAM channel was given. `bank` counts through the bank groups first.
enum { SCOVILLE_ACTIVATE, SCOVILLE_PRECHARGE, SCOVILLE_PRECHARGE_ALL, SCOVILLE_READ, SCOVILLE_WRITE, SCOVILLE_REFRESH };
struct ScovilleCommand {
    uint64_t clock;
    uint32_t command, channel, bank, row;
};

struct ScovilleTiming {
    uint32_t read_latency, write_latency, beats, period, refresh_interval, refresh_cycles, outstanding;
    // Probability that a channel waits in a cycle, as a fraction of 2^32.
    uint32_t stall_ar, stall_r, stall_aw, stall_w, stall_b;
    ScovilleDram dram;
};

struct ScovilleCounters {
    uint64_t cycles, read_bursts, read_beats, write_bursts, write_beats, read_idle_cycles;
};

// From this cycle on, the signals that are watched are `word`; where none are, the trace port is.
struct ScovilleEvent {
    uint64_t cycle, word;
};

struct Chip;

// The memory belongs to the caller and has to outlive the chip. Address 0 is its first byte.
Chip* chip_create(uint8_t* memory, uint64_t size, const ScovilleTiming* timing, uint64_t seed);
void chip_destroy(Chip*);
void chip_reset(Chip*, uint32_t cycles);
void chip_step(Chip*, uint64_t cycles);
// Steps until the interrupt is high, a protocol error is found, or `limit` cycles have passed; returns the cycles passed.
uint64_t chip_run(Chip*, uint64_t limit);
int chip_interrupt(const Chip*);
// Accesses over AXI4-Lite: the response (0 is OKAY), or -1 if none came.
int chip_write(Chip*, uint32_t address, uint32_t value);
int chip_read(Chip*, uint32_t address, uint32_t* value);
// VALID (even bits) and READY of the channels AR, R, AW, W, B: of the memory bus, then of the register bus.
uint32_t chip_handshakes(const Chip*);
// What the trace port shows.
uint32_t chip_activity(const Chip*);
// Accesses that overlap the range are answered by `response` (2 SLVERR, 3 DECERR) from now on.
void chip_inject(Chip*, uint64_t base, uint64_t size, uint32_t response);
void chip_clear_injections(Chip*);
void chip_set_timing(Chip*, const ScovilleTiming*);
const ScovilleCounters* chip_counters(const Chip*);
uint32_t chip_error_count(const Chip*);
const char* chip_error(const Chip*, uint32_t index);
// Records what is watched, or the trace port, from now on; the last `capacity` changes are kept. 0 stops it.
void chip_record(Chip*, uint64_t capacity);
// Changes so far, and the buffer: change n is at n modulo the capacity.
uint64_t chip_recorded(const Chip*);
const ScovilleEvent* chip_events(const Chip*);
// Starts a VCD file; 0 if this build has no waves.
int chip_trace(Chip*, const char* path);
}
