// SPDX-License-Identifier: Apache-2.0
// Rows of the ledger: encode, decode, walk. The header tells the format and who calls.
#include "adapters/hl7/filed.h"

#include "adapters/hl7/row_key.h"
#include "gateway/bytes.h"

#include <stdio.h>
#include <stdlib.h>

#define VERSION 1
#define HEAD 90
#define ITEM 22
#define KEY_MAX 500
#define SPAN_US (INT64_C(86400) * 1000000 * 2) // a group's readings lie closer together than this

enum {
	AT_VERSION, AT_STATE, AT_STATUS, AT_WHOSE, AT_FLAGS, AT_LENS, AT_COUNT = 14, AT_PATIENT = 16, AT_MADE = 24, AT_ANSWERED = 32, AT_FROM = 40, AT_TO = 48,
	AT_OPENED = 56, AT_DEVICE = 64, AT_HUB = 72, AT_EPOCH = 80, AT_AGAIN = 84, AT_ANSWER = 88,
};
enum { TEXT_PROFILE, TEXT_ID, TEXT_BED, TEXT_VISIT, TEXT_CLASS, TEXT_ORDER, TEXT_AUTHORITY, TEXT_ORIGIN, TEXTS };
#define ROW_MAX (HEAD + TEXTS * 255 + GW_HL7_FILED_ITEMS_MAX * ITEM)
enum { FLAG_HUB_TIME = 1, FLAG_HAS_CLOCK = 2, FLAG_SURE = 4, FLAG_WAVES = 8, FLAG_REVISED = 16 };

#define PLACE_GONE 0x8000u
_Static_assert(GW_RECORD_READINGS_MAX <= PLACE_GONE, "a place leaves room for what became of it");

static const char *const names[] = {
	[GW_HL7_FILED_MADE] = "made", [GW_HL7_FILED_SENT] = "sent", [GW_HL7_FILED_PARKED] = "parked", [GW_HL7_FILED_DROPPED] = "dropped",
	[GW_HL7_FILED_HELD] = "held", [GW_HL7_FILED_WRONG] = "wrong", [GW_HL7_FILED_CORRECTED] = "corrected",
};

const char *
gw_hl7_filed_state_name(enum gw_hl7_filed_state state)
{
	size_t i = (size_t)state;
	return i < sizeof(names) / sizeof(*names) && names[i] != NULL ? names[i] : "unknown";
}

void
gw_hl7_held_id(const struct gw_hl7_filed_item *first, char out[GW_HL7_ID_LEN + 1])
{
	snprintf(out, GW_HL7_ID_LEN + 1, "held%013llx%03x", (unsigned long long)(first->position & 0xFFFFFFFFFFFFF), first->place & 0xFFFu);
}

// ---- One row ----

static struct gw_span
key_of(const char *prefix, const char *device, int64_t least_us, const char *control_id, char out[KEY_MAX])
{
	const char *table = strncmp(control_id, "held", 4) == 0 && strlen(control_id) == GW_HL7_ID_LEN ? "held" : "filed";
	uint8_t *at = (uint8_t *)out;
	const uint8_t *end = at + KEY_MAX;

	at = gw_hl7_key_text(gw_hl7_key_text(gw_hl7_key_text(at, end, prefix), end, table), end, "/");
	at = gw_hl7_key_text(gw_hl7_key_text(at, end, device), end, "/");
	at = gw_hl7_key_text(gw_hl7_key_number(at, end, (uint64_t)least_us ^ (1ULL << 63)), end, "/");
	return gw_span(out, (size_t)(gw_hl7_key_text(at, end, control_id) - (uint8_t *)out));
}

static void
texts_of(const struct gw_hl7_filed *filed, const char *out[TEXTS])
{
	out[TEXT_PROFILE] = filed->profile;
	out[TEXT_ID] = filed->control_id;
	out[TEXT_BED] = filed->owner.bed;
	out[TEXT_VISIT] = filed->owner.visit;
	out[TEXT_CLASS] = filed->owner.patient_class;
	out[TEXT_ORDER] = filed->owner.order;
	out[TEXT_AUTHORITY] = filed->owner.order_authority;
	out[TEXT_ORIGIN] = filed->origin;
}

