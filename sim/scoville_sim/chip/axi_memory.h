// An AXI4 memory with settable timing, that also checks the protocol of its manager.
#pragma once
#include <cstdint>
#include <cstring>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "axi_checks.h"
#include "chip.h"
#include "dram.h"

template <unsigned BYTES>
class AxiMemory {
  public:
    enum Response : uint8_t { OKAY = 0, SLVERR = 2, DECERR = 3 };
    static constexpr unsigned MASK_WORDS = AxiChecks<BYTES>::MASK_WORDS;
    static constexpr unsigned PATIENCE = 16;  // cycles that a write beat lets read beats pass

    using Address = AxiAddress;

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
    std::vector<ScovilleCommand>* trace;  // of the DRAM's commands
    AxiChecks<BYTES> checks;

    AxiMemory(uint8_t* data, uint64_t size, const ScovilleTiming& timing, uint64_t seed,
              std::vector<ScovilleCommand>* trace = nullptr)
        : timing(timing), trace(trace), data(data), size(size), random(seed * 0x9E3779B97F4A7C15ull | 1) {
        make_dram();
    }

    void reset() {
        out = {};
        reads.clear(), writes.clear(), responses.clear(), pending.clear();
        current = nullptr;
        checks.reset();
        make_dram();
    }

    // Another timing from now on; what a DRAM has in flight is there at once.
    void set_timing(const ScovilleTiming& other) {
        timing = other;
        for (ReadBurst& read : reads) read.done.clear();
        make_dram();
    }

    // Decides what to drive in this cycle, from the state alone: no output depends on an input of the same cycle.
    void drive() {
        const uint64_t now = counters.cycles;
        if (dram) dram->cycle();
        // One phase of tokens a period; they are shared by both directions.
        if (now % timing.period == 0) tokens = timing.beats;
        const bool refreshing = timing.refresh_interval && now % timing.refresh_interval < timing.refresh_cycles;
        out.arready = reads.size() < timing.outstanding && !chance(timing.stall_ar);
        out.awready = writes.size() + responses.size() < timing.outstanding && !chance(timing.stall_aw);
        // Reads go first, but a write that has waited long takes the last token.
        const bool yield = tokens == 1 && overdue >= PATIENCE && !writes.empty();
        if (!out.rvalid) {
            ReadBurst* read = reads.empty() || !tokens || yield || refreshing ? nullptr : choose(now);
            if (read && !chance(timing.stall_r))
                offer_read(*read);
            else
                ++counters.read_idle_cycles;
        }
        // A beat that waits on RREADY has paid for itself when it was offered.
        out.wready = !writes.empty() && tokens && !refreshing && !chance(timing.stall_w) &&
                     (!dram || dram->room_to_write(writes.front().addr, BYTES));
        if (!out.bvalid && !responses.empty() && responses.front().ready <= now && !chance(timing.stall_b)) {
            out.bvalid = true;
            out.bid = responses.front().id;
            out.bresp = responses.front().response;
            for (unsigned beat = 0; beat < responses.front().beats; ++beat) commit();
        }
    }

    // Moves what was handed over in this cycle.
    void step(const Inputs& in) {
        const uint64_t now = counters.cycles;
        checks.read_address(now, in.arvalid, out.arready, in.ar);
        checks.write_address(now, in.awvalid, out.awready, in.aw);
        checks.write_data(now, in.wvalid, out.wready, in.wdata, in.wstrb, in.wlast);
        overdue = checks.write_waits() ? overdue + 1 : 0;
        if (out.rvalid && in.rready) {
            ++counters.read_beats;
            out.rvalid = false;
            current->addr += BYTES;
            if (current->beats-- == 1) {
                reads.remove_if([this](const ReadBurst& read) { return &read == current; });
                current = nullptr;
            }
        }
        if (in.arvalid && out.arready) {
            checks.burst(now, in.ar, "AR");
            ++counters.read_bursts;
            reads.push_back({aligned(in.ar), in.ar.len + 1u, in.ar.id, now + timing.read_latency});
            if (dram) dram->read(reads.back(), BYTES);
        }
        if (in.wvalid && out.wready) accept_write(in, now);
        if (in.awvalid && out.awready) {
            checks.burst(now, in.aw, "AW");
            ++counters.write_bursts;
            writes.push_back({aligned(in.aw), in.aw.len + 1u, in.aw.id, OKAY});
        }
        if (out.bvalid && in.bready) {
            out.bvalid = false;
            responses.pop_front();
        }
        ++counters.cycles;
    }

