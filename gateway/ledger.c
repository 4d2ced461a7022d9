// SPDX-License-Identifier: Apache-2.0
// Rows of what was passed and what was left out; the outlets' names. The header tells the format and who calls.
#include "gateway/ledger.h"

#include "gateway/bytes.h"

#include <stdio.h>
#include <stdlib.h>

#define KEY_MAX 200
#define ROW_BYTES 104           // a row in the store, at worst
#define DAY_US (INT64_C(86400) * 1000000)
#define GAP_LEN 17

const char *
gw_gap_words(enum gw_gap_reason reason)
{
	static const char *const words[] = {
		[GW_GAP_AGE] = "older than the outlet's limit",
		[GW_GAP_BYTES] = "more than the outlet's limit of bytes",
		[GW_GAP_DAMAGED] = "the record is damaged",
		[GW_GAP_ABSENT] = "the outlet does not run, and they are older than its limit",
		[GW_GAP_BEFORE] = "the outlet began after them",
	};
	size_t i = (size_t)reason;

	return i < sizeof(words) / sizeof(words[0]) && words[i] != NULL ? words[i] : "for a reason that this version does not know";
}

int64_t
gw_ledger_keep_us(const struct gw_config *config)
{
	int64_t hours_us = config->store_ledger_h * 3600 * 1000000;
	int64_t room_us = config->store_budget_mb * (1 << 20) / 100 / ROW_BYTES * 1000000;

	return hours_us < room_us ? hours_us : room_us;
}

static struct gw_span
key_of(const char *name, const char *table, uint64_t position, char out[KEY_MAX])
{
	snprintf(out, KEY_MAX, "outlet/%s/%s/%016llx", name, table, (unsigned long long)position);
	return gw_span_text(out);
}

static struct gw_span
prefix_of(const char *name, const char *table, char out[KEY_MAX])
{
	snprintf(out, KEY_MAX, "outlet/%s/%s/", name, table);
	return gw_span_text(out);
}

// The position in a key behind its table's prefix.
static bool
position_of(struct gw_span key, size_t prefix_len, uint64_t *position)
{
	char digits[17], *end;

	if (key.len < prefix_len + 16)
		return false;
	memcpy(digits, key.at + prefix_len, 16);
	digits[16] = '\0';
	*position = strtoull(digits, &end, 16);
	return *end == '\0';
}

// ---- Writing ----

enum gw_error
gw_ledger_passed(struct gw_ticket *ticket, const char *name, uint64_t position, int64_t now_us)
{
	char key[KEY_MAX];
	uint8_t value[8];

	gw_put64(value, (uint64_t)now_us);
	return gw_ticket_put(ticket, key_of(name, "passed", position, key), gw_span(value, sizeof(value)));
}

enum gw_error
gw_ledger_gap(struct gw_journal *journal, struct gw_ticket *ticket, const char *name, uint64_t from, uint64_t to, enum gw_gap_reason reason,
    int64_t now_us)
{
	char key[KEY_MAX];
	uint8_t value[GAP_LEN];
	struct gw_span before = key_of(name, "gap", from - 1, key);
	size_t len = 0;
	enum gw_error error = gw_journal_get(journal, before, value, sizeof(value), &len);

	if (error == GW_OK && len == sizeof(value) && value[16] == (uint8_t)reason && gw_get64(value + 8) < from) {
		from = gw_get64(value + 8);
		if ((error = gw_ticket_del(ticket, before)) != GW_OK)
			return error;
	}
	gw_put64(value, (uint64_t)now_us);
	gw_put64(value + 8, from);
	value[16] = (uint8_t)reason;
	return gw_ticket_put(ticket, key_of(name, "gap", to, key), gw_span(value, sizeof(value)));
}

struct sweep {
	struct gw_ticket *ticket;
	size_t prefix_len, left;
	int64_t before_us, after_us;
	uint64_t first;
	enum gw_error error;
};

