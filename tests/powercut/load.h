// SPDX-License-Identifier: Apache-2.0
// What the load writes and the verifier expects.
#ifndef POWERCUT_LOAD_H
#define POWERCUT_LOAD_H

#include "gateway/intake.h"
#include "gateway/journal.h"

#include <stdio.h>
#include <stdlib.h>

#define LOAD_SOURCES 4
#define LOAD_T0 INT64_C(1795162500000000)

// Trimmed as far as the cursor allows.
static inline struct gw_journal_options
load_options(const char *dir)
{
	return (struct gw_journal_options){
		.dir = dir, .budget_bytes = 64u << 20, .reserve_bytes = 4u << 20,
		.retention_us = 0, .retention_full_us = 0,
		.quarantine_bytes = 4u << 20, .quarantine_share_percent = 100, .series_max = 10000,
	};
}

// Ticket n of a source: a reading of one of several series, now and then a large record or a frame in quarantine, and the row.
static inline void
load_fill(struct gw_ticket *ticket, uint64_t source, uint64_t n)
{
	static const uint8_t samples[4 * 1500];
	char device[24], row[24];
	struct gw_reading readings[2] = {
		{ .signal = 1, .instance = (uint16_t)(n % 40), .time_us = LOAD_T0 + (int64_t)n * 1000, .type = GW_VALUE_DECIMAL,
		    .decimal = { (int64_t)n, 0 } },
		{ .signal = 2, .time_us = LOAD_T0 + (int64_t)n * 1000, .type = GW_VALUE_SAMPLES, .samples = { 1000000, 1500, 0, samples } },
	};
	struct gw_batch_head head = { .received_us = LOAD_T0 + (int64_t)n * 1000, .door = GW_DOOR_MQTT };
	struct gw_quarantined entry = { .error = GW_E_FORMAT, .payload = gw_span(samples, 700) };
	enum gw_error error;

	snprintf(device, sizeof(device), "source-%llu", (unsigned long long)source);
	snprintf(row, sizeof(row), "load/%llu", (unsigned long long)source);
	head.device = head.principal = entry.principal = gw_span_text(device);
	error = gw_ticket_readings(ticket, &head, readings, n % 50 == 49 ? 2 : 1);
	if (error == GW_OK)
		error = gw_ticket_put(ticket, gw_span_text(row), gw_span(&n, sizeof(n)));
	if (error == GW_OK && n % 100 == 99)
		error = gw_ticket_quarantine(ticket, &entry);
	if (error != GW_OK)
		abort();
}

#endif
