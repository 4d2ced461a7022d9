// SPDX-License-Identifier: Apache-2.0
// Whose a stored reading is, and which series a question is about. The caller's thread; nothing is shared.
#include "gateway/series_whose.h"

#include "gateway/device_clock.h"
#include "gateway/nearest.h"
#include "gateway/nomenclature.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 64
#define CHANGES_MAX 64 // of a device's owner within one reading's bounds; more is unsure anyway

// ---- When it was taken ----

static int64_t
plus(int64_t a, int64_t b)
{
	int64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? (b > 0 ? INT64_MAX : INT64_MIN) : sum;
}

static int64_t
limited(int64_t us)
{
	return us > GW_CLOCK_LIMIT_US ? GW_CLOCK_LIMIT_US : us < -GW_CLOCK_LIMIT_US ? -GW_CLOCK_LIMIT_US : us;
}

// The time that a block of samples covers.
static int64_t
span_us(const struct gw_reading *reading)
{
	int64_t span_ns;

	if (reading->type != GW_VALUE_SAMPLES || reading->samples.period_ns <= 0)
		return 0;
	return __builtin_mul_overflow(reading->samples.period_ns, (int64_t)reading->samples.count, &span_ns) ? INT64_MAX / 1000 : span_ns / 1000;
}

// Without a measured offset: not after it was received, not before the device's time unless that is ahead of the hub's.
static void
bound(const struct gw_point *point, int64_t *first_us, int64_t *last_us)
{
	int64_t received = point->received_us, time = point->reading.time_us, end = plus(time, span_us(&point->reading));

	*last_us = received;
	if (plus(time, -GW_DEVICE_CLOCK_STEP_US) > received || time < GW_DEVICE_CLOCK_UNSET_US) { // taken whenever
		*first_us = plus(received, -GW_DEVICE_CLOCK_STORED_US);
		return;
	}
	*first_us = plus(time < received ? time : received, -GW_DEVICE_CLOCK_FLOOR_US);
	*last_us = end > received ? end : received;
}

// The device's history; a copy that does not reach as far as this reading is taken anew.
static bool
has_clock(struct gw_series_whose *whose, const char *device, int64_t received_us)
{
	if (whose->store == NULL)
		return false;
	if (strcmp(device, whose->clock_device) != 0 || received_us > whose->clock.most_us) {
		strcpy(whose->clock_device, device);
		whose->clock_known = gw_series_clock(whose->store, gw_span_text(device), &whose->clock);
	}
	return whose->clock_known;
}

// By the measured offset, as gw_device_clock_resolve() has it. False: a time that is nonsense by that offset.
static bool
correct(const struct gw_point *point, const struct gw_clock_offset *offset, int64_t *first_us, int64_t *last_us)
{
	int64_t received = limited(point->received_us), us = limited(point->reading.time_us) + offset->us, spread = offset->spread_us;

	spread += (us > received ? us - received : received - us) / GW_DEVICE_CLOCK_DRIFT;
	*first_us = us - spread;
	*last_us = plus(us + spread, span_us(&point->reading));
	return *first_us <= received && us >= received - GW_DEVICE_CLOCK_GARBAGE_US;
}

// The true one is among: the clock was right, the offset was what it was before, what it was after; and it was measured before it came.
static void
widen(const struct gw_point *point, const struct gw_clock_offset *offset, int64_t *first_us)
{
	int64_t us = limited(point->reading.time_us) + offset->low_us;

	us -= (us > point->received_us ? 0 : point->received_us - us) / GW_DEVICE_CLOCK_DRIFT;
	*first_us = us < *first_us ? us : *first_us;
}

bool
gw_series_when(struct gw_series_whose *whose, const char *device, const struct gw_point *point, int64_t *first_us, int64_t *last_us)
{
	struct gw_clock_offset offset;

	if (point->reading.flags & GW_FLAG_NO_DEVICE_TIME) {
		*first_us = plus(point->reading.time_us, -GW_DEVICE_CLOCK_LATENCY_US);
		*last_us = plus(plus(point->reading.time_us, GW_DEVICE_CLOCK_LATENCY_US), span_us(&point->reading));
		return true;
	}
	if (!has_clock(whose, device, point->received_us) || !gw_clock_pieces_offset(&whose->clock, point->received_us, &offset)) {
		bound(point, first_us, last_us);
		return false;
	}
	if (offset.sure && correct(point, &offset, first_us, last_us))
		return true;
	bound(point, first_us, last_us);
	if (!offset.sure)
		widen(point, &offset, first_us);
	return false;
}