static bool
sweep_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct sweep *sweep = arg;
	uint64_t position;
	int64_t us = value.len >= 8 ? (int64_t)gw_get64(value.at) : INT64_MIN;

	if (position_of(key, sweep->prefix_len, &position) && position >= sweep->first && us >= sweep->before_us && us < sweep->after_us)
		return false; // what follows is of later positions
	if (sweep->left == 0)
		return false;
	sweep->left--;
	sweep->error = gw_ticket_del(sweep->ticket, key);
	return sweep->error == GW_OK;
}

enum gw_error
gw_ledger_sweep(struct gw_journal *journal, struct gw_ticket *ticket, const char *name, int64_t before_us, int64_t now_us, size_t limit)
{
	static const char *const tables[] = { "passed", "gap", "refused", "left" };
	struct sweep sweep = { .ticket = ticket, .before_us = before_us, .after_us = now_us + DAY_US, .first = gw_journal_first(journal) };
	enum gw_error error = GW_OK;
	char key[KEY_MAX];

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && error == GW_OK; i++) {
		struct gw_span prefix = prefix_of(name, tables[i], key);

		sweep.prefix_len = prefix.len;
		sweep.left = limit;
		if ((error = gw_journal_each(journal, prefix, gw_span(NULL, 0), sweep_row, &sweep)) == GW_OK)
			error = sweep.error;
	}
	return error;
}

// ---- Reading ----

static bool
take_newest(void *arg, struct gw_span key, struct gw_span value)
{
	int64_t *newest_us = arg;

	(void)key;
	if (value.len == GAP_LEN && value.at[16] != GW_GAP_BEFORE && (int64_t)gw_get64(value.at) > *newest_us)
		*newest_us = (int64_t)gw_get64(value.at);
	return true;
}

enum gw_error
gw_ledger_last_gap(struct gw_journal *journal, const char *name, int64_t *at_us)
{
	char prefix[KEY_MAX];

	*at_us = 0;
	return gw_journal_each(journal, prefix_of(name, "gap", prefix), gw_span(NULL, 0), take_newest, at_us);
}

struct find {
	size_t prefix_len;
	uint64_t position;
	uint8_t value[GAP_LEN];
	size_t len;
	bool found;
};

static bool
take_first(void *arg, struct gw_span key, struct gw_span value)
{
	struct find *find = arg;

	if (value.len > sizeof(find->value) || !position_of(key, find->prefix_len, &find->position))
		return true;
	gw_put_bytes(find->value, value.at, value.len);
	find->len = value.len;
	find->found = true;
	return false;
}

// The first row of a table for `position` or later.
static enum gw_error
first_from(struct gw_journal *journal, const char *name, const char *table, uint64_t position, struct find *find)
{
	char prefix[KEY_MAX], after[KEY_MAX];
	struct gw_span within = prefix_of(name, table, prefix);

	*find = (struct find){ .prefix_len = within.len };
	return gw_journal_each(journal, within, position > 0 ? key_of(name, table, position - 1, after) : gw_span(NULL, 0), take_first, find);
}

static enum gw_error
read_cursor(struct gw_journal *journal, const char *name, uint64_t *cursor)
{
	char key[KEY_MAX];
	uint8_t value[8];
	size_t len = 0;
	enum gw_error error;

	snprintf(key, sizeof(key), GW_CURSOR_KEY_FMT, name);
	error = gw_journal_get(journal, gw_span_text(key), value, sizeof(value), &len);
	if (error == GW_OK && len != sizeof(value))
		error = GW_E_CORRUPT;
	*cursor = error == GW_OK ? gw_get64(value) : 0;
	return error;
}

