// Requests given to the simulated memory without a chip: what it gives at most, and the commands that its DRAM gets.
#include <cstdlib>

#include "axi_memory.h"

extern "C" {

// `beats` from `address` at the earliest `cycle`; requests of a direction are made in order.
struct ScovilleRequest {
    uint64_t cycle, address, beats;
    uint32_t write, id;
};
}

namespace {
template <unsigned BYTES>
class Manager {
  public:
    Manager(const ScovilleTiming& timing, uint64_t size, const ScovilleRequest* requests, uint64_t count,
            uint64_t* ends, std::vector<ScovilleCommand>* trace)
        : data(static_cast<uint8_t*>(calloc(size, 1))), memory(data.get(), size, timing, 1, trace), requests(requests),
          ends(ends) {
        for (uint64_t n = 0; n < count; ++n) {
            const ScovilleRequest& request = requests[n];
            (request.write ? writes : reads).waiting.push_back({n, 0});
            for (uint64_t at = request.address; at < request.address + request.beats * BYTES; at += BYTES)
                memcpy(data.get() + at, &at, sizeof at);
        }
    }

    // Until everything has come, `limit` cycles at most; whether it has.
    bool run(uint64_t limit) {
        while (memory.counters.cycles < limit && !(reads.done() && writes.done())) cycle();
        return reads.done() && writes.done() && memory.checks.errors.empty();
    }

    uint64_t cycles() const { return memory.counters.cycles; }

  private:
    using Memory = AxiMemory<BYTES>;
    struct Part { uint64_t request, beat; };
    struct Burst { uint64_t request, at; unsigned beats; bool last; uint8_t id; };
    struct Direction {
        std::deque<Part> waiting;
        std::deque<Burst> flying;
        bool done() const { return waiting.empty() && flying.empty(); }
    };
    struct Free { void operator()(uint8_t* at) const { free(at); } };

    std::unique_ptr<uint8_t, Free> data;
    Memory memory;
    const ScovilleRequest* requests;
    uint64_t* ends;
    Direction reads, writes;
    std::deque<Burst> bursts;  // whose data is not written yet
    uint8_t wdata[BYTES] = {};  // each beat holds its address

    // The burst that the direction's first part begins with: up to 4 KB, and to the next boundary of 4 KB.
    bool offer(Direction& direction, AxiAddress& address) {
        if (direction.waiting.empty()) return false;
        const auto& [n, beat] = direction.waiting.front();
        const ScovilleRequest& request = requests[n];
        if (request.cycle > memory.counters.cycles) return false;
        const uint64_t at = request.address + beat * BYTES;
        const uint64_t most = std::min<uint64_t>((4096 - at % 4096) / BYTES, 256);
        const uint64_t beats = std::min(request.beats - beat, most);
        unsigned size = 0;
        while (1u << size < BYTES) ++size;
        address = {at, uint8_t(request.id), uint8_t(beats - 1), uint8_t(size), 1};
        return true;
    }

    Burst issued(Direction& direction, const AxiAddress& address) {
        Part& part = direction.waiting.front();
        part.beat += address.len + 1u;
        const bool last = part.beat == requests[part.request].beats;
        const Burst burst = {part.request, address.addr, address.len + 1u, last, address.id};
        direction.flying.push_back(burst);
        if (last) direction.waiting.pop_front();
        return burst;
    }

    // A beat (`data`) or a response, which belongs to the oldest burst of its ID.
    void finish(Direction& direction, uint8_t id, const uint8_t* data) {
        auto& flying = direction.flying;
        auto burst = flying.begin();
        while (burst != flying.end() && burst->id != id) ++burst;
        if (burst == flying.end()) return memory.checks.error(memory.counters.cycles, "nobody asked for this");
        if (data) {
            if (memcmp(data, &burst->at, sizeof burst->at)) memory.checks.error(memory.counters.cycles, "wrong beat");
            burst->at += BYTES;
            if (--burst->beats) return;
        }
        if (burst->last) ends[burst->request] = memory.counters.cycles;
        flying.erase(burst);
    }

    void cycle() {
        typename Memory::Inputs in = {};
        in.arvalid = offer(reads, in.ar);
        in.awvalid = offer(writes, in.aw);
        in.rready = in.bready = true;
        in.wdata = wdata;
        memset(in.wstrb, 255, sizeof in.wstrb);
        in.wvalid = !bursts.empty();
        in.wlast = in.wvalid && bursts.front().beats == 1;
        if (in.wvalid) memcpy(wdata, &bursts.front().at, sizeof bursts.front().at);
        const auto out = memory.out;
        memory.step(in);
        if (in.arvalid && out.arready) issued(reads, in.ar);
        if (out.rvalid) finish(reads, out.rid, out.rdata);
        if (in.wvalid && out.wready) {
            bursts.front().at += BYTES;
            if (--bursts.front().beats == 0) bursts.pop_front();
        }
        if (in.awvalid && out.awready) bursts.push_back(issued(writes, in.aw));
        if (out.bvalid) finish(writes, out.bid, nullptr);
        memory.drive();
    }
};

template <unsigned BYTES>
int64_t run(const ScovilleTiming& timing, uint64_t size, const ScovilleRequest* requests, uint64_t count,
            uint64_t limit, uint64_t* ends, std::vector<ScovilleCommand>* trace) {
    Manager<BYTES> manager(timing, size, requests, count, ends, trace);
    return manager.run(limit) ? int64_t(manager.cycles()) : -1;
}
}  // namespace

extern "C" {

// Makes the requests of a memory of `size` bytes. Gives, of each, the cycle in which its last beat or its response came,
// and the first `room` commands of the DRAM; returns the cycles, or -1 if something did not come within `limit` cycles.
int64_t stream_run(const ScovilleTiming* timing, uint32_t bus_bytes, uint64_t size, const ScovilleRequest* requests,
                   uint64_t count, uint64_t limit, uint64_t* ends, ScovilleCommand* commands, uint64_t room,
                   uint64_t* made) {
    std::vector<ScovilleCommand> trace;
    std::vector<ScovilleCommand>* wanted = room ? &trace : nullptr;
    int64_t cycles = -1;
    switch (bus_bytes) {
        case 8: cycles = run<8>(*timing, size, requests, count, limit, ends, wanted); break;
        case 16: cycles = run<16>(*timing, size, requests, count, limit, ends, wanted); break;
        case 32: cycles = run<32>(*timing, size, requests, count, limit, ends, wanted); break;
        case 64: cycles = run<64>(*timing, size, requests, count, limit, ends, wanted); break;
        case 128: cycles = run<128>(*timing, size, requests, count, limit, ends, wanted); break;
        case 256: cycles = run<256>(*timing, size, requests, count, limit, ends, wanted); break;
    }
    *made = trace.size();
    std::copy_n(trace.begin(), std::min<uint64_t>(room, trace.size()), commands);
    return cycles;
}
}