// ---- Whose ----

static bool
is_it(struct gw_series_whose *whose)
{
	if (whose->patient == 0)
		return strcmp(whose->owner.bed, whose->bed) == 0;
	return whose->owner.whose == GW_WHOSE_PATIENT && gw_patients_resolve(whose->patients, whose->owner.patient) == whose->patient;
}

static void
ask(struct gw_series_whose *whose, const char *device, int64_t us)
{
	if (whose->kept && us >= whose->owner.from_us && us < whose->owner.to_us && strcmp(device, whose->device) == 0 &&
	    whose->owner.generation == gw_patients_generation(whose->patients))
		return;
	gw_patients_owner(whose->patients, gw_span_text(device), us, 0, &whose->owner);
	strcpy(whose->device, device);
	whose->kept = true;
	whose->it = is_it(whose);
}

// Whose it was in all of [us, last_us]: adds to what is known. False: that is not the same.
struct known {
	bool some, all;
};

static bool
look_between(struct gw_series_whose *whose, const char *device, int64_t us, int64_t last_us, struct known *known)
{
	for (size_t i = 0;; i++) {
		ask(whose, device, us);
		if (whose->it)
			known->some = true;
		else
			known->all = false;
		if (known->some && !known->all)
			return false;
		if (whose->owner.to_us > last_us)
			return true;
		if (i == CHANGES_MAX)
			return false;
		us = whose->owner.to_us > us ? whose->owner.to_us : us + 1;
	}
}

static bool
is_anybody(const struct gw_series_whose *whose)
{
	return whose->patient == 0 && whose->bed[0] == '\0';
}

enum gw_belongs
gw_series_belongs(struct gw_series_whose *whose, const char *device, const struct gw_point *point)
{
	struct known known = { .all = true };
	int64_t us, last_us;

	if (is_anybody(whose))
		return GW_BELONGS;
	whose->doubted = !gw_series_when(whose, device, point, &us, &last_us);
	if (!look_between(whose, device, us, last_us, &known))
		return GW_BELONGS_UNSURE;
	return known.all ? GW_BELONGS : GW_BELONGS_NOT;
}

// ---- Of many at once ----
//
// For each part of the clock's history in which they may have been received: all moments at which gw_series_when() may put one of them. Wider than need be is
// only slower.

