// An AXI4 memory with settable timing, that also checks the protocol of its manager.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "chip.h"

template <unsigned BYTES>
class AxiMemory {
  public:
    enum Response : uint8_t { OKAY = 0, SLVERR = 2, DECERR = 3 };
    static constexpr unsigned MASK_WORDS = (BYTES + 63) / 64;

    struct Address {
        uint64_t addr;
        uint8_t id, len, size, burst;
        bool operator==(const Address& o) const {
            return addr == o.addr && id == o.id && len == o.len && size == o.size && burst == o.burst;
        }
    };

    // What the memory drives in a cycle.
    struct Outputs {
        bool arready = false, rvalid = false, rlast = false, awready = false, wready = false, bvalid = false;
        uint8_t rid = 0, rresp = 0, bid = 0, bresp = 0;
        uint8_t rdata[BYTES] = {};
    } out;

    // What the chip drives in the same cycle.
    struct Inputs {
        bool arvalid, rready, awvalid, wvalid, wlast, bready;
        Address ar, aw;
        const uint8_t* wdata;
        uint64_t wstrb[MASK_WORDS];
    };

    struct Injection { uint64_t base, size; uint8_t response; };

    ScovilleTiming timing;
    ScovilleCounters counters = {};
    std::vector<Injection> injections;
    std::vector<std::string> errors;

    AxiMemory(uint8_t* data, uint64_t size, const ScovilleTiming& timing, uint64_t seed)
        : timing(timing), data(data), size(size), random(seed * 0x9E3779B97F4A7C15ull | 1) {}

    void reset() {
        out = {};
        reads.clear(), writes.clear(), responses.clear();
        ar_waiting = aw_waiting = w_waiting = false;
    }

    // Decides what to drive in this cycle, from the state alone: no output depends on an input of the same cycle.
    void drive() {
        const uint64_t now = counters.cycles;
        // One phase of tokens a period; they are shared by both directions.
        if (now % timing.period == 0) tokens = timing.beats;
        const bool refreshing = timing.refresh_interval && now % timing.refresh_interval < timing.refresh_cycles;
        out.arready = reads.size() < timing.outstanding && !chance(timing.stall_ar);
        out.awready = writes.size() + responses.size() < timing.outstanding && !chance(timing.stall_aw);
        if (!out.rvalid) {
            if (!reads.empty() && reads.front().ready <= now && tokens && !refreshing && !chance(timing.stall_r))
                offer_read();
            else
                ++counters.read_idle_cycles;
        }
        // A beat that waits on RREADY has paid for itself when it was offered.
        out.wready = !writes.empty() && tokens && !refreshing && !chance(timing.stall_w);
        if (!out.bvalid && !responses.empty() && responses.front().ready <= now && !chance(timing.stall_b)) {
            out.bvalid = true;
            out.bid = responses.front().id;
            out.bresp = responses.front().response;
        }
    }

    // Moves what was handed over in this cycle.
    void step(const Inputs& in) {
        watch(in.arvalid, out.arready, in.ar, ar_waiting, ar_held, "AR");
        watch(in.awvalid, out.awready, in.aw, aw_waiting, aw_held, "AW");
        watch_write(in);
        const uint64_t now = counters.cycles;
        if (out.rvalid && in.rready) {
            ++counters.read_beats;
            out.rvalid = false;
            Read& read = reads.front();
            read.addr += BYTES;
            if (read.beats-- == 1) reads.pop_front();
        }
        if (in.arvalid && out.arready) {
            check(in.ar, "AR");
            ++counters.read_bursts;
            reads.push_back({in.ar.addr & ~uint64_t(BYTES - 1), in.ar.len + 1u, in.ar.id, now + timing.read_latency});
        }
        if (in.wvalid && out.wready) accept_write(in, now);
        if (in.awvalid && out.awready) {
            check(in.aw, "AW");
            ++counters.write_bursts;
            writes.push_back({in.aw.addr & ~uint64_t(BYTES - 1), in.aw.len + 1u, in.aw.id, OKAY});
        }
        if (out.bvalid && in.bready) {
            out.bvalid = false;
            responses.pop_front();
        }
        ++counters.cycles;
    }

