// A Verilated chip with its memory: the whole simulation loop, so that nothing runs in Python while the clock ticks.
#include "chip.h"

#include "Vtop.h"
#include "axi_memory.h"
#include "verilated.h"
#ifdef SCOVILLE_WAVES
#include "verilated_vcd_c.h"
#endif

// Verilator writes the second of two underscores as a code, and marks the words that some C++ compilers reserve.
#define INTERRUPT(top) (top).__SYM__interrupt
#define AXI(name) top.m_axi___05F##name
#define LITE(name) top.s_axil___05F##name

using Memory = AxiMemory<SCOVILLE_BUS_BYTES>;

namespace {
// The trace port's word; 0 for a chip without one.
template <typename Top>
uint32_t activity_of(const Top& top) {
    if constexpr (requires { top.activity; })
        return uint32_t(top.activity);
    else
        return 0;
}

// What is recorded: the signals that are watched; where none are, the trace port.
template <typename Top>
uint64_t recorded_of(const Top& top) {
    if constexpr (requires { top.watched; })
        return top.watched;
    else
        return activity_of(top);
}

constexpr unsigned SETTLE = 2;  // cycles from the end of reset to the first access: the chip's reset is a register
constexpr unsigned LITE_TIMEOUT = 10000;  // cycles a register access may take

// Verilator keeps a port in the smallest of 8, 16, 32, 64 bits or an array of 32-bit words; all are little-endian.
template <typename Port>
void get(void* to, const Port& port, size_t bytes) {
    memcpy(to, &port, bytes);
}
template <typename Port>
void put(Port& port, const void* from, size_t bytes) {
    memcpy(&port, from, bytes);
}
}  // namespace

struct Chip {
    VerilatedContext context;
    Vtop top{&context, "top"};
    Memory memory;
    uint8_t wdata[SCOVILLE_BUS_BYTES] = {};
#ifdef SCOVILLE_WAVES
    VerilatedVcdC* waves = nullptr;
#endif

    Chip(uint8_t* data, uint64_t size, const ScovilleTiming& timing, uint64_t seed) : memory(data, size, timing, seed) {
        top.clk = 0;
        top.rst = 1;
        top.eval();
    }

    ~Chip() {
#ifdef SCOVILLE_WAVES
        if (waves) waves->close();
        delete waves;
#endif
        top.final();
    }

    void dump(unsigned half) {
#ifdef SCOVILLE_WAVES
        if (waves) waves->dump(memory.counters.cycles * 10 + half * 5);
#else
        (void)half;
#endif
    }

    // One cycle: see what is handed over, then the rising edge, which also brings in the inputs of the next cycle.
    // The top module has a register behind every input, so that one evaluation settles a cycle.
    void cycle() {
        if (top.rst) {
            memory.reset();
            ++memory.counters.cycles;
        } else {
            memory.step(handed_over());
            memory.drive();
        }
        if (lite_open) lite_step();
        const auto& out = memory.out;
        AXI(arready) = out.arready;
        AXI(awready) = out.awready;
        AXI(wready) = out.wready;
        AXI(rvalid) = out.rvalid;
        if (out.rvalid) {
            AXI(rid) = out.rid;
            AXI(rresp) = out.rresp;
            AXI(rlast) = out.rlast;
            put(AXI(rdata), out.rdata, SCOVILLE_BUS_BYTES);
        }
        AXI(bvalid) = out.bvalid;
        AXI(bid) = out.bid;
        AXI(bresp) = out.bresp;
        top.clk = 0;
        top.eval();
        dump(0);
        top.clk = 1;
        top.eval();
        dump(1);
        if (!scoville_printed.empty()) {
            memory.checks.error(memory.counters.cycles, "assertion failed: " + scoville_printed);
            scoville_printed.clear();
        }
        if (!events.empty()) record();
    }

    // Keeps the word when it changes: the last `events.size()` of them.
    void record() {
        const uint64_t word = recorded_of(top);
        if (recorded && word == last_word) return;
        last_word = word;
        events[recorded++ % events.size()] = {memory.counters.cycles, word};
    }

    std::vector<ScovilleEvent> events;
    uint64_t recorded = 0;
    uint64_t last_word = 0;

    Memory::Inputs handed_over() {
        Memory::Inputs in;
        in.arvalid = AXI(arvalid);
        in.rready = AXI(rready);
        in.awvalid = AXI(awvalid);
        in.wvalid = AXI(wvalid);
        in.bready = AXI(bready);
        in.wlast = AXI(wlast);
        in.ar = {AXI(araddr), AXI(arid), AXI(arlen), AXI(arsize), AXI(arburst)};
        in.aw = {AXI(awaddr), AXI(awid), AXI(awlen), AXI(awsize), AXI(awburst)};
        in.wdata = wdata;
        if (in.wvalid) {
            get(wdata, AXI(wdata), SCOVILLE_BUS_BYTES);
            memset(in.wstrb, 0, sizeof in.wstrb);
            get(in.wstrb, AXI(wstrb), SCOVILLE_BUS_BYTES / 8);
        }
        return in;
    }