static int64_t
least_of(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t
most_of(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

// As bound(), of those that were received in [from_us, to_us].
static void
bound_all(const struct gw_series_span *span, int64_t from_us, int64_t to_us, int64_t *first_us, int64_t *last_us)
{
	*first_us = least_of(span->first_us, from_us) - GW_DEVICE_CLOCK_FLOOR_US;
	if (span->delay_least < -GW_DEVICE_CLOCK_STEP_US || span->first_us < GW_DEVICE_CLOCK_UNSET_US)
		*first_us = least_of(*first_us, from_us - GW_DEVICE_CLOCK_STORED_US);
	*last_us = most_of(span->last_us, to_us);
}

// As correct(): false where that may be so for one of them.
static bool
correct_all(const struct gw_series_span *span, const struct gw_clock_part *part, int64_t *first_us, int64_t *last_us)
{
	int64_t ahead_us = part->most_us - span->delay_least, late_us = span->delay_most - part->least_us; // of the receive time, at most
	int64_t spread_us = part->spread_us + most_of(ahead_us, late_us) / GW_DEVICE_CLOCK_DRIFT;

	*first_us = span->first_us + part->least_us - spread_us;
	*last_us = span->last_us + part->most_us + spread_us;
	return ahead_us <= part->spread_us && late_us <= GW_DEVICE_CLOCK_GARBAGE_US;
}

// As widen().
static void
widen_all(const struct gw_series_span *span, const struct gw_clock_part *part, int64_t *first_us)
{
	int64_t us = span->first_us + part->low_us, late_us = most_of(span->delay_most - part->low_us, 0);

	*first_us = least_of(*first_us, us - late_us / GW_DEVICE_CLOCK_DRIFT);
}

// Those of the span that were received in the part.
static bool
look_at_part(struct gw_series_whose *whose, const char *device, const struct gw_series_span *all, const struct gw_clock_part *part, struct known *known)
{
	struct gw_series_span span = *all;
	int64_t first_us = 0, last_us = 0, bound_first_us, bound_last_us;

	span.first_us = most_of(span.first_us, part->from_us - span.delay_most);
	span.last_us = least_of(span.last_us, part->to_us - span.delay_least);
	if (span.first_us > span.last_us)
		return true;
	if (part->sure && correct_all(&span, part, &first_us, &last_us))
		return look_between(whose, device, first_us, last_us, known);
	bound_all(&span, most_of(part->from_us, span.first_us + span.delay_least), least_of(part->to_us, span.last_us + span.delay_most), &bound_first_us,
	    &bound_last_us);
	if (!part->sure)
		widen_all(&span, part, &bound_first_us);
	return (!part->sure || look_between(whose, device, first_us, last_us, known)) && look_between(whose, device, bound_first_us, bound_last_us, known);
}

static bool
look_at_clock(struct gw_series_whose *whose, const char *device, const struct gw_series_span *span, struct known *known)
{
	int64_t us = span->first_us + span->delay_least, to_us = span->last_us + span->delay_most, first_us, last_us;
	struct gw_clock_part part;

	if (!has_clock(whose, device, to_us) || whose->clock.count == 0) {
		bound_all(span, us, to_us, &first_us, &last_us);
		return look_between(whose, device, first_us, last_us, known);
	}
	for (; us <= to_us && gw_clock_pieces_part(&whose->clock, us, to_us, &part); us = part.to_us + 1)
		if (!look_at_part(whose, device, span, &part, known))
			return false;
	return true;
}

static bool
is_far(int64_t us)
{
	return us > GW_CLOCK_LIMIT_US / 2 || us < -GW_CLOCK_LIMIT_US / 2;
}

enum gw_belongs
gw_series_belongs_all(struct gw_series_whose *whose, const char *device, const struct gw_series_span *span)
{
	struct known known = { .all = true };

	if (is_anybody(whose))
		return GW_BELONGS;
	if (is_far(span->first_us) || is_far(span->last_us) || is_far(span->delay_least) || is_far(span->delay_most))
		return GW_BELONGS_UNSURE;
	// Readings without a device time may be among them: that is the receive time then.
	if (span->delay_least <= GW_DEVICE_CLOCK_FLOOR_US && span->delay_most >= -GW_DEVICE_CLOCK_FLOOR_US &&
	    !look_between(whose, device, span->first_us - GW_DEVICE_CLOCK_LATENCY_US, span->last_us + GW_DEVICE_CLOCK_LATENCY_US, &known))
		return GW_BELONGS_UNSURE;
	if (!look_at_clock(whose, device, span, &known))
		return GW_BELONGS_UNSURE;
	return known.all ? GW_BELONGS : GW_BELONGS_NOT;
}

// ---- Signals ----

// The next of the list, without white space around; false at the end.
static bool
next_name(struct gw_span *rest, char name[NAME_BYTES])
{
	size_t len = 0, kept = 0;

	if (rest->at == NULL)
		return false;
	while (len < rest->len && rest->at[len] != ',')
		len++;
	for (size_t i = 0; i < len && kept + 1 < NAME_BYTES; i++)
		if (rest->at[i] != ' ')
			name[kept++] = (char)rest->at[i];
	name[kept] = '\0';
	*rest = len < rest->len ? gw_span(rest->at + len + 1, rest->len - len - 1) : (struct gw_span){ 0 };
	return true;
}

static const char *
signal_name(uint32_t code, char text[NAME_BYTES])
{
	const struct gw_signal *signal = gw_signal_by_code(code);

	if (signal != NULL)
		return signal->name;
	snprintf(text, NAME_BYTES, "%u", code);
	return text;
}

bool
gw_series_signal_fits(struct gw_span signals, uint32_t signal)
{
	char pattern[NAME_BYTES], text[NAME_BYTES];
	const char *name;

	if (signals.len == 0)
		return true;
	name = signal_name(signal, text);
	while (next_name(&signals, pattern))
		if (fnmatch(pattern, name, 0) == 0)
			return true;
	return false;
}

enum gw_error
gw_series_signals_check(struct gw_span signals, struct gw_why *why)
{
	const struct gw_signal *signal;
	char name[NAME_BYTES], hint[160];
	struct gw_nearest nearest;

	while (signals.len > 0 && next_name(&signals, name)) {
		if (strpbrk(name, "*?[") != NULL || gw_signal_by_name(gw_span_text(name)) != NULL)
			continue;
		gw_nearest_init(&nearest, gw_span_text(name));
		for (size_t i = 0; (signal = gw_signal_at(i)) != NULL; i++)
			gw_nearest_try(&nearest, signal->name);
		return gw_fail(why, GW_E_NOT_FOUND, "there is no signal \"%.60s\"%s", name, gw_nearest_words(&nearest, hint));
	}
	return GW_OK;
}

// ---- Devices ----

enum gw_error
gw_series_devices_add(struct gw_series_devices *devices, const char *id)
{
	if (devices->count == devices->cap) {
		size_t cap = devices->cap == 0 ? 16 : devices->cap * 2;
		void *more = realloc(devices->at, cap * sizeof(*devices->at));

		if (more == NULL)
			return GW_E_MEMORY;
		devices->at = more;
		devices->cap = cap;
	}
	snprintf(devices->at[devices->count++], sizeof(devices->at[0]), "%s", id);
	return GW_OK;
}

static int
by_id(const void *a, const void *b)
{
	return strcmp(a, b);
}

void
gw_series_devices_sort(struct gw_series_devices *devices)
{
	size_t kept = 0;

	if (devices->count > 0)
		qsort(devices->at, devices->count, sizeof(devices->at[0]), by_id);
	for (size_t i = 0; i < devices->count; i++) {
		if (kept > 0 && strcmp(devices->at[i], devices->at[kept - 1]) == 0)
			continue;
		if (kept != i)
			memcpy(devices->at[kept], devices->at[i], sizeof(devices->at[0]));
		kept++;
	}
	devices->count = kept;
}

enum gw_error
gw_series_devices_of_bed(struct gw_series_devices *devices, struct gw_patients *patients, struct gw_span bed, int64_t from_us, int64_t to_us)
{
	char (*ids)[GW_ID_MAX + 1];
	size_t count;
	enum gw_error error = gw_patients_devices(patients, bed, from_us, to_us, &ids, &count);

	if (error != GW_OK)
		return error;
	for (size_t i = 0; i < count && error == GW_OK; i++)
		error = gw_series_devices_add(devices, ids[i]);
	free(ids);
	return error;
}

enum gw_error
gw_series_devices_of_patient(struct gw_series_devices *devices, struct gw_patients *patients, uint64_t patient)
{
	struct gw_timeline_query query = { .patient = patient, .from_us = INT64_MIN, .to_us = GW_TIME_OPEN };
	struct gw_timeline *entries;
	size_t count;
	enum gw_error error = gw_patients_timeline(patients, &query, &entries, &count);

	if (error != GW_OK)
		return error;
	for (size_t i = 0; i < count && error == GW_OK; i++) {
		if (entries[i].kind == GW_TIMELINE_DIRECT)
			error = gw_series_devices_add(devices, entries[i].device);
		else if (entries[i].kind == GW_TIMELINE_STAY)
			error = gw_series_devices_of_bed(devices, patients, gw_span_text(entries[i].bed), entries[i].from_us, entries[i].to_us);
	}
	free(entries);
	return error;
}

// ---- Series ----

static bool
add_info(void *arg, const struct gw_series_info *info)
{
	struct gw_series_infos *infos = arg;

	if ((infos->numbers_only && info->waveform) || !gw_series_signal_fits(infos->signals, info->signal))
		return true;
	if (infos->count == infos->cap) {
		size_t cap = infos->cap == 0 ? 32 : infos->cap * 2;
		void *more = realloc(infos->at, cap * sizeof(*infos->at));

		if (more == NULL) {
			infos->failed = true;
			return false;
		}
		infos->at = more;
		infos->cap = cap;
	}
	infos->at[infos->count++] = *info;
	return true;
}

enum gw_error
gw_series_infos_add(struct gw_series_infos *infos, struct gw_series_store *store, struct gw_span device)
{
	enum gw_error error = gw_series_each(store, device, add_info, infos);

	return infos->failed ? GW_E_MEMORY : error;
}

static int
by_series(const void *left, const void *right)
{
	const struct gw_series_info *a = left, *b = right;
	int order = strcmp(a->device, b->device);

	if (order != 0)
		return order;
	if (a->signal != b->signal)
		return a->signal < b->signal ? -1 : 1;
	return (a->instance > b->instance) - (a->instance < b->instance);
}

void
gw_series_infos_sort(struct gw_series_infos *infos)
{
	if (infos->count > 0)
		qsort(infos->at, infos->count, sizeof(*infos->at), by_series);
}