static void
put_head(uint8_t *row, const struct gw_hl7_filed *filed)
{
	row[AT_VERSION] = VERSION;
	row[AT_STATE] = filed->state;
	row[AT_STATUS] = filed->status;
	row[AT_WHOSE] = (uint8_t)filed->owner.whose;
	row[AT_FLAGS] = (uint8_t)((filed->hub_time ? FLAG_HUB_TIME : 0) | (filed->has_clock ? FLAG_HAS_CLOCK : 0) | (filed->sure ? FLAG_SURE : 0) |
	    (filed->waves ? FLAG_WAVES : 0) | (filed->revised ? FLAG_REVISED : 0));
	gw_put16(row + AT_COUNT, (uint16_t)filed->count);
	gw_put64(row + AT_PATIENT, filed->owner.patient);
	gw_put64(row + AT_MADE, (uint64_t)filed->made_us);
	gw_put64(row + AT_ANSWERED, (uint64_t)filed->answered_us);
	gw_put64(row + AT_FROM, (uint64_t)filed->from_us);
	gw_put64(row + AT_TO, (uint64_t)filed->to_us);
	gw_put64(row + AT_OPENED, (uint64_t)filed->opened_us);
	gw_put64(row + AT_DEVICE, (uint64_t)filed->device_us);
	gw_put64(row + AT_HUB, (uint64_t)filed->hub_us);
	gw_put32(row + AT_EPOCH, filed->epoch);
	gw_put32(row + AT_AGAIN, filed->again);
	memcpy(row + AT_ANSWER, filed->answer, 2);
}

enum gw_error
gw_hl7_filed_put(const char *prefix, struct gw_ticket *ticket, const struct gw_hl7_filed *filed)
{
	const char *texts[TEXTS];
	size_t len = HEAD + filed->count * ITEM;
	char key[KEY_MAX];
	uint8_t *row, *at;
	enum gw_error error;

	if (filed->count > GW_HL7_FILED_ITEMS_MAX)
		return GW_E_TOO_LARGE;
	texts_of(filed, texts);
	for (int i = 0; i < TEXTS; i++)
		len += strlen(texts[i]);
	if ((row = calloc(1, len)) == NULL)
		return GW_E_MEMORY;
	put_head(row, filed);
	at = row + HEAD;
	for (int i = 0; i < TEXTS; i++) {
		row[AT_LENS + i] = (uint8_t)strlen(texts[i]);
		at = gw_put_bytes(at, texts[i], strlen(texts[i]));
	}
	for (size_t i = 0; i < filed->count; i++, at += ITEM) {
		gw_put64(at, filed->items[i].position);
		gw_put16(at + 8, (uint16_t)(filed->items[i].place | (filed->items[i].gone ? PLACE_GONE : 0)));
		gw_put64(at + 10, (uint64_t)filed->items[i].effective_us);
		gw_put32(at + 18, filed->items[i].uncertainty_ms);
	}
	error = gw_ticket_put(ticket, key_of(prefix, filed->device, filed->least_us, filed->control_id, key), gw_span(row, len));
	free(row);
	return error;
}

enum gw_error
gw_hl7_filed_del(const char *prefix, struct gw_ticket *ticket, const char *device, int64_t least_us, const char *control_id)
{
	char key[KEY_MAX];

	return gw_ticket_del(ticket, key_of(prefix, device, least_us, control_id, key));
}

enum gw_error
gw_hl7_filed_settle(struct gw_journal *journal, const char *prefix, struct gw_ticket *ticket, const char *device, int64_t least_us,
    const char *control_id, enum gw_hl7_filed_state state, const char *answer, int64_t answered_us)
{
	size_t cap = ROW_MAX, len;
	uint8_t *row = malloc(cap);
	char key[KEY_MAX];
	struct gw_span at = key_of(prefix, device, least_us, control_id, key);
	enum gw_error error;

	if (row == NULL)
		return GW_E_MEMORY;
	error = gw_journal_get(journal, at, row, cap, &len);
	if (error == GW_OK && len >= HEAD && row[AT_VERSION] == VERSION) {
		if (row[AT_STATE] != GW_HL7_FILED_WRONG && row[AT_STATE] != GW_HL7_FILED_CORRECTED)
			row[AT_STATE] = (uint8_t)state;
		memcpy(row + AT_ANSWER, answer, strnlen(answer, 2));
		gw_put64(row + AT_ANSWERED, (uint64_t)answered_us);
		error = gw_ticket_put(ticket, at, gw_span(row, len));
	}
	free(row);
	return error == GW_E_NOT_FOUND ? GW_OK : error;
}

