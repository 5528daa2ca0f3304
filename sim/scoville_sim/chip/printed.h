// What the model prints: the messages of failed assertions, and nothing else. Included before every file (build.py).
#pragma once
#include <cstdarg>
#include <cstdio>
#include <string>

inline thread_local std::string scoville_printed;

// Takes the place of Verilator's printf.
inline int scoville_print(const char* format, ...) {
    char text[512];
    va_list values;
    va_start(values, format);
    const int size = vsnprintf(text, sizeof text, format, values);
    va_end(values);
    if (!scoville_printed.empty()) scoville_printed += "; ";
    scoville_printed += text;
    return size;
}
