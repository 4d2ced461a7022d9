// SPDX-License-Identifier: Apache-2.0
// What the ledger knows of a reading on its way to the bus. Reads rows only; any thread, also where the bus does not run.
#include "adapters/mqtt/bus.h"

#include "gateway/bytes.h"
#include "gateway/clock.h"
#include "gateway/ledger.h"

#include <stdio.h>

#define KEY_MAX 64

static void
add_time(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, int64_t us)
{
	char text[40];

	yyjson_mut_obj_add_strcpy(doc, object, key, gw_time_format(us, text));
}

// The broker refused it. Whether it is still parked is told by the parked row.
static enum gw_error
add_refused(struct gw_journal *journal, const struct gw_traced *traced, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	char key[KEY_MAX], words[96];
	uint8_t value[17], byte;
	size_t len = 0;
	enum gw_error error;

	snprintf(key, sizeof(key), "outlet/bus/refused/%016llx/%04x", (unsigned long long)traced->position, (unsigned)traced->place);
	if ((error = gw_journal_get(journal, gw_span_text(key), value, sizeof(value), &len)) != GW_OK)
		return error;
	if (len != sizeof(value))
		return GW_E_CORRUPT;
	snprintf(key, sizeof(key), "outlet/bus/parked/%016llx", (unsigned long long)gw_get64(value + 9));
	error = gw_journal_get(journal, gw_span_text(key), &byte, 1, &len);
	if (error != GW_E_TOO_LARGE && error != GW_OK && error != GW_E_NOT_FOUND)
		return error;
	yyjson_mut_obj_add_str(doc, object, "state", error == GW_E_NOT_FOUND ? "refused" : "parked");
	add_time(doc, object, "at", (int64_t)gw_get64(value));
	yyjson_mut_obj_add_uint(doc, object, "reason_code", value[8]);
	snprintf(words, sizeof(words), "the broker refused it with 0x%02x%s", value[8],
	    error == GW_E_NOT_FOUND ? "; it was parked, and since then sent again or dropped" : "");
	yyjson_mut_obj_add_strcpy(doc, object, "words", words);
	return GW_OK;
}

struct left {
	uint64_t from;
	uint32_t count;
	bool found;
};

static bool
take_left(void *arg, struct gw_span key, struct gw_span value)
{
	struct left *left = arg;

	(void)key;
	if (value.len == 20) {
		left->from = gw_get64(value.at + 8);
		left->count = gw_get32(value.at + 16);
		left->found = true;
	}
	return false;
}

// Around it some messages went nowhere; which ones is not kept.
static enum gw_error
add_left(struct gw_journal *journal, const struct gw_traced *traced, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct left left = { 0 };
	char after[KEY_MAX], words[160];
	enum gw_error error;

	snprintf(after, sizeof(after), "outlet/bus/left/%016llx", (unsigned long long)traced->position - 1);
	error = gw_journal_each(journal, gw_span_text("outlet/bus/left/"), gw_span_text(after), take_left, &left);
	if (error != GW_OK || !left.found || left.from > traced->position)
		return error;
	snprintf(words, sizeof(words), "unless it is one of the %u messages around it that were refused or too large, and could not be parked",
	    (unsigned)left.count);
	yyjson_mut_obj_add_strcpy(doc, object, "words", words);
	return GW_OK;
}

static enum gw_error
add_passed(struct gw_journal *journal, const struct gw_traced *traced, const struct gw_ledger_entry *entry, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	enum gw_error error = add_refused(journal, traced, doc, object);

	if (error != GW_E_NOT_FOUND)
		return error;
	yyjson_mut_obj_add_str(doc, object, "state", "acknowledged");
	add_time(doc, object, "at", entry->at_us);
	if (entry->cursor < traced->position)
		yyjson_mut_obj_add_str(doc, object, "again", "the outlet was rewound: it is sent once more");
	return add_left(journal, traced, doc, object);
}

enum gw_error
gw_bus_trace(struct gw_core *core, const struct gw_traced *traced, yyjson_mut_doc *doc, yyjson_mut_val *array)
{
	struct gw_ledger_entry entry;
	yyjson_mut_val *object;
	enum gw_error error = gw_ledger_find(core->journal, "bus", traced->position, &entry);

	if (error != GW_OK)
		return error == GW_E_NOT_FOUND ? GW_OK : error; // there never was a bus
	object = yyjson_mut_arr_add_obj(doc, array);
	yyjson_mut_obj_add_str(doc, object, "outlet", "bus");
	switch (entry.state) {
	case GW_LEDGER_PASSED:
		return add_passed(core->journal, traced, &entry, doc, object);
	case GW_LEDGER_LEFT_OUT:
		yyjson_mut_obj_add_str(doc, object, "state", "left out");
		add_time(doc, object, "at", entry.at_us);
		yyjson_mut_obj_add_str(doc, object, "words", gw_gap_words(entry.reason));
		break;
	case GW_LEDGER_UNKNOWN:
		yyjson_mut_obj_add_str(doc, object, "state", "not known");
		yyjson_mut_obj_add_str(doc, object, "words", "the outlet is past it; what became of it then is not kept any more");
		break;
	case GW_LEDGER_WAITING:
		error = add_refused(core->journal, traced, doc, object); // parked before the cursor moves
		if (error != GW_E_NOT_FOUND)
			return error;
		yyjson_mut_obj_add_str(doc, object, "state", "waiting");
		break;
	}
	return GW_OK;
}
