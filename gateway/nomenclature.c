// SPDX-License-Identifier: Apache-2.0
// The tables of schemas/nomenclature.csv and schemas/units.csv, parsed and checked once at start, then read-only; any thread.
#include "gateway/nomenclature.h"
#include "gateway/embedded.h"
#include "gateway/hash.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 16
#define ROWS_MAX 1024

// A name and where it leads: open addressing, a power of two, at most half full.
struct slot {
	struct gw_span key;
	const void *to;
};

struct index {
	struct slot *slots;
	uint32_t mask;
};

struct term { // a code that is no signal
	const char *refid;
	uint32_t code;
};

static struct {
	struct gw_unit *units;
	struct gw_signal *signals;
	struct term *terms;
	size_t units_count, signals_count, terms_count;
	struct index unit_names, signal_names, refids;
	struct slot *codes; // key.len is the code, to the signal, term or unit
	uint32_t codes_mask;
	char *text[2];
	enum gw_error error;
	struct gw_why why;
} all;

// ---- indexes ----

static bool
index_make(struct index *index, size_t entries)
{
	uint32_t size = 64;

	while (size < entries * 2)
		size *= 2;
	index->slots = calloc(size, sizeof(*index->slots));
	index->mask = size - 1;
	return index->slots != NULL;
}

static struct slot *
index_slot(const struct index *index, struct gw_span key)
{
	uint32_t at = (uint32_t)gw_hash_bytes(0, key) & index->mask;

	while (index->slots[at].to != NULL && !gw_span_equal(index->slots[at].key, key))
		at = (at + 1) & index->mask;
	return &index->slots[at];
}

// False where the name is taken.
static bool
index_add(struct index *index, struct gw_span key, const void *to)
{
	struct slot *slot = index_slot(index, key);

	if (slot->to != NULL)
		return false;
	*slot = (struct slot){ key, to };
	return true;
}

static const void *
index_find(const struct index *index, struct gw_span key)
{
	return index->slots == NULL ? NULL : index_slot(index, key)->to;
}

// ---- rows ----

static bool
number(const char *text, uint32_t *out)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	*out = (uint32_t)value;
	return *end == '\0' && value <= UINT32_MAX;
}

// "5/9", "-160/9", "100".
static bool
rational(const char *text, int64_t *num, int64_t *den)
{
	char *end;

	*num = strtoll(text, &end, 10);
	*den = 1;
	if (*end == '/')
		*den = strtoll(end + 1, &end, 10);
	return end != text && *end == '\0' && *den > 0;
}

// "180.156" as a fraction; empty is 0.
static bool
decimal_rational(const char *text, int64_t *num, int64_t *den)
{
	struct gw_decimal value;

	*num = 0;
	*den = 1;
	if (*text == '\0')
		return true;
	if (!gw_decimal_parse(gw_span_text(text), &value) || value.exponent < -9)
		return false;
	*num = value.mantissa;
	for (int e = value.exponent; e < 0; e++)
		*den *= 10;
	return value.exponent <= 0;
}

static bool
unit_aliases(struct gw_unit *unit, char *aliases)
{
	char *rest = NULL;

	for (char *alias = strtok_r(aliases, "|", &rest); alias != NULL; alias = strtok_r(NULL, "|", &rest))
		if (!index_add(&all.unit_names, gw_span_text(alias), unit))
			return false;
	return true;
}

// ucum,mdc_refid,mdc_code,dimension,factor,offset,aliases,source
static bool
unit_row(char **column)
{
	struct gw_unit *unit = &all.units[all.units_count++];

	unit->ucum = column[0];
	unit->refid = column[1];
	unit->dimension = column[3];
	return number(column[2], &unit->code) && rational(column[4], &unit->factor_num, &unit->factor_den) && unit->factor_num > 0 &&
	    rational(column[5], &unit->offset_num, &unit->offset_den) && index_add(&all.unit_names, gw_span_text(unit->ucum), unit) &&
	    unit_aliases(unit, column[6]);
}

static bool
signal_range(struct gw_signal *signal, const char *low, const char *high)
{
	if (*low == '\0' && *high == '\0')
		return true;
	signal->ranged = true;
	return gw_decimal_parse(gw_span_text(low), &signal->low) && gw_decimal_parse(gw_span_text(high), &signal->high) &&
	    gw_decimal_compare(signal->low, signal->high) < 0;
}

