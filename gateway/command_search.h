// SPDX-License-Identifier: Apache-2.0
// Readings of one device out of the journal, as commands ask for them: --device, --signal, --id, --from, --to, --limit. The handler's thread.
#ifndef GW_COMMAND_SEARCH_H
#define GW_COMMAND_SEARCH_H

#include "gateway/command.h"
#include "gateway/nomenclature.h"

struct gw_search;
// One reading: `place` is its number in the record, from 0. False: no more.
typedef bool gw_search_fn(void *arg, const struct gw_record *record, const struct gw_batch *batch, const struct gw_reading *reading, uint16_t place);

struct gw_search {
	struct gw_call *call;
	struct gw_span device;
	const struct gw_signal *signal; // NULL: all
	struct gw_span id;              // of one reading; without ".n" with all its revisions. Empty: all
	int64_t from_us, to_us, limit;

	gw_search_fn *fn;
	void *arg;
	int64_t found;  // readings given
	bool damaged;   // records that could not be read were left out
};

// Reads the arguments: from_us and limit are what holds where they were not given. Fails with words.
enum gw_error gw_search_init(struct gw_search *search, struct gw_call *call, int64_t from_us, int64_t limit);
// In the order of device time; ends early when the command does. Fails with words, also where the device is not known and nothing was found.
// fn returning false counts the reading as not given.
enum gw_error gw_search_run(struct gw_search *search, gw_search_fn *fn, void *arg);

#endif