    // Whether nothing is under way.
    bool idle() const { return reads.empty() && writes.empty() && responses.empty() && (!dram || dram->idle()); }

  private:
    struct Write { uint64_t addr; unsigned beats; uint8_t id, response; unsigned given = 0; };
    struct Done { uint8_t id, response; uint64_t ready; unsigned beats; };
    struct Beat { uint64_t addr; uint64_t strobe[MASK_WORDS]; uint8_t data[BYTES]; };

    uint8_t* data;
    uint64_t size, random;
    uint32_t tokens = 0, overdue = 0;
    std::unique_ptr<Dram> dram;
    std::list<ReadBurst> reads;
    ReadBurst* current = nullptr;  // has given some of its beats, and gives the rest before another one begins
    std::deque<Write> writes;
    std::deque<Done> responses;
    std::deque<Beat> pending;  // accepted, and not in memory yet

    void make_dram() {
        dram = timing.dram.channels ? std::make_unique<Dram>(timing.dram, timing.read_latency, trace) : nullptr;
    }

    static uint64_t aligned(const Address& a) { return a.addr & ~uint64_t(BYTES - 1); }

    bool chance(uint32_t probability) {
        if (!probability) return false;
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        return uint32_t(random >> 32) < probability;
    }

    // The burst whose next beat can be given: in order; from a DRAM in order of each ID.
    ReadBurst* choose(uint64_t now) {
        if (!dram) return reads.front().ready <= now ? &reads.front() : nullptr;
        if (current) return dram->arrived(*current, BYTES) ? current : nullptr;
        uint64_t seen[4] = {};
        for (ReadBurst& read : reads) {
            uint64_t& ids = seen[read.id / 64];
            if (!(ids >> read.id % 64 & 1) && dram->arrived(read, BYTES)) return &read;
            ids |= uint64_t(1) << read.id % 64;
        }
        return nullptr;
    }

    uint8_t respond(uint64_t addr) const {
        for (const Injection& range : injections)
            if (addr + BYTES > range.base && addr < range.base + range.size) return range.response;
        return addr + BYTES <= size ? OKAY : DECERR;
    }

    void offer_read(ReadBurst& read) {
        current = &read;
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

    // AXI4 promises nothing of a write before its response, so it is not in memory before that is offered: who reads
    // sooner has the old bytes.
    void commit() {
        const Beat& beat = pending.front();
        for (unsigned byte = 0; byte < BYTES; ++byte)
            if (beat.strobe[byte / 64] >> (byte % 64) & 1) data[beat.addr + byte] = beat.data[byte];
        pending.pop_front();
    }

    void accept_write(const Inputs& in, uint64_t now) {
        Write& write = writes.front();
        ++counters.write_beats;
        --tokens;
        if (in.wlast != (write.beats == 1))
            checks.error(now, "WLAST is wrong in the burst that ends with " + hex(write.addr));
        if (dram) dram->write(write.addr, BYTES);
        if (const uint8_t response = respond(write.addr); response != OKAY) {
            write.response = response;
        } else {
            Beat& beat = pending.emplace_back();
            beat.addr = write.addr;
            memcpy(beat.strobe, in.wstrb, sizeof beat.strobe);
            memcpy(beat.data, in.wdata, BYTES);
            ++write.given;
        }
        write.addr += BYTES;
        if (--write.beats == 0) {
            responses.push_back({write.id, write.response, now + timing.write_latency, write.given});
            writes.pop_front();
        }
    }
};