enum gw_error
gw_hl7_filed_state(struct gw_journal *journal, const char *prefix, const char *device, int64_t least_us, const char *control_id,
    enum gw_hl7_filed_state *state)
{
	uint8_t *row = malloc(ROW_MAX); // a row that does not fit is not copied at all
	char key[KEY_MAX];
	size_t len;
	enum gw_error error;

	if (row == NULL)
		return GW_E_MEMORY;
	error = gw_journal_get(journal, key_of(prefix, device, least_us, control_id, key), row, ROW_MAX, &len);
	if (error == GW_OK && (len < HEAD || row[AT_VERSION] != VERSION))
		error = GW_E_CORRUPT;
	if (error == GW_OK)
		*state = row[AT_STATE];
	free(row);
	return error;
}

// ---- Walking ----

// Copies a text of `len` bytes where it fits.
static bool
get_text(const uint8_t **at, size_t len, char *out, size_t cap)
{
	if (len >= cap)
		return false;
	memcpy(out, *at, len);
	out[len] = '\0';
	*at += len;
	return true;
}

// key: what stands behind "filed/".
static bool
read_key(struct gw_span key, struct gw_hl7_filed *filed)
{
	const uint8_t *slash = key.len > 0 ? memchr(key.at, '/', key.len) : NULL;
	const uint8_t *at = key.at;
	char digits[17];
	size_t device_len;

	if (slash == NULL)
		return false;
	device_len = (size_t)(slash - key.at);
	if (key.len < device_len + 19 || key.at[device_len + 17] != '/' || !get_text(&at, device_len, filed->device, sizeof(filed->device)))
		return false;
	memcpy(digits, slash + 1, 16);
	digits[16] = '\0';
	filed->least_us = (int64_t)(strtoull(digits, NULL, 16) ^ (1ULL << 63));
	return true;
}

static bool
read_head(struct gw_span value, struct gw_hl7_filed *filed)
{
	const uint8_t *row = value.at;

	if (value.len < HEAD || row[AT_VERSION] != VERSION)
		return false;
	filed->state = row[AT_STATE];
	filed->status = row[AT_STATUS];
	filed->owner.whose = row[AT_WHOSE];
	filed->hub_time = (row[AT_FLAGS] & FLAG_HUB_TIME) != 0;
	filed->has_clock = (row[AT_FLAGS] & FLAG_HAS_CLOCK) != 0;
	filed->sure = (row[AT_FLAGS] & FLAG_SURE) != 0;
	filed->waves = (row[AT_FLAGS] & FLAG_WAVES) != 0;
	filed->revised = (row[AT_FLAGS] & FLAG_REVISED) != 0;
	filed->count = gw_get16(row + AT_COUNT);
	filed->owner.patient = gw_get64(row + AT_PATIENT);
	filed->made_us = (int64_t)gw_get64(row + AT_MADE);
	filed->answered_us = (int64_t)gw_get64(row + AT_ANSWERED);
	filed->from_us = (int64_t)gw_get64(row + AT_FROM);
	filed->to_us = (int64_t)gw_get64(row + AT_TO);
	filed->opened_us = (int64_t)gw_get64(row + AT_OPENED);
	filed->device_us = (int64_t)gw_get64(row + AT_DEVICE);
	filed->hub_us = (int64_t)gw_get64(row + AT_HUB);
	filed->epoch = gw_get32(row + AT_EPOCH);
	filed->again = gw_get32(row + AT_AGAIN);
	memcpy(filed->answer, row + AT_ANSWER, 2);
	filed->answer[2] = '\0';
	return true;
}