    // The register bus: `lite` is what its manager drives in this cycle, the ports what it will drive in the next.
    void lite_step() {
        if (lite.awvalid && LITE(awready)) LITE(awvalid) = 0;
        if (lite.wvalid && LITE(wready)) LITE(wvalid) = 0;
        if (lite.arvalid && LITE(arready)) LITE(arvalid) = 0;
        if (lite.bready && LITE(bvalid)) {
            LITE(bready) = 0;
            lite_response = LITE(bresp);
        }
        if (lite.rready && LITE(rvalid)) {
            LITE(rready) = 0;
            lite_response = LITE(rresp);
            lite_data = LITE(rdata);
        }
        lite = {bool(LITE(awvalid)), bool(LITE(wvalid)), bool(LITE(bready)), bool(LITE(arvalid)), bool(LITE(rready))};
    }

    // Cycles until a response, which is -1 if none comes.
    int lite_access() {
        lite_open = true;
        lite_response = -1;
        for (unsigned waited = 0; waited < LITE_TIMEOUT && lite_response < 0; ++waited) cycle();
        LITE(awvalid) = LITE(wvalid) = LITE(bready) = LITE(arvalid) = LITE(rready) = 0;
        lite = {};
        lite_open = false;
        return lite_response;
    }

    struct {
        bool awvalid, wvalid, bready, arvalid, rready;
    } lite = {};
    bool lite_open = false;
    uint32_t lite_data = 0;
    int lite_response = -1;
};

extern "C" {

Chip* chip_create(uint8_t* memory, uint64_t size, const ScovilleTiming* timing, uint64_t seed) {
    Chip* chip = new Chip(memory, size, *timing, seed);
    chip_reset(chip, 5);
    return chip;
}

void chip_destroy(Chip* chip) { delete chip; }

void chip_reset(Chip* chip, uint32_t cycles) {
    chip->top.rst = 1;
    while (cycles--) chip->cycle();
    chip->top.rst = 0;
    chip_step(chip, SETTLE);
}

void chip_step(Chip* chip, uint64_t cycles) {
    while (cycles--) chip->cycle();
}

uint64_t chip_run(Chip* chip, uint64_t limit) {
    uint64_t passed = 0;
    while (passed < limit && !INTERRUPT(chip->top) && chip->memory.checks.errors.empty()) {
        chip->cycle();
        ++passed;
    }
    return passed;
}

int chip_interrupt(const Chip* chip) { return INTERRUPT(chip->top); }

int chip_write(Chip* chip, uint32_t address, uint32_t value) {
    Vtop& top = chip->top;
    LITE(awaddr) = address;
    LITE(wdata) = value;
    LITE(wstrb) = 15;
    LITE(awvalid) = LITE(wvalid) = LITE(bready) = 1;
    return chip->lite_access();
}

int chip_read(Chip* chip, uint32_t address, uint32_t* value) {
    Vtop& top = chip->top;
    LITE(araddr) = address;
    LITE(arvalid) = LITE(rready) = 1;
    const int response = chip->lite_access();
    *value = chip->lite_data;
    return response;
}

uint32_t chip_handshakes(const Chip* chip) {
    const Vtop& top = chip->top;
    const bool wires[] = {
        bool(AXI(arvalid)),  bool(AXI(arready)),  bool(AXI(rvalid)),   bool(AXI(rready)),  bool(AXI(awvalid)),
        bool(AXI(awready)),  bool(AXI(wvalid)),   bool(AXI(wready)),   bool(AXI(bvalid)),  bool(AXI(bready)),
        bool(LITE(arvalid)), bool(LITE(arready)), bool(LITE(rvalid)),  bool(LITE(rready)), bool(LITE(awvalid)),
        bool(LITE(awready)), bool(LITE(wvalid)),  bool(LITE(wready)),  bool(LITE(bvalid)), bool(LITE(bready)),
    };
    uint32_t bits = 0;
    for (size_t n = 0; n < sizeof wires; ++n) bits |= uint32_t(wires[n]) << n;
    return bits;
}

uint32_t chip_activity(const Chip* chip) { return activity_of(chip->top); }

void chip_inject(Chip* chip, uint64_t base, uint64_t size, uint32_t response) {
    chip->memory.injections.push_back({base, size, uint8_t(response)});
}

void chip_clear_injections(Chip* chip) { chip->memory.injections.clear(); }

void chip_set_timing(Chip* chip, const ScovilleTiming* timing) { chip->memory.set_timing(*timing); }

const ScovilleCounters* chip_counters(const Chip* chip) { return &chip->memory.counters; }

uint32_t chip_error_count(const Chip* chip) { return uint32_t(chip->memory.checks.errors.size()); }

const char* chip_error(const Chip* chip, uint32_t index) { return chip->memory.checks.errors[index].c_str(); }

void chip_record(Chip* chip, uint64_t capacity) {
    chip->events.assign(capacity, {});
    chip->recorded = 0;
}

uint64_t chip_recorded(const Chip* chip) { return chip->recorded; }

const ScovilleEvent* chip_events(const Chip* chip) { return chip->events.data(); }

int chip_trace(Chip* chip, const char* path) {
#ifdef SCOVILLE_WAVES
    chip->context.traceEverOn(true);
    chip->waves = new VerilatedVcdC;
    chip->top.trace(chip->waves, 99);
    chip->waves->open(path);
    return 1;
#else
    (void)chip, (void)path;
    return 0;
#endif
}
}