enum gw_error
gw_ledger_find(struct gw_journal *journal, const char *name, uint64_t position, struct gw_ledger_entry *entry)
{
	struct find gap, passed;
	enum gw_error error;

	*entry = (struct gw_ledger_entry){ .state = GW_LEDGER_WAITING };
	if ((error = read_cursor(journal, name, &entry->cursor)) != GW_OK ||
	    (error = first_from(journal, name, "passed", position, &passed)) != GW_OK ||
	    (error = first_from(journal, name, "gap", position, &gap)) != GW_OK)
		return error;
	if (gap.found && gap.len == GAP_LEN && gw_get64(gap.value + 8) <= position) {
		entry->state = GW_LEDGER_LEFT_OUT;
		entry->at_us = (int64_t)gw_get64(gap.value);
		entry->reason = gap.value[16];
	} else if (passed.found && passed.len == 8) {
		entry->state = GW_LEDGER_PASSED; // also after a rewind: it was
		entry->at_us = (int64_t)gw_get64(passed.value);
	} else if (position <= entry->cursor)
		entry->state = GW_LEDGER_UNKNOWN;
	return GW_OK;
}

// ---- The outlets' names ----

struct next {
	char key[512];
	size_t len;
};

static bool
take_key(void *arg, struct gw_span key, struct gw_span value)
{
	struct next *next = arg;

	(void)value;
	next->len = key.len < sizeof(next->key) ? key.len : sizeof(next->key) - 1;
	memcpy(next->key, key.at, next->len);
	return false;
}

// Gives an outlet where the name has a cursor. False: end.
static bool
give_outlet(struct gw_journal *journal, struct gw_span name, gw_outlet_fn *fn, void *arg, enum gw_error *error)
{
	char text[GW_ID_MAX + 1], key[KEY_MAX];
	uint8_t value[64];
	size_t len = 0;

	if (name.len == 0 || name.len > GW_ID_MAX)
		return true;
	memcpy(text, name.at, name.len);
	text[name.len] = '\0';
	snprintf(key, sizeof(key), GW_CURSOR_KEY_FMT, text);
	*error = gw_journal_get(journal, gw_span_text(key), value, sizeof(value), &len);
	if (*error == GW_OK)
		return fn(arg, text, gw_span(value, len));
	if (*error != GW_E_NOT_FOUND && *error != GW_E_TOO_LARGE)
		return false;
	*error = GW_OK;
	return true;
}

// A row outlet/a/b/...: "a" and "a/b" may be outlets; then on behind everything below outlet/a/b/. A row outlet/a/b: on behind it.
enum gw_error
gw_outlets_each(struct gw_journal *journal, gw_outlet_fn *fn, void *arg)
{
	static const size_t before = sizeof("outlet/") - 1;
	char one[sizeof(((struct next *)0)->key)] = "";
	struct next next = { .len = 0 };
	size_t one_len = 0;
	enum gw_error error;

	for (;;) {
		size_t was = next.len;
		struct gw_span after = gw_span(next.key, was), rest;
		const uint8_t *slash, *second;

		next.len = 0;
		if ((error = gw_journal_each(journal, gw_span_text("outlet/"), after, take_key, &next)) != GW_OK || next.len == 0)
			return error;
		rest = gw_span(next.key + before, next.len - before);
		if (rest.len == 0 || (slash = memchr(rest.at, '/', rest.len)) == NULL)
			continue;
		if ((size_t)(slash - rest.at) != one_len || memcmp(one, rest.at, one_len) != 0) {
			one_len = (size_t)(slash - rest.at);
			memcpy(one, rest.at, one_len);
			if (!give_outlet(journal, gw_span(one, one_len), fn, arg, &error))
				return error;
		}
		second = memchr(slash + 1, '/', rest.len - one_len - 1);
		if (second == NULL)
			continue;
		if (!give_outlet(journal, gw_span(rest.at, (size_t)(second - rest.at)), fn, arg, &error))
			return error;
		next.len = before + (size_t)(second - rest.at) + 2;
		next.key[next.len - 1] = (char)0xFF; // no text has this byte
	}
}