static bool
read_texts(struct gw_span value, struct gw_hl7_filed *filed)
{
	const uint8_t *lens = value.at + AT_LENS, *at = value.at + HEAD;
	size_t sum = HEAD + filed->count * ITEM;

	for (int i = 0; i < TEXTS; i++)
		sum += lens[i];
	return sum == value.len && filed->count <= GW_HL7_FILED_ITEMS_MAX &&
	    get_text(&at, lens[TEXT_PROFILE], filed->profile, sizeof(filed->profile)) &&
	    get_text(&at, lens[TEXT_ID], filed->control_id, sizeof(filed->control_id)) &&
	    get_text(&at, lens[TEXT_BED], filed->owner.bed, sizeof(filed->owner.bed)) &&
	    get_text(&at, lens[TEXT_VISIT], filed->owner.visit, sizeof(filed->owner.visit)) &&
	    get_text(&at, lens[TEXT_CLASS], filed->owner.patient_class, sizeof(filed->owner.patient_class)) &&
	    get_text(&at, lens[TEXT_ORDER], filed->owner.order, sizeof(filed->owner.order)) &&
	    get_text(&at, lens[TEXT_AUTHORITY], filed->owner.order_authority, sizeof(filed->owner.order_authority)) &&
	    get_text(&at, lens[TEXT_ORIGIN], filed->origin, sizeof(filed->origin));
}

struct walk {
	size_t skip;        // bytes of the key up to the device
	int64_t from_us, to_us;
	bool one_device, ended;
	gw_hl7_filed_fn *fn;
	void *arg;
	struct gw_hl7_filed_item *items;
	struct gw_hl7_filed filed;
};

static bool
visit(void *arg, struct gw_span key, struct gw_span value)
{
	struct walk *walk = arg;
	struct gw_hl7_filed *filed = &walk->filed;
	int64_t most_us = INT64_MIN;
	const uint8_t *at;

	*filed = (struct gw_hl7_filed){ .items = walk->items };
	if (key.len <= walk->skip || !read_key(gw_span(key.at + walk->skip, key.len - walk->skip), filed))
		return true;
	if (filed->least_us >= walk->to_us)
		return !walk->one_device; // rows of one device rise
	if (!read_head(value, filed) || !read_texts(value, filed))
		return true;
	at = value.at + value.len - filed->count * ITEM;
	for (size_t i = 0; i < filed->count; i++, at += ITEM) {
		uint16_t place = gw_get16(at + 8);

		walk->items[i] = (struct gw_hl7_filed_item){ .position = gw_get64(at), .place = place & ~PLACE_GONE, .gone = (place & PLACE_GONE) != 0,
			.effective_us = (int64_t)gw_get64(at + 10), .uncertainty_ms = gw_get32(at + 18) };
		if (walk->items[i].effective_us > most_us)
			most_us = walk->items[i].effective_us;
	}
	walk->ended = (most_us >= walk->from_us || filed->waves) && !walk->fn(walk->arg, filed);
	return !walk->ended;
}

static enum gw_error
walk_table(struct gw_journal *journal, const char *prefix, const char *name, struct gw_span device, struct walk *walk)
{
	char table[KEY_MAX], after[KEY_MAX + 20];
	struct gw_span from = gw_span(NULL, 0);
	int len = snprintf(table, sizeof(table), device.len > 0 ? "%s%s/%.*s/" : "%s%s/%.*s", prefix, name, (int)device.len, (const char *)device.at);

	walk->skip = strlen(prefix) + strlen(name) + 1;
	if (device.len > 0 && walk->from_us > INT64_MIN + SPAN_US) {
		snprintf(after, sizeof(after), "%s%016llx", table, (unsigned long long)(walk->from_us - SPAN_US) ^ (1ULL << 63));
		from = gw_span_text(after);
	}
	return gw_journal_each(journal, gw_span(table, (size_t)len), from, visit, walk);
}

static struct walk *
new_walk(struct gw_span device, int64_t from_us, int64_t to_us, gw_hl7_filed_fn *fn, void *arg)
{
	struct walk *walk = calloc(1, sizeof(*walk));

	if (walk == NULL)
		return NULL;
	*walk = (struct walk){ .from_us = from_us, .to_us = to_us, .one_device = device.len > 0, .fn = fn, .arg = arg };
	if ((walk->items = calloc(GW_HL7_FILED_ITEMS_MAX, sizeof(*walk->items))) != NULL)
		return walk;
	free(walk);
	return NULL;
}

