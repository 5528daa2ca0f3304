// DRAM channels behind the AXI port: the address map, bursts cut into accesses, and the clocks of both sides.
#pragma once
#include <memory>

#include "dram_channel.h"

// What the memory keeps of an AXI read burst. `done` has, for each access to the DRAM, when its data has come.
struct ReadBurst {
    static constexpr uint64_t NEVER = ~uint64_t(0) / 2;
    uint64_t addr;
    unsigned beats;
    uint8_t id;
    uint64_t ready;
    uint64_t base = 0;  // of the first access
    std::vector<uint64_t> done = {};
};

class Dram {
  public:
    // `latency`: cycles of the chip that a read takes besides the DRAM.
    Dram(const ScovilleDram& timing, uint32_t latency, std::vector<ScovilleCommand>* trace)
        : t(timing), pipeline((uint64_t(latency) * t.dram_khz + t.chip_khz - 1) / t.chip_khz) {
        for (uint32_t number = 0; number < t.channels; ++number) channels.emplace_back(t, number, trace);
    }

    // A read burst that was accepted; it stays where it is until all of its data has come.
    void read(ReadBurst& burst, unsigned beat_bytes) {
        burst.base = burst.addr & ~uint64_t(t.access_bytes - 1);
        const uint64_t end = burst.addr + uint64_t(burst.beats) * beat_bytes;
        burst.done.assign((end - burst.base + t.access_bytes - 1) / t.access_bytes, ReadBurst::NEVER);
        waiting.push_back({&burst, 0});
    }

    // Whether the next beat is there.
    bool arrived(const ReadBurst& burst, unsigned beat_bytes) const {
        if (burst.done.empty()) return true;  // of an earlier timing
        const size_t first = (burst.addr - burst.base) / t.access_bytes;
        const size_t last = (burst.addr + beat_bytes - 1 - burst.base) / t.access_bytes;
        for (size_t n = first; n <= last; ++n)
            if (burst.done[n] + pipeline > clock) return false;
        return true;
    }

    bool room_to_write(uint64_t addr, unsigned beat_bytes) const {
        for (uint64_t at = first(addr); at < addr + beat_bytes; at += t.access_bytes)
            if (const DramChannel& c = channels[channel(at)]; !c.joins(at) && !c.room(true)) return false;
        return true;
    }

    void write(uint64_t addr, unsigned beat_bytes) {
        for (uint64_t at = first(addr); at < addr + beat_bytes; at += t.access_bytes)
            if (DramChannel& c = channels[channel(at)]; !c.joins(at)) c.push(true, access(at, nullptr));
    }

    bool idle() const {
        for (const DramChannel& each : channels)
            if (!each.idle()) return false;
        return waiting.empty();
    }

    // A cycle of the chip.
    void cycle() {
        feed();
        for (phase += t.dram_khz; phase >= t.chip_khz; phase -= t.chip_khz, ++clock)
            for (DramChannel& each : channels) each.tick(clock);
    }

  private:
    struct Part { ReadBurst* burst; size_t next; };

    const ScovilleDram t;
    const uint64_t pipeline;
    std::deque<DramChannel> channels;
    std::deque<Part> waiting;  // bursts that are not in the channels' queues in whole
    uint64_t clock = 0, phase = 0;

    uint64_t first(uint64_t addr) const { return addr & ~uint64_t(t.access_bytes - 1); }
    uint32_t channel(uint64_t addr) const { return addr / t.interleave % t.channels; }

    // In a channel, from the top: row, bank, column, bank group, byte of the access.
    DramChannel::Access access(uint64_t addr, uint64_t* done) const {
        const uint64_t inside = addr / (uint64_t(t.interleave) * t.channels) * t.interleave + addr % t.interleave;
        const uint64_t index = inside / t.access_bytes;
        const uint64_t rows = index / t.groups / (t.row_bytes / t.access_bytes);
        const uint32_t bank = index % t.groups + rows % t.banks * t.groups;
        return {bank, int64_t(rows / t.banks), addr, done, clock};
    }

    void feed() {
        while (!waiting.empty()) {
            Part& part = waiting.front();
            const uint64_t at = part.burst->base + part.next * t.access_bytes;
            DramChannel& to = channels[channel(at)];
            if (!to.room(false)) return;
            to.push(false, access(at, &part.burst->done[part.next]));
            if (++part.next == part.burst->done.size()) waiting.pop_front();
        }
    }
};
