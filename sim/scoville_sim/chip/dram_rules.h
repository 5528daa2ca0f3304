// When each command of one DRAM channel may come. Times are clocks of the DRAM.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "chip.h"

class DramRules {
  public:
    static constexpr int64_t CLOSED = -1;
    static constexpr unsigned WINDOW = 4;  // activations that tFAW counts

    explicit DramRules(const ScovilleDram& timing)
        : t(timing), banks(timing.groups * timing.banks), groups(timing.groups) {}

    int64_t row(uint32_t bank) const { return banks[bank].row; }
    uint64_t burst_end(bool write, uint64_t now) const { return now + (write ? t.cwl : t.cl) + t.burst; }

    bool may_activate(uint32_t bank, uint64_t now) const {
        return now >= banks[bank].activate && now >= group(bank).activate && now >= activate && now >= four[oldest];
    }
    bool may_precharge(uint32_t bank, uint64_t now) const { return now >= banks[bank].precharge; }
    bool may_access(uint32_t bank, bool write, uint64_t now) const {
        return now >= banks[bank].access && now >= access[write] && now >= group(bank).access[write];
    }
    // The earliest access of any bank, so that nobody has to look before.
    uint64_t next_access(bool write) const { return access[write]; }
    bool may_precharge_all(uint64_t now) const {
        return std::all_of(banks.begin(), banks.end(), [now](const Bank& bank) { return now >= bank.precharge; });
    }
    bool all_closed() const {
        return std::all_of(banks.begin(), banks.end(), [](const Bank& bank) { return bank.row == CLOSED; });
    }
    bool may_refresh(uint64_t now) const {
        return std::all_of(banks.begin(), banks.end(), [now](const Bank& bank) { return now >= bank.refresh; });
    }

    void activated(uint32_t bank, int64_t row, uint64_t now) {
        Bank& b = banks[bank];
        b.row = row;
        b.access = now + t.rcd;
        later(b.precharge, now + t.ras);
        later(b.activate, now + t.rc);
        later(b.refresh, now + t.rc);
        later(group(bank).activate, now + t.rrd_l);
        later(activate, now + t.rrd_s);
        four[oldest] = now + t.faw;
        oldest = (oldest + 1) % WINDOW;
    }

    void precharged(uint32_t bank, uint64_t now) {
        Bank& b = banks[bank];
        b.row = CLOSED;
        later(b.activate, now + t.rp);
        later(b.refresh, now + t.rp);
    }

    void accessed(uint32_t bank, bool write, uint64_t now) {
        Group& g = group(bank);
        later(g.access[write], now + t.ccd_l);
        later(access[write], now + t.ccd_s);
        const uint64_t end = burst_end(write, now);
        if (write) {
            later(banks[bank].precharge, end + t.wr);
            later(g.access[false], end + t.wtr_l);
            later(access[false], end + t.wtr_s);
        } else {
            later(banks[bank].precharge, now + t.rtp);
            // The data bus turns round between the two bursts.
            later(access[true], end + t.rtw - t.cwl);
        }
    }

    void refreshed(uint64_t now) {
        for (Bank& bank : banks) {
            later(bank.activate, now + t.rfc);
            later(bank.refresh, now + t.rfc);
        }
    }

  private:
    // The earliest clock of each command; `access` is a column command, of a row that is open.
    struct Bank { int64_t row = CLOSED; uint64_t activate = 0, precharge = 0, access = 0, refresh = 0; };
    struct Group { uint64_t activate = 0, access[2] = {}; };

    const ScovilleDram& t;
    std::vector<Bank> banks;
    std::vector<Group> groups;
    uint64_t activate = 0, access[2] = {}, four[WINDOW] = {};
    unsigned oldest = 0;

    static void later(uint64_t& time, uint64_t than) { time = std::max(time, than); }
    // Banks are numbered group by group in turn, as a stream meets them.
    Group& group(uint32_t bank) { return groups[bank % t.groups]; }
    const Group& group(uint32_t bank) const { return groups[bank % t.groups]; }
};
