// An SDR SDRAM that checks the rules of its data sheet; tb/sdram_part.py in C++, with the same rules.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

struct SdramParameters {  // of scoville.board.sdram_timing.SdramTiming; times in clocks
    unsigned width, row_bits, column_bits, cas_latency;
    int64_t rp, rcd, ras, rc, rrd, rfc, wr, mrd, init, refresh, open;
};

class SdramPart {
  public:
    struct Pins {  // as they are just before the rising edge; `command` is RAS#, CAS#, WE# as bits 2, 1, 0
        bool clk_en, cs_n;
        uint8_t command, ba;
        uint32_t a, dqm, dq;
        bool dq_oe;
    };

    std::vector<uint32_t> memory;  // a word each; row, bank, column from the top
    std::vector<std::string> errors;
    uint64_t words = 0, refreshes = 0;
    int64_t widest_gap = 0;

    explicit SdramPart(const SdramParameters& p) : memory(size_t(1) << (p.row_bits + 2 + p.column_bits)), p(p) {}

    // One clock. The word it drives until the next edge; what it drives while it does not is no word of memory.
    uint32_t edge(const Pins& in) {
        const bool command = !in.cs_n && in.command != NOP;
        if (started || command) rule(in.clk_en, "CKE is low");
        if (command) {
            rule(now >= p.init, "a command before the end of the power-up time");
            rule(!write_left || in.command == ACT || in.command == PRE, "a command cuts a write short");
            after(mode_set, p.mrd, "tMRD");
            switch (in.command) {
                case ACT: activate(in); break;
                case READ: read(in); break;
                case WRITE: write(in); break;
                case PRE: precharge(in); break;
                case REF: refresh(); break;
                case MRS: set_mode(in); break;
                default: rule(false, "burst stop");
            }
        }
        write_word(in);
        if (started) {
            if (now - refreshed > widest_gap) widest_gap = now - refreshed;
            rule(now - refreshed <= p.refresh, "refresh is late");
            for (const Bank& bank : banks) rule(!bank.open || now - bank.activated <= p.open, "a row is open for too long");
        }
        uint32_t out = 0x5A5A5A5A;
        Slot& slot = coming[(now + 1) % FLIGHT];
        if (slot.valid) {
            ++words;
            rule(!mask_before, "DQM, two clocks before, hides a word that is read");
            out = slot.word;
            slot.valid = false;
        }
        mask_before = in.dqm;
        ++now;
        return out;
    }

  private:
    enum : uint8_t { NOP = 7, ACT = 3, READ = 5, WRITE = 4, PRE = 2, REF = 1, MRS = 0 };
    static constexpr int64_t LONG_AGO = -(int64_t(1) << 40);
    static constexpr unsigned FLIGHT = 16, REFRESHES = 8, ALL_BANKS = 1u << 10;
    struct Bank {
        bool open = false, wrote = false;
        uint32_t row = 0;
        int64_t activated = LONG_AGO, precharged = LONG_AGO, accessed = LONG_AGO;
    };
    struct Slot { bool valid = false; uint32_t word = 0; };

    SdramParameters p;
    Bank banks[4];
    Slot coming[FLIGHT];
    int64_t now = 0, refreshed = LONG_AGO, mode_set = LONG_AGO, read_until = LONG_AGO, last_word = LONG_AGO;
    int64_t activated = LONG_AGO, precharged = LONG_AGO;  // of any bank
    bool started = false, all_precharged = false;
    unsigned burst = 1, write_left = 0, write_bank = 0;
    uint32_t write_base = 0, write_column = 0, mask_before = 0;

    void rule(bool holds, const char* what) {
        if (!holds && errors.size() < 16) errors.push_back("SDRAM, clock " + std::to_string(now) + ": " + what);
    }
    void after(int64_t then, int64_t clocks, const char* what) { rule(now - then >= clocks, what); }
    bool idle() const { return !(banks[0].open || banks[1].open || banks[2].open || banks[3].open); }

