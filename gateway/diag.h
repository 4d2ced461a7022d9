// SPDX-License-Identifier: Apache-2.0
// Diagnostics ("log" means this and nothing else): one event a line, stable event names, as text for people or JSON for collectors, to
// standard error. Identifiers may appear; measurements, names and patient numbers never. Any thread; one write(2) a line.
#ifndef GW_DIAG_H
#define GW_DIAG_H

#include <stdbool.h>

enum gw_level { GW_DEBUG, GW_INFO, GW_NOTICE, GW_WARNING, GW_ERROR };

void gw_diag_open(bool json, enum gw_level least);
// "debug" to "error", as log.level has it.
enum gw_level gw_level_of(const char *name);

// event: "mqtt.refused", lower case with dots, stable. format: words for people with key=value pairs where they help.
void gw_diag(enum gw_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

// The same, at most once in `seconds` per call site, with a count of what was left out: for whatever a stranger can repeat.
struct gw_diag_limit { _Atomic long long last_us; _Atomic unsigned left_out; };
void gw_diag_limited(struct gw_diag_limit *limit, int seconds, enum gw_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
