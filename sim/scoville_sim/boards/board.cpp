// A Verilated board from its serial line to its memory: the whole simulation loop, so that nothing runs in Python while
// the clock ticks. The other end of the line is a buffer here, or a pseudo-terminal.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <deque>
#include <vector>

#include "Vtop.h"
#include "verilated.h"
#ifdef SCOVILLE_SDRAM
#include "sdram_pins.h"
#endif

namespace {
constexpr unsigned BITS = 10;  // start, eight data bits, stop
constexpr unsigned BATCH = 4096;  // clocks between two looks at the pseudo-terminal
constexpr unsigned IDLE_POLL_MS = 2;  // how long to wait for the host when nothing moves on the board
constexpr uint16_t NO_STOP = 0x100;  // flag of a byte to send: its stop bit is low
}  // namespace

struct Board {
    VerilatedContext context;
    Vtop top{&context, "top"};
    const unsigned divisor;
    uint64_t cycles = 0;
    std::deque<uint16_t> to_send;
    std::vector<uint8_t> received;
    uint64_t broken = 0;  // bytes from the board without a stop bit
    std::string failures;  // assertions that failed first
    // The line to the board.
    unsigned send_left = 0, send_clock = 0;
    uint32_t send_bits = ~0u;
    // The line from the board.
    bool receiving = false;
    unsigned receive_bit = 0, receive_clock = 0;
    uint32_t receive_bits = 0;
#ifdef SCOVILLE_SDRAM
    SdramPins memory;
#endif

    explicit Board(unsigned divisor) : divisor(divisor) {
        top.clk = 0;
        top.rst = 1;
        top.rx = 1;
        top.eval();
        for (int n = 0; n < 5; ++n) edge();
        top.rst = 0;
        for (int n = 0; n < 5; ++n) edge();
    }

    void edge() {
#ifdef SCOVILLE_SDRAM
        memory.edge(top);
#endif
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        if (!scoville_printed.empty()) {
            if (failures.empty()) failures = "cycle " + std::to_string(cycles) + ": " + scoville_printed;
            scoville_printed.clear();
        }
        ++cycles;
    }

    void cycle() {
        if (send_left == 0 && !to_send.empty()) {
            const uint16_t item = to_send.front();
            to_send.pop_front();
            send_bits = (item & 0xFF) << 1 | (item & NO_STOP ? 0 : 1u << 9);
            send_left = BITS;
            send_clock = 0;
        }
        if (send_left) {
            top.rx = send_bits & 1;
            if (++send_clock == divisor) {
                send_clock = 0;
                send_bits >>= 1;
                --send_left;
            }
        } else {
            top.rx = 1;
        }
        edge();
        if (!receiving) {
            if (!top.tx) receiving = true, receive_clock = 1, receive_bit = 0, receive_bits = 0;
        } else if (receive_clock++ == divisor / 2) {
            receive_bits |= uint32_t(top.tx) << receive_bit;
            if (++receive_bit == BITS) {
                receiving = false;
                if (receive_bits >> 9 & 1)
                    received.push_back(receive_bits >> 1 & 0xFF);
                else
                    ++broken;
            }
        } else if (receive_clock == divisor) {
            receive_clock = 0;
        }
    }

    bool line_idle() const { return send_left == 0 && to_send.empty() && !receiving; }
};

extern "C" {

Board* board_create(uint32_t divisor) { return new Board(divisor); }

void board_destroy(Board* board) { delete board; }

const char* board_failures(const Board* board) { return board->failures.c_str(); }

// Queues bytes for the board; bit 8 of an item makes its stop bit low.
void board_send(Board* board, const uint16_t* items, uint64_t count) {
    board->to_send.insert(board->to_send.end(), items, items + count);
}

// Runs until both lines have been still for `quiet` clocks, at most `limit`; the clocks passed.
uint64_t board_run(Board* board, uint64_t quiet, uint64_t limit) {
    uint64_t still = 0, passed = 0;
    while (passed < limit && still < quiet) {
        board->cycle();
        ++passed;
        still = board->line_idle() ? still + 1 : 0;
    }
    return passed;
}

// Takes what has come from the board, at most `room` bytes; how many.
uint64_t board_receive(Board* board, uint8_t* to, uint64_t room) {
    const uint64_t count = board->received.size() < room ? board->received.size() : room;
    std::copy_n(board->received.begin(), count, to);
    board->received.erase(board->received.begin(), board->received.begin() + count);
    return count;
}

uint64_t board_cycles(const Board* board) { return board->cycles; }

uint64_t board_broken(const Board* board) { return board->broken; }

uint32_t board_leds(const Board* board) { return board->top.leds; }

// Joins the line and a file descriptor until *stop; the clock stands still while the host is silent and nothing has
// happened on the lines for `rest` clocks. -1 if the descriptor fails.
int board_serve(Board* board, int fd, const volatile int* stop, uint64_t rest) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    uint64_t still = 0;
    uint8_t buffer[BATCH];
    while (!*stop) {
        const ssize_t count = read(fd, buffer, sizeof buffer);
        if (count > 0)
            board->to_send.insert(board->to_send.end(), buffer, buffer + count);
        else if (count < 0 && errno != EAGAIN && errno != EIO)  // EIO: no host has the terminal open
            return -1;
        for (unsigned n = 0; n < BATCH; ++n) {
            board->cycle();
            still = board->line_idle() ? still + 1 : 0;
        }
        if (!board->received.empty()) {
            const ssize_t written = write(fd, board->received.data(), board->received.size());
            if (written > 0) board->received.erase(board->received.begin(), board->received.begin() + written);
        } else if (still >= rest) {
            pollfd wait = {fd, POLLIN, 0};
            poll(&wait, 1, IDLE_POLL_MS);
        }
    }
    return 0;
}

#ifdef SCOVILLE_SDRAM
uint32_t* board_memory(Board* board) { return board->memory.part.memory.data(); }

uint64_t board_memory_words(const Board* board) { return board->memory.part.memory.size(); }

uint64_t board_memory_errors(const Board* board) { return board->memory.part.errors.size(); }

const char* board_memory_error(const Board* board, uint64_t index) { return board->memory.part.errors[index].c_str(); }
#endif
}