static bool
signal_type(struct gw_signal *signal, const char *type, const char *kind)
{
	static const struct { const char *name; uint8_t type; } types[] = {
		{ "decimal", GW_VALUE_DECIMAL }, { "code", GW_VALUE_CODE }, { "text", GW_VALUE_TEXT }, { "samples", GW_VALUE_SAMPLES },
	};

	signal->kind = strcmp(kind, "setting") == 0 ? GW_KIND_SETTING : GW_KIND_MEASUREMENT;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i].name, type) == 0)
			signal->type = types[i].type;
	signal->spot = strcmp(kind, "spot") == 0;
	return signal->type != GW_VALUE_NONE && (strcmp(kind, "setting") == 0 || strcmp(kind, "measurement") == 0 || signal->spot);
}

static const char *
or_null(const char *text)
{
	return *text == '\0' ? NULL : text;
}

// name,mdc_refid,mdc_code,unit,type,kind,low,high,molar_mass,vmd_refid,vmd_code,channel_refid,channel_code,source
static bool
signal_row(char **column)
{
	struct gw_signal *signal;
	bool numeric;

	if (strcmp(column[4], "term") == 0) {
		struct term *term = &all.terms[all.terms_count++];
		term->refid = column[1];
		return number(column[2], &term->code) && term->code != 0 && index_add(&all.refids, gw_span_text(term->refid), &term->code);
	}
	signal = &all.signals[all.signals_count++];
	signal->name = column[0];
	signal->refid = column[1];
	signal->unit = gw_unit_by_ucum(gw_span_text(column[3]));
	signal->vmd_refid = or_null(column[9]);
	signal->channel_refid = or_null(column[11]);
	numeric = signal_type(signal, column[4], column[5]) && (signal->type == GW_VALUE_DECIMAL || signal->type == GW_VALUE_SAMPLES);
	return signal->type != GW_VALUE_NONE && number(column[2], &signal->code) && signal->code >= 65536 &&
	    numeric == (signal->unit != NULL && signal->unit->code != 0) && signal_range(signal, column[6], column[7]) &&
	    decimal_rational(column[8], &signal->molar_num, &signal->molar_den) && number(column[10], &signal->vmd_code) &&
	    number(column[12], &signal->channel_code) && index_add(&all.signal_names, gw_span_text(signal->name), signal) &&
	    index_add(&all.refids, gw_span_text(signal->refid), &signal->code);
}

// ---- files ----

// Splits a line at its commas, in place. The files use no quotes.
static size_t
split(char *line, char **column)
{
	size_t count = 0;

	for (char *at = line; at != NULL && count < COLUMNS_MAX; count++) {
		column[count] = at;
		at = strchr(at, ',');
		if (at != NULL)
			*at++ = '\0';
	}
	return count;
}

static enum gw_error
parse(const char *name, char *text, size_t columns, bool (*row)(char **column), struct gw_why *why)
{
	char *column[COLUMNS_MAX], *next;
	int line = 0;

	for (char *at = text; *at != '\0'; at = next) {
		next = at + strcspn(at, "\n");
		if (*next == '\n')
			*next++ = '\0';
		if (line++ == 0)
			continue; // the names of the columns
		if (line > ROWS_MAX || split(at, column) != columns || !row(column))
			return gw_fail(why, GW_E_CONFIG, "%s:%d: wrong row (%s)", name, line, at);
	}
	return GW_OK;
}

static char *
copy_of(const unsigned char *bytes, size_t len)
{
	char *text = malloc(len + 1);

	if (text != NULL) {
		memcpy(text, bytes, len);
		text[len] = '\0';
	}
	return text;
}

// ---- codes ----

static struct slot *
code_slot(uint32_t code)
{
	uint32_t at = (uint32_t)gw_hash_mix(code) & all.codes_mask;

	while (all.codes[at].to != NULL && all.codes[at].key.len != code)
		at = (at + 1) & all.codes_mask;
	return &all.codes[at];
}

enum { CODE_SIGNAL = 1, CODE_TERM = 2, CODE_UNIT = 3 };

static bool
code_add(uint32_t code, uintptr_t kind, const void *to)
{
	struct slot *slot = code_slot(code);

	if (slot->to != NULL)
		return false;
	*slot = (struct slot){ { (const uint8_t *)kind, code }, to };
	return true;
}

