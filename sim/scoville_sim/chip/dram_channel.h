// The scheduler of one DRAM channel: open rows, a look-ahead window, reads before writes until writes have to go.
#pragma once
#include <deque>
#include <vector>

#include "dram_rules.h"

class DramChannel {
  public:
    // One burst of the DRAM. `done` takes the clock at which a read's data has come.
    struct Access { uint32_t bank; int64_t row; uint64_t address; uint64_t* done; uint64_t born; };

    DramChannel(const ScovilleDram& timing, uint32_t number, std::vector<ScovilleCommand>* trace)
        : t(timing), rules(timing), number(number), trace(trace), refresh(timing.refi) {}

    bool room(bool write) const { return queue(write).size() < (write ? t.write_queue : t.window); }
    bool idle() const { return queues[0].empty() && queues[1].empty(); }

    void push(bool write, const Access& access) { queue(write).push_back(access); }

    // Whether a write to this burst of the DRAM waits already: then its bytes join it.
    bool joins(uint64_t address) const {
        for (const Access& access : queues[1])
            if (access.address == address) return true;
        return false;
    }

    // One clock: a command, or a row and a column command if the DRAM has a bus for each.
    void tick(uint64_t now) {
        if (now >= refresh) return make_refresh(now);
        turn(now);
        const bool accessed = make_access(now);
        if (!accessed || t.row_bus) make_row(now);
    }

  private:
    const ScovilleDram& t;
    DramRules rules;
    uint32_t number;
    std::vector<ScovilleCommand>* trace;
    std::deque<Access> queues[2];  // reads, writes
    bool writing = false;
    uint32_t served = 0;  // accesses since the direction changed
    uint64_t refresh;     // when the next one is due

    std::deque<Access>& queue(bool write) { return queues[write]; }
    const std::deque<Access>& queue(bool write) const { return queues[write]; }

    void command(uint64_t now, uint32_t what, uint32_t bank, int64_t row = 0) {
        if (trace) trace->push_back({now, what, number, bank, uint32_t(row)});
    }

    // Reads go first. Writes go when many wait, when one has waited long, or when there is nothing else to do; so that
    // neither starves, a direction that others wait for ends after as many accesses as the write queue holds.
    void turn(uint64_t now) {
        const auto &reads = queue(false), &writes = queue(true);
        const bool enough = served >= t.write_queue;
        bool to = writing;
        if (writing)
            to = !writes.empty() && (reads.empty() || !enough);
        else if (!writes.empty())
            to = reads.empty() || (enough && (writes.size() >= t.write_high || now - writes.front().born >= t.write_age));
        if (to != writing) writing = to, served = 0;
    }

    // A column command of the oldest access of the window whose row is open. A bank serves its rows in order.
    bool make_access(uint64_t now) {
        auto& waiting = queue(writing);
        if (waiting.empty() || now < rules.next_access(writing)) return false;
        uint64_t blocked = 0;
        const size_t window = std::min<size_t>(waiting.size(), t.window);
        for (size_t n = 0; n < window; ++n) {
            const Access& access = waiting[n];
            if (blocked >> access.bank & 1) continue;
            if (rules.row(access.bank) != access.row) {
                blocked |= uint64_t(1) << access.bank;
            } else if (rules.may_access(access.bank, writing, now)) {
                command(now, writing ? SCOVILLE_WRITE : SCOVILLE_READ, access.bank, access.row);
                rules.accessed(access.bank, writing, now);
                if (access.done) *access.done = rules.burst_end(writing, now);
                waiting.erase(waiting.begin() + n);
                ++served;
                return true;
            }
        }
        return false;
    }

    // Opens the row that the oldest access of a bank wants, or closes the one that is in its way.
    void make_row(uint64_t now) {
        const auto& waiting = queue(writing);
        uint64_t seen = 0;
        const size_t window = std::min<size_t>(waiting.size(), t.window);
        for (size_t n = 0; n < window; ++n) {
            const Access& access = waiting[n];
            if (seen >> access.bank & 1) continue;
            seen |= uint64_t(1) << access.bank;
            const int64_t row = rules.row(access.bank);
            if (row == access.row) continue;
            if (row == DramRules::CLOSED && rules.may_activate(access.bank, now)) {
                command(now, SCOVILLE_ACTIVATE, access.bank, access.row);
                return rules.activated(access.bank, access.row, now);
            }
            if (row != DramRules::CLOSED && rules.may_precharge(access.bank, now)) return precharge(access.bank, now);
        }
    }

    void precharge(uint32_t bank, uint64_t now) {
        command(now, SCOVILLE_PRECHARGE, bank, rules.row(bank));
        rules.precharged(bank, now);
    }

    // All banks at once: close them, refresh.
    void make_refresh(uint64_t now) {
        if (!rules.all_closed()) {
            if (!rules.may_precharge_all(now)) return;
            command(now, SCOVILLE_PRECHARGE_ALL, 0);
            for (uint32_t bank = 0; bank < t.groups * t.banks; ++bank) rules.precharged(bank, now);
        } else if (rules.may_refresh(now)) {
            command(now, SCOVILLE_REFRESH, 0);
            rules.refreshed(now);
            refresh += t.refi;
        }
    }
};