static void
free_walk(struct walk *walk)
{
	free(walk->items);
	free(walk);
}

enum gw_error
gw_hl7_held_each(struct gw_journal *journal, const char *prefix, struct gw_span device, int64_t from_us, int64_t to_us, gw_hl7_filed_fn *fn, void *arg)
{
	struct walk *walk = new_walk(device, from_us, to_us, fn, arg);
	enum gw_error error;

	if (walk == NULL)
		return GW_E_MEMORY;
	error = walk_table(journal, prefix, "held", device, walk);
	free_walk(walk);
	return error;
}

enum gw_error
gw_hl7_filed_each(struct gw_journal *journal, const char *prefix, struct gw_span device, int64_t from_us, int64_t to_us, gw_hl7_filed_fn *fn, void *arg)
{
	struct walk *walk = new_walk(device, from_us, to_us, fn, arg);
	enum gw_error error;

	if (walk == NULL)
		return GW_E_MEMORY;
	error = walk_table(journal, prefix, "filed", device, walk);
	if (error == GW_OK && !walk->ended)
		error = walk_table(journal, prefix, "held", device, walk);
	free_walk(walk);
	return error;
}

// ---- Sweeping ----

#define LOOKS 16 // rows and devices looked at for each row that may be deleted

struct sweep {
	struct gw_ticket *ticket;
	struct gw_hl7_filed_at *at;
	size_t skip;         // bytes of the key up to the device
	int64_t before_us;
	size_t left, looks;
	bool next_device;    // what follows of this one is younger
	struct gw_hl7_filed filed; // of the key
	enum gw_error error;
};

static bool
is_settled(struct gw_span value, int64_t before_us)
{
	if (value.len < HEAD)
		return true;
	return value.at[AT_VERSION] == VERSION && value.at[AT_STATE] != GW_HL7_FILED_MADE && value.at[AT_STATE] != GW_HL7_FILED_HELD &&
	    (int64_t)gw_get64(value.at + AT_MADE) < before_us;
}

static bool
sweep_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct sweep *sweep = arg;

	if (sweep->left == 0 || sweep->looks == 0)
		return false;
	sweep->looks--;
	sweep->at->len = key.len;
	memcpy(sweep->at->key, key.at, key.len);
	if (key.len <= sweep->skip || !read_key(gw_span(key.at + sweep->skip, key.len - sweep->skip), &sweep->filed))
		return true;
	// A message is made after its readings: from here on all are younger.
	if ((sweep->next_device = sweep->filed.least_us >= sweep->before_us))
		return false;
	if (!is_settled(value, sweep->before_us))
		return true;
	sweep->left--;
	sweep->error = gw_ticket_del(sweep->ticket, key);
	return sweep->error == GW_OK;
}

// Behind the last row of the device that was looked at last: no key has this byte.
static void
pass_device(struct sweep *sweep)
{
	sweep->at->len = sweep->skip + strlen(sweep->filed.device) + 2;
	sweep->at->key[sweep->at->len - 1] = 0xFF;
}

enum gw_error
gw_hl7_filed_sweep(struct gw_journal *journal, const char *prefix, struct gw_ticket *ticket, int64_t before_us, size_t limit,
    struct gw_hl7_filed_at *at, bool *more)
{
	struct sweep sweep = { .ticket = ticket, .at = at, .before_us = before_us, .left = limit, .looks = limit * LOOKS };
	char table[KEY_MAX];
	struct gw_span within;
	enum gw_error error;

	sweep.skip = (size_t)snprintf(table, sizeof(table), "%sfiled/", prefix);
	within = gw_span(table, sweep.skip);
	do {
		sweep.next_device = false;
		error = gw_journal_each(journal, within, gw_span(at->key, at->len), sweep_row, &sweep);
		if (sweep.next_device)
			pass_device(&sweep);
	} while (error == GW_OK && sweep.error == GW_OK && sweep.next_device);
	*more = sweep.left == 0 || sweep.looks == 0;
	if (!*more)
		at->len = 0;
	return error != GW_OK ? error : sweep.error;
}