static enum gw_error
index_codes(struct gw_why *why)
{
	all.codes_mask = 4 * ROWS_MAX - 1;
	all.codes = calloc(all.codes_mask + 1, sizeof(*all.codes));
	if (all.codes == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	for (size_t i = 0; i < all.signals_count; i++)
		if (!code_add(all.signals[i].code, CODE_SIGNAL, &all.signals[i]))
			return gw_fail(why, GW_E_CONFIG, "code %u stands twice", all.signals[i].code);
	for (size_t i = 0; i < all.terms_count; i++)
		if (!code_add(all.terms[i].code, CODE_TERM, &all.terms[i]))
			return gw_fail(why, GW_E_CONFIG, "code %u stands twice", all.terms[i].code);
	for (size_t i = 0; i < all.units_count; i++)
		if (all.units[i].code != 0 && !code_add(all.units[i].code, CODE_UNIT, &all.units[i]))
			return gw_fail(why, GW_E_CONFIG, "code %u stands twice", all.units[i].code);
	return GW_OK;
}

// Containers (VMD, channel) are terms of the same table: one refid, one code.
static enum gw_error
check_containers(struct gw_why *why)
{
	for (size_t i = 0; i < all.signals_count; i++) {
		const struct gw_signal *s = &all.signals[i];
		uint32_t vmd = s->vmd_refid != NULL ? gw_code_by_refid(gw_span_text(s->vmd_refid)) : 0;
		uint32_t channel = s->channel_refid != NULL ? gw_code_by_refid(gw_span_text(s->channel_refid)) : 0;
		if (vmd != s->vmd_code || channel != s->channel_code)
			return gw_fail(why, GW_E_CONFIG, "nomenclature.csv: %s: VMD or channel does not match its code", s->name);
	}
	return GW_OK;
}

static enum gw_error
load(struct gw_why *why)
{
	enum gw_error error;

	all.units = calloc(ROWS_MAX, sizeof(*all.units));
	all.signals = calloc(ROWS_MAX, sizeof(*all.signals));
	all.terms = calloc(ROWS_MAX, sizeof(*all.terms));
	all.text[0] = copy_of(vg_units_csv, vg_units_csv_len);
	all.text[1] = copy_of(vg_nomenclature_csv, vg_nomenclature_csv_len);
	if (all.units == NULL || all.signals == NULL || all.terms == NULL || all.text[0] == NULL || all.text[1] == NULL ||
	    !index_make(&all.unit_names, 2 * ROWS_MAX) || !index_make(&all.signal_names, ROWS_MAX) || !index_make(&all.refids, ROWS_MAX))
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	error = parse("units.csv", all.text[0], 8, unit_row, why);
	if (error == GW_OK)
		error = parse("nomenclature.csv", all.text[1], 14, signal_row, why);
	if (error == GW_OK)
		error = index_codes(why);
	return error == GW_OK ? check_containers(why) : error;
}

static void
load_once(void)
{
	all.error = load(&all.why);
}

// ---- the public side ----

enum gw_error
gw_nomenclature_open(struct gw_why *why)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load_once);
	if (all.error != GW_OK && why != NULL)
		*why = all.why;
	return all.error;
}

const struct gw_signal *
gw_signal_by_name(struct gw_span name)
{
	return index_find(&all.signal_names, name);
}

const struct gw_unit *
gw_unit_by_ucum(struct gw_span ucum)
{
	return index_find(&all.unit_names, ucum);
}

static const void *
by_code(uint32_t code, uintptr_t kind)
{
	const struct slot *slot = all.codes == NULL ? NULL : code_slot(code);

	return slot != NULL && (uintptr_t)slot->key.at == kind ? slot->to : NULL;
}

const struct gw_signal *
gw_signal_by_code(uint32_t code)
{
	return by_code(code, CODE_SIGNAL);
}

const struct gw_unit *
gw_unit_by_code(uint32_t code)
{
	return by_code(code, CODE_UNIT);
}

const struct gw_signal *
gw_signal_at(size_t i)
{
	return i < all.signals_count ? &all.signals[i] : NULL;
}

const char *
gw_code_refid(uint32_t code)
{
	const struct gw_signal *signal = by_code(code, CODE_SIGNAL);
	const struct term *term = by_code(code, CODE_TERM);
	const struct gw_unit *unit = by_code(code, CODE_UNIT);

	return signal != NULL ? signal->refid : term != NULL ? term->refid : unit != NULL ? unit->refid : NULL;
}

uint32_t
gw_code_by_refid(struct gw_span refid)
{
	const uint32_t *code = index_find(&all.refids, refid);

	return code != NULL ? *code : 0;
}