    void activate(const Pins& in) {
        Bank& bank = banks[in.ba & 3];
        rule(started, "ACT before MRS");
        rule(!bank.open, "ACT of an open bank");
        after(bank.activated, p.rc, "tRC");
        after(activated, p.rrd, "tRRD");
        after(bank.precharged, p.rp, "tRP");
        after(refreshed, p.rfc, "tRFC");
        bank.open = true;
        bank.row = in.a & ((1u << p.row_bits) - 1);
        bank.activated = activated = now;
    }

    // First column of the burst that an access begins.
    uint32_t access(const Pins& in, bool write) {
        Bank& bank = banks[in.ba & 3];
        rule(bank.open, "access of a closed bank");
        rule(!(in.a & ALL_BANKS), "auto precharge");
        after(bank.activated, p.rcd, "tRCD");
        rule(now >= read_until, "a read is cut short");
        bank.wrote = write;
        return in.a & ((1u << p.column_bits) - 1);
    }
    uint32_t base(unsigned bank) const { return (banks[bank].row << 2 | bank) << p.column_bits; }
    uint32_t wrapped(uint32_t column, unsigned n) const {
        return (column & ~(burst - 1)) | ((column + n) & (burst - 1));
    }

    void read(const Pins& in) {
        const uint32_t column = access(in, false), from = base(in.ba & 3);
        for (unsigned n = 0; n < burst; ++n)
            coming[(now + p.cas_latency + n) % FLIGHT] = {true, memory[from | wrapped(column, n)]};
        read_until = now + burst;
        last_word = now + p.cas_latency + burst - 1;
        banks[in.ba & 3].accessed = now + burst - 1;
    }

    void write(const Pins& in) {
        write_column = access(in, true);
        rule(now > last_word + 1, "no clock between a read's words and a write's");
        write_bank = in.ba & 3;
        write_base = base(write_bank);
        write_left = burst;
    }

    void write_word(const Pins& in) {
        rule(in.dq_oe == (write_left != 0), "the data pins are driven if and only if a word is written");
        if (!write_left) return;
        uint32_t mask = 0;
        for (unsigned byte = 0; byte < p.width / 8; ++byte)
            if (!(in.dqm >> byte & 1)) mask |= 0xFFu << 8 * byte;
        uint32_t& word = memory[write_base | wrapped(write_column, burst - write_left)];
        word = (word & ~mask) | (in.dq & mask);
        banks[write_bank].accessed = now;
        --write_left;
        ++words;
    }

    void precharge(const Pins& in) {
        const bool all = in.a & ALL_BANKS;
        all_precharged |= all;
        for (unsigned n = 0; n < 4; ++n) {
            Bank& bank = banks[n];
            if (!all && n != (in.ba & 3)) continue;
            if (bank.open) {
                rule(!write_left || write_bank != n, "PRE cuts a write short");
                after(bank.activated, p.ras, "tRAS");
                after(bank.accessed, bank.wrote ? p.wr : 1, "tWR, or the end of a read");
            }
            bank.open = false;
            bank.precharged = precharged = now;
        }
    }

    void refresh() {
        rule(all_precharged && idle(), "REF with an open row");
        after(precharged, p.rp, "REF after PRE");
        after(refreshed, p.rfc, "REF after REF");
        refreshed = now;
        ++refreshes;
    }

    void set_mode(const Pins& in) {
        rule(idle(), "MRS with an open row");
        rule(all_precharged && refreshes >= REFRESHES, "MRS before eight refreshes");
        after(refreshed, p.rfc, "MRS after REF");
        rule(!in.ba && !(in.a >> 7) && !(in.a >> 3 & 1), "mode: sequential bursts are wanted");
        rule((in.a >> 4 & 7) == p.cas_latency, "mode: CAS latency");
        rule((in.a & 7) <= 3, "mode: burst length");
        burst = 1u << (in.a & 3);
        mode_set = now;
        started = true;
    }
};
