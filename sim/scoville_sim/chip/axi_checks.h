// The rules of AXI4 that a manager has to keep, checked as it speaks.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

struct AxiAddress {
    uint64_t addr;
    uint8_t id, len, size, burst;
    bool operator==(const AxiAddress& o) const {
        return addr == o.addr && id == o.id && len == o.len && size == o.size && burst == o.burst;
    }
};

inline std::string hex(uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

template <unsigned BYTES>
class AxiChecks {
  public:
    static constexpr unsigned MASK_WORDS = (BYTES + 63) / 64;

    std::vector<std::string> errors;

    void error(uint64_t cycle, const std::string& what) {
        if (errors.size() < 16) errors.push_back("cycle " + std::to_string(cycle) + ": " + what);
    }

    void reset() { ar = aw = {}, w.waiting = false; }
    bool write_waits() const { return w.waiting; }

    void burst(uint64_t cycle, const AxiAddress& a, const char* channel) {
        const uint64_t bytes = (uint64_t(a.len) + 1) * BYTES;
        const std::string where = std::string(channel) + " burst at " + hex(a.addr);
        if (a.addr % BYTES) error(cycle, where + " is not aligned to the bus");
        if (a.addr / 4096 != (a.addr + bytes - 1) / 4096) error(cycle, where + " crosses 4 KB");
        if (1u << a.size != BYTES) error(cycle, where + " has beats that are not the bus width");
        if (a.burst != 1) error(cycle, where + " is not INCR");
    }

    void read_address(uint64_t cycle, bool valid, bool ready, const AxiAddress& now) {
        watch(cycle, ar, valid, ready, now, "AR");
    }
    void write_address(uint64_t cycle, bool valid, bool ready, const AxiAddress& now) {
        watch(cycle, aw, valid, ready, now, "AW");
    }

    void write_data(uint64_t cycle, bool valid, bool ready, const uint8_t* data, const uint64_t* strobe, bool last) {
        if (w.waiting) {
            if (!valid)
                error(cycle, "WVALID fell before WREADY");
            else if (memcmp(w.data, data, BYTES) || memcmp(w.strobe, strobe, sizeof w.strobe) || w.last != last)
                error(cycle, "W changed while it waited");
        }
        w.waiting = valid && !ready;
        if (w.waiting) {
            memcpy(w.data, data, BYTES);
            memcpy(w.strobe, strobe, sizeof w.strobe);
            w.last = last;
        }
    }

  private:
    struct Held { bool waiting = false; AxiAddress address = {}; };
    Held ar, aw;
    struct { bool waiting = false, last = false; uint8_t data[BYTES] = {}; uint64_t strobe[MASK_WORDS] = {}; } w;

    void watch(uint64_t cycle, Held& held, bool valid, bool ready, const AxiAddress& now, const char* channel) {
        if (held.waiting && !valid) error(cycle, std::string(channel) + "VALID fell before " + channel + "READY");
        if (held.waiting && valid && !(now == held.address)) error(cycle, std::string(channel) + " changed while it waited");
        held.waiting = valid && !ready;
        if (held.waiting) held.address = now;
    }
};