    void error(const std::string& what) {
        if (errors.size() < 16) errors.push_back("cycle " + std::to_string(counters.cycles) + ": " + what);
    }

  private:
    struct Read { uint64_t addr; unsigned beats; uint8_t id; uint64_t ready; };
    struct Write { uint64_t addr; unsigned beats; uint8_t id, response; };
    struct Done { uint8_t id, response; uint64_t ready; };

    uint8_t* data;
    uint64_t size, random;
    uint32_t tokens = 0;
    std::deque<Read> reads;
    std::deque<Write> writes;
    std::deque<Done> responses;
    bool ar_waiting = false, aw_waiting = false, w_waiting = false, w_held_last = false;
    Address ar_held = {}, aw_held = {};
    uint8_t w_held[BYTES] = {};
    uint64_t w_held_strobe[MASK_WORDS] = {};

    bool chance(uint32_t probability) {
        if (!probability) return false;
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        return uint32_t(random >> 32) < probability;
    }

    uint8_t respond(uint64_t addr) const {
        for (const Injection& range : injections)
            if (addr + BYTES > range.base && addr < range.base + range.size) return range.response;
        return addr + BYTES <= size ? OKAY : DECERR;
    }

    void offer_read() {
        const Read& read = reads.front();
        out.rvalid = true;
        out.rid = read.id;
        out.rlast = read.beats == 1;
        out.rresp = respond(read.addr);
        if (out.rresp == OKAY)
            memcpy(out.rdata, data + read.addr, BYTES);
        else
            memset(out.rdata, 0, BYTES);
        --tokens;
    }

    void accept_write(const Inputs& in, uint64_t now) {
        Write& write = writes.front();
        ++counters.write_beats;
        --tokens;
        if (in.wlast != (write.beats == 1)) error("WLAST is wrong in the burst that ends with " + hex(write.addr));
        if (const uint8_t response = respond(write.addr); response != OKAY)
            write.response = response;
        else
            for (unsigned byte = 0; byte < BYTES; ++byte)
                if (in.wstrb[byte / 64] >> (byte % 64) & 1) data[write.addr + byte] = in.wdata[byte];
        write.addr += BYTES;
        if (--write.beats == 0) {
            responses.push_back({write.id, write.response, now + timing.write_latency});
            writes.pop_front();
        }
    }

    static std::string hex(uint64_t value) {
        char text[24];
        snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
        return text;
    }

    void check(const Address& a, const char* channel) {
        const uint64_t bytes = (uint64_t(a.len) + 1) * BYTES;
        const std::string where = std::string(channel) + " burst at " + hex(a.addr);
        if (a.addr % BYTES) error(where + " is not aligned to the bus");
        if (a.addr / 4096 != (a.addr + bytes - 1) / 4096) error(where + " crosses 4 KB");
        if (1u << a.size != BYTES) error(where + " has beats that are not the bus width");
        if (a.burst != 1) error(where + " is not INCR");
    }

    void watch(bool valid, bool ready, const Address& now, bool& waiting, Address& held, const char* channel) {
        if (waiting && !valid) error(std::string(channel) + "VALID fell before " + channel + "READY");
        if (waiting && valid && !(now == held)) error(std::string(channel) + " changed while it waited");
        waiting = valid && !ready;
        if (waiting) held = now;
    }

    void watch_write(const Inputs& in) {
        if (w_waiting) {
            if (!in.wvalid)
                error("WVALID fell before WREADY");
            else if (memcmp(w_held, in.wdata, BYTES) || memcmp(w_held_strobe, in.wstrb, sizeof w_held_strobe) ||
                     w_held_last != in.wlast)
                error("W changed while it waited");
        }
        w_waiting = in.wvalid && !out.wready;
        if (w_waiting) {
            memcpy(w_held, in.wdata, BYTES);
            memcpy(w_held_strobe, in.wstrb, sizeof w_held_strobe);
            w_held_last = in.wlast;
        }
    }
};
