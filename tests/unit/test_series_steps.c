// SPDX-License-Identifier: Apache-2.0
// Steps by bed and by patient: what roll-ups and columns give is what the readings give, asked about one by one; whatever the devices' clocks did, whenever readings
// came, whoever lay where.
#include "tests/unit/patients_help.h"

#include "series_help.h"

#include "gateway/series_query.h"
#include "gateway/series_rollup.h"
#include "gateway/series_whose.h"

#include <math.h>
#include <pthread.h>

#define SECOND INT64_C(1000000)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define SIGNAL 147842
#define DAYS 17
#define DEVICES 2
#define PATIENTS 24
#define STEPS_MAX 400000
#define POINTS_MAX 200000

static const char *const device_names[DEVICES] = { "m1", "m2" };
static struct gw_series_store *store;
static uint64_t seed;

static uint64_t
draw(uint64_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 33) % below;
}

static int
open_all(void **state)
{
	static char dir[600];

	if (hub_open(state) != 0)
		return -1;
	gw_clock_fake_wall(T0 + DAYS * DAY);
	snprintf(dir, sizeof(dir), "%s/series", store_dir);
	series_options = (struct gw_series_options){ .dir = dir, .budget_bytes = 256 * MB };
	records_last = 0;
	store = series_open();
	return 0;
}

static int
close_all(void **state)
{
	gw_series_close(store);
	for (uint64_t i = 1; i <= records_last; i++)
		free((void *)(uintptr_t)records[i].at);
	return hub_close(state);
}

// ---- The devices ----

// The hub's clock less its own, and from when on its frames wait until when.
struct device {
	const char *name;
	int64_t offset_us, drift_ppm, stalled_us;
	bool wild;
};

static struct gw_reading
reading_at(const struct device *device, int64_t moment_us)
{
	static const uint16_t flags[] = { 0, 0, 0, 0, 0, 0, GW_FLAG_QUESTIONABLE, GW_FLAG_NOT_AVAILABLE, GW_FLAG_INVALID, GW_FLAG_TEST };
	int64_t drift_us = (moment_us - T0) / 1000000 * device->drift_ppm;
	struct gw_reading reading = { .signal = SIGNAL, .time_us = moment_us - device->offset_us - drift_us, .type = GW_VALUE_DECIMAL,
		.decimal = { 600 + (int64_t)draw(80), -1 } };

	if (!device->wild)
		return reading;
	reading.flags = draw(4) == 0 ? flags[draw(10)] : 0;
	if (reading.flags & GW_FLAG_NOT_AVAILABLE)
		reading.type = GW_VALUE_NONE;
	if (draw(3000) == 0)
		reading.time_us += ((int64_t)draw(400) - 200) * DAY; // nonsense
	if (draw(8000) == 0)
		reading.time_us = (int64_t)draw((uint64_t)HOUR); // never set
	if (draw(1000) == 0) {
		reading.revision = 1;
		reading.flags |= GW_FLAG_REVISION;
		reading.time_us -= 10 * SECOND * (int64_t)draw(20);
	}
	return reading;
}

// Some readings, the last of them just taken.
static void
frame(const struct device *device, int64_t moment_us, size_t count, int64_t every_us)
{
	int64_t latency_us = 50000 + (int64_t)draw(900000), received_us = moment_us + latency_us;
	struct gw_reading readings[16];

	if (device->stalled_us > received_us)
		received_us = device->stalled_us + (int64_t)draw((uint64_t)SECOND);
	for (size_t i = 0; i < count; i++) {
		readings[i] = reading_at(device, moment_us - (int64_t)(count - 1 - i) * every_us);
		if (device->wild && draw(500) == 0) {
			readings[i].flags |= GW_FLAG_NO_DEVICE_TIME;
			readings[i].time_us = received_us;
		}
	}
	record_add(device->name, received_us, readings, count);
}

static void
happen(struct device *device, int64_t moment_us)
{
	switch (draw(30)) {
	case 0: // a step
		device->offset_us = draw(2) == 0 ? 0 : ((int64_t)draw(5 * 3600) - 9000) * SECOND;
		break;
	case 1: case 2: // a line that stalls
		device->stalled_us = moment_us + (int64_t)draw((uint64_t)(draw(4) == 0 ? 20 * HOUR : HOUR));
		break;
	case 3:
		device->drift_ppm = (int64_t)draw(100) - 50;
		break;
	default:
		break;
	}
}

static void
flush_some(void)
{
	series_take_rest(store);
	series_flush(store, draw(3) == 0 ? 0 : -1);
}

// From one moment to the other, hour by hour.
static void
live(struct device *device, int64_t from_us, int64_t to_us, int64_t every_us)
{
	for (int64_t us = from_us; us < to_us; us += HOUR) {
		if (device->wild)
			happen(device, us);
		if (device->wild && draw(40) == 0)
			continue; // switched off
		for (int64_t at_us = us; at_us < us + HOUR; at_us += 12 * every_us)
			frame(device, at_us + 11 * every_us, 12, every_us);
		if (draw(24) == 0)
			flush_some();
	}
}

// ---- Who lay where ----

static char names[PATIENTS][8];
static int told_of;

static void
stay(int64_t from_us, int64_t to_us, const char *bed)
{
	snprintf(names[told_of], sizeof(names[0]), "%d", told_of);
	told((struct gw_patient_event){ .verb = GW_PATIENT_ADMIT, .time_us = from_us, WHO(names[told_of]), .bed = gw_span_text(bed) });
	told((struct gw_patient_event){ .verb = GW_PATIENT_DISCHARGE, .time_us = to_us, WHO(names[told_of]) });
	told_of++;
}

// Short ones, long ones, empty beds between; m2 moves about.
static void
fill_beds(void)
{
	int64_t us = T0 + HOUR;

	told_of = 0;
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B1")));
	told(EVENT(PLACE, 0, DEVICE("m2"), BED("B2")));
	while (told_of < PATIENTS - 4 && us < T0 + DAYS * DAY) {
		int64_t to_us = us + MINUTE + (int64_t)draw((uint64_t)(draw(2) == 0 ? 3 * DAY : 7 * HOUR));

		stay(us, to_us, "B1");
		us = to_us + (draw(3) == 0 ? (int64_t)draw((uint64_t)(9 * HOUR)) : 0);
	}
	stay(T0 + 2 * DAY, T0 + 12 * DAY, "B2");
	told(EVENT(PLACE, 5 * 24 * 60 + 7, DEVICE("m2"), BED("B1")));
	told(EVENT(PLACE, 6 * 24 * 60 + 77, DEVICE("m2"), BED("B2")));
	told(EVENT(ASSOCIATE, 9 * 24 * 60, DEVICE("m2"), WHO("0"), .until_us = at(9 * 24 * 60 + 200)));
}

// ---- What must come out ----

static struct gw_series_step steps[STEPS_MAX];
static size_t step_count;

struct naive {
	struct gw_series_want want;
	struct gw_series_whose whose;
	struct gw_reading last;
	bool any;
	uint64_t left_out, doubted, looked;
	long double sum;
};

static void
settle(struct naive *naive, size_t first)
{
	const struct gw_reading *last = &naive->last;
	int64_t begin_us = gw_rollup_floor(last->time_us, naive->want.step_us);
	double value = gw_rollup_number(last);
	struct gw_series_step *step;

	naive->any = false;
	if (last->type != GW_VALUE_DECIMAL || (last->flags & (GW_FLAG_NOT_AVAILABLE | GW_FLAG_INVALID)))
		return;
	if (step_count == first || steps[step_count - 1].from_us != begin_us) {
		assert_true(step_count < STEPS_MAX);
		steps[step_count++] = (struct gw_series_step){ .from_us = begin_us, .first_us = last->time_us, .min = value, .max = value, .first = value };
		naive->sum = 0;
	}
	step = &steps[step_count - 1];
	step->count++;
	step->min = fmin(step->min, value);
	step->max = fmax(step->max, value);
	step->last = value;
	step->last_us = last->time_us;
	step->questionable += (last->flags & GW_FLAG_QUESTIONABLE) != 0;
	step->test += (last->flags & GW_FLAG_TEST) != 0;
	step->mean = (double)((naive->sum += (long double)value) / (long double)step->count);
}

static void
sum_up(struct naive *naive, const char *device)
{
	size_t first = step_count;
	struct gw_series_cursor *cursor;
	struct gw_series_info info;
	const struct gw_point *point;

	if (!gw_series_find(store, gw_span_text(device), SIGNAL, 0, &info))
		return;
	assert_int_equal(gw_series_read(store, info.id, naive->want.from_us, naive->want.to_us, &cursor), GW_OK);
	while (gw_series_next(cursor, &point) == GW_OK) {
		const struct gw_reading *reading = &point->reading;
		enum gw_belongs belongs = gw_series_belongs(&naive->whose, device, point);

		naive->looked++;
		if (belongs == GW_BELONGS_UNSURE && !naive->want.unsure) {
			naive->left_out++;
			naive->doubted += naive->whose.doubted;
		}
		if (belongs == GW_BELONGS_NOT || (belongs == GW_BELONGS_UNSURE && !naive->want.unsure))
			continue;
		if (naive->any && !(reading->time_us == naive->last.time_us && reading->sequence == naive->last.sequence && reading->revision > naive->last.revision))
			settle(naive, first);
		naive->last = *reading;
		naive->any = true;
	}
	if (naive->any)
		settle(naive, first);
	gw_series_end(cursor);
}

static void
same_step(const struct gw_series_step *got, const struct gw_series_step *want)
{
	assert_true(got->from_us == want->from_us);
	assert_int_equal(got->count, want->count);
	assert_true(got->questionable == want->questionable && got->test == want->test);
	assert_true(got->first_us == want->first_us && got->last_us == want->last_us);
	assert_true(got->min == want->min && got->max == want->max && got->first == want->first && got->last == want->last);
	assert_true(fabs(got->mean - want->mean) <= 1e-12 * fmax(fabs(want->min), fabs(want->max)));
}

// Returns how many readings were looked at, of *all.
static uint64_t
check_query(const struct gw_series_want *want, uint64_t pause_every, uint64_t *all)
{
	struct naive naive = { .want = *want, .whose = { .store = store, .patients = hub.patients, .patient = want->patient } };
	struct gw_series_query_stats stats;
	struct gw_series_query *query;
	struct gw_series_row row;
	struct gw_why why = { "" };
	enum gw_error error;
	size_t at_step = 0;

	step_count = 0;
	if (want->bed.len > 0)
		gw_bed_name(want->bed, naive.whose.bed);
	for (size_t d = 0; d < DEVICES; d++)
		sum_up(&naive, device_names[d]);
	assert_int_equal(gw_series_query_open(store, hub.patients, want, &query, &why), GW_OK);
	while ((error = gw_series_query_next(query, &row)) == GW_OK) {
		if (row.series != NULL) {
			assert_true(at_step < step_count);
			same_step(row.step, &steps[at_step++]);
		}
		if (draw(pause_every) == 0) {
			gw_series_query_pause(query);
			if (draw(200) == 0) {
				gw_series_close(store);
				store = series_open();
				series_take_rest(store);
			}
			gw_series_query_resume(query, store);
		}
	}
	assert_int_equal(error, GW_E_NOT_FOUND);
	assert_int_equal(at_step, step_count);
	gw_series_query_stats(query, &stats);
	// By patient only those devices are looked at that may have been theirs.
	assert_true(want->patient != 0 ? stats.left_out <= naive.left_out : stats.left_out == naive.left_out);
	if (stats.left_out == naive.left_out)
		assert_int_equal(stats.doubted, naive.doubted);
	gw_series_query_close(query);
	*all = naive.looked;
	return stats.readings;
}

static uint64_t
number_of(const char *id)
{
	struct gw_identifier identifier = { .id = gw_span_text(id) };
	uint64_t number;

	assert_int_equal(gw_patients_find(hub.patients, &identifier, &number, &hub.why), GW_OK);
	return number;
}

static struct gw_series_want
draw_want(void)
{
	static const int64_t lens[] = { 10 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, HOUR, 6 * HOUR, DAY };
	struct gw_series_want want = { .from_us = INT64_MIN, .to_us = INT64_MAX, .step_us = lens[draw(8)], .unsure = draw(4) == 0 };

	if (draw(3) > 0)
		want.patient = number_of(names[draw((uint64_t)told_of)]);
	else
		want.bed = gw_span_text(draw(2) == 0 ? "B1" : "B2");
	if (draw(3) == 0)
		want.from_us = T0 + (int64_t)draw((uint64_t)(DAYS * DAY));
	if (draw(3) == 0)
		want.to_us = (want.from_us == INT64_MIN ? T0 : want.from_us) + 1 + (int64_t)draw((uint64_t)(6 * DAY));
	return want;
}

static void
check_queries(int count)
{
	uint64_t all;

	for (int i = 0; i < count; i++) {
		struct gw_series_want want = draw_want();

		(void)check_query(&want, draw(2) == 0 ? 1 + draw(60) : 100000, &all);
	}
}

// ---- Of many at once ----

static struct gw_point points[POINTS_MAX];

static size_t
load_points(const char *device)
{
	struct gw_series_cursor *cursor;
	const struct gw_point *point;
	size_t count = 0;

	assert_int_equal(gw_series_read(store, series_id(store, device, SIGNAL), INT64_MIN, INT64_MAX, &cursor), GW_OK);
	while (gw_series_next(cursor, &point) == GW_OK) {
		assert_true(count < POINTS_MAX);
		points[count++] = *point;
	}
	gw_series_end(cursor);
	return count;
}

// What is said of a span is so of every reading in it.
static void
check_spans(struct gw_series_whose *whose, const char *device, size_t count, int spans)
{
	for (int i = 0; i < spans; i++) {
		size_t from = draw(count), to = from + 1 + draw(draw(2) == 0 ? 30 : 3000);
		struct gw_series_span span = { INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN };
		enum gw_belongs said;

		to = to < count ? to : count;
		for (size_t k = from; k < to; k++) {
			int64_t time_us = points[k].reading.time_us, delay_us = points[k].received_us - time_us;

			span.first_us = time_us < span.first_us ? time_us : span.first_us;
			span.last_us = time_us > span.last_us ? time_us : span.last_us;
			span.delay_least = delay_us < span.delay_least ? delay_us : span.delay_least;
			span.delay_most = delay_us > span.delay_most ? delay_us : span.delay_most;
		}
		if ((said = gw_series_belongs_all(whose, device, &span)) == GW_BELONGS_UNSURE)
			continue;
		for (size_t k = from; k < to; k++)
			assert_int_equal(gw_series_belongs(whose, device, &points[k]), said);
	}
}

static int64_t
between(int64_t from, int64_t to)
{
	return from + (int64_t)draw((uint64_t)(to - from) + 1);
}

// A reading of the span: at its edges, or within.
static struct gw_point
draw_point(const struct gw_series_span *span)
{
	struct gw_point point = { .reading = { .signal = SIGNAL, .type = GW_VALUE_DECIMAL } };
	int64_t delay_us = draw(3) == 0 ? span->delay_least : draw(2) == 0 ? span->delay_most : between(span->delay_least, span->delay_most);

	point.reading.time_us = draw(3) == 0 ? span->first_us : draw(2) == 0 ? span->last_us : between(span->first_us, span->last_us);
	if (span->delay_least <= 0 && span->delay_most >= 0 && draw(3) == 0) {
		point.reading.flags = GW_FLAG_NO_DEVICE_TIME;
		delay_us = 0;
	}
	point.received_us = point.reading.time_us + delay_us;
	return point;
}

// A span that lies as near to a change as may be: made of a reading that is moved there.
static bool
draw_span(struct gw_series_whose *whose, const char *device, size_t count, struct gw_series_span *span)
{
	struct gw_point near = points[draw(count)];
	int64_t first_us, last_us, change_us, width_us = draw(2) == 0 ? 0 : (int64_t)draw((uint64_t)(draw(3) == 0 ? 4 * HOUR : 10 * SECOND));
	int64_t slack_us = draw(3) == 0 ? 0 : (int64_t)draw((uint64_t)(draw(4) == 0 ? 30 * HOUR : 8 * SECOND));
	bool sure;

	near.reading.flags = 0;
	sure = gw_series_when(whose, device, &near, &first_us, &last_us);
	if ((sure && draw(16) > 0) || llabs(near.reading.time_us - T0) > 100 * DAY)
		return false;
	change_us = owner_of(device, draw(2) == 0 ? first_us : last_us, 0).to_us;
	if (change_us == GW_TIME_OPEN || (sure && change_us - last_us > 5 * HOUR))
		return false;
	span->first_us = near.reading.time_us + change_us - (draw(2) == 0 ? first_us : last_us + width_us) + between(-SECOND / 2, SECOND / 2);
	span->delay_least = near.received_us - near.reading.time_us - between(0, slack_us);
	if (draw(8) == 0) { // without a device time
		span->first_us = change_us + between(-8 * SECOND, 8 * SECOND) - (draw(2) == 0 ? width_us : 0);
		span->delay_least = -between(0, slack_us);
	}
	if (!sure && draw(2) == 0) { // where it is
		span->first_us = near.reading.time_us;
		span->delay_least = near.received_us - near.reading.time_us;
	}
	span->last_us = span->first_us + width_us;
	span->delay_most = span->delay_least + slack_us;
	return true;
}

static size_t
check_near_changes(struct gw_series_whose *whose, const char *device, size_t count, int spans)
{
	size_t decided = 0;

	for (int i = 0; i < spans; i++) {
		struct gw_series_span span;
		enum gw_belongs said;

		if (!draw_span(whose, device, count, &span) || (said = gw_series_belongs_all(whose, device, &span)) == GW_BELONGS_UNSURE)
			continue;
		decided++;
		for (int k = 0; k < 20; k++) {
			struct gw_point point = draw_point(&span);

			assert_int_equal(gw_series_belongs(whose, device, &point), said);
		}
	}
	return decided;
}

static void
check_all_spans(int spans)
{
	size_t decided = 0;

	for (size_t d = 0; d < DEVICES; d++) {
		size_t count = load_points(device_names[d]);

		for (int i = 0; i < 6; i++) {
			struct gw_series_whose whose = { .store = draw(5) == 0 ? NULL : store, .patients = hub.patients };

			if (draw(3) == 0)
				strcpy(whose.bed, "B1");
			else
				whose.patient = number_of(names[draw((uint64_t)told_of)]);
			check_spans(&whose, device_names[d], count, spans);
			decided += check_near_changes(&whose, device_names[d], count, 150 * spans);
		}
	}
	assert_true(decided > (size_t)spans);
}

// ---- Tests ----

static void
whatever_clocks_do(uint64_t life)
{
	struct device m1 = { .name = "m1", .wild = true }, m2 = { .name = "m2", .offset_us = -3 * HOUR, .wild = life % 2 == 0 };

	seed = life;
	fill_beds();
	for (int64_t us = T0; us < T0 + DAYS * DAY; us += DAY) {
		live(&m1, us, us + DAY, 20 * SECOND);
		live(&m2, us, us + DAY, 30 * SECOND);
	}
	flush_some();
	check_queries(10);
	check_all_spans(40);
	series_flush(store, 0);
	check_queries(7);
}

static void
life_1(void **state)
{
	(void)state;
	whatever_clocks_do(1);
}

static void
life_2(void **state)
{
	(void)state;
	whatever_clocks_do(2);
}

// A clock that is right, one that is three hours off: all but what lies near the changes is by roll-ups.
static void
long_ranges_look_at_few_readings(void **state)
{
	struct device m1 = { .name = "m1" }, m2 = { .name = "m2", .offset_us = -3 * HOUR };
	struct gw_series_want want = { .from_us = INT64_MIN, .to_us = INT64_MAX, .step_us = HOUR };
	uint64_t all, looked;

	(void)state;
	seed = 5;
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B1")));
	told(EVENT(PLACE, 0, DEVICE("m2"), BED("B1")));
	told_of = 0;
	stay(T0 + HOUR + 7 * SECOND, T0 + 6 * DAY + 77 * SECOND, "B1");
	stay(T0 + 6 * DAY + 77 * SECOND, T0 + 15 * DAY, "B1");
	live(&m1, T0, T0 + DAYS * DAY, 20 * SECOND);
	live(&m2, T0, T0 + DAYS * DAY, 20 * SECOND);
	series_take_rest(store);
	series_flush(store, 0);
	for (int i = 0; i < 2; i++) {
		want.patient = number_of(names[i]);
		looked = check_query(&want, 100000, &all);
		assert_true(looked < all / 10);
	}
	want.patient = 0;
	want.bed = gw_span_text("B1");
	assert_true(check_query(&want, 100000, &all) < all / 10);
	want.step_us = 15 * MINUTE;
	assert_true(check_query(&want, 100000, &all) < all / 10);
}

// As long as a step of the clock is not sure, the offset may be what it was.
static void
a_step_may_be_none(void **state)
{
	struct device m1 = { .name = "m1", .offset_us = -3 * HOUR };
	struct gw_series_whose whose = { .store = store, .patients = hub.patients };
	struct gw_point point = { .reading = { .signal = SIGNAL, .time_us = T0 + 10 * HOUR }, .received_us = T0 + 10 * HOUR + SECOND };
	struct gw_series_span span = { point.reading.time_us - SECOND, point.reading.time_us + SECOND, SECOND, SECOND };

	(void)state;
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B1")));
	told_of = 0;
	stay(T0, T0 + 9 * HOUR, "B1");
	stay(T0 + 9 * HOUR, T0 + 2 * DAY, "B1");
	whose.patient = number_of(names[1]);
	live(&m1, T0, T0 + 10 * HOUR, 10 * SECOND);
	series_take_rest(store);
	assert_int_equal(gw_series_belongs(&whose, "m1", &point), GW_BELONGS_UNSURE);
	assert_int_equal(gw_series_belongs_all(&whose, "m1", &span), GW_BELONGS_UNSURE);
	// By what was measured it is another's.
	point.reading.time_us = T0 + 8 * HOUR + 3 * HOUR;
	point.received_us = T0 + 8 * HOUR + SECOND;
	span = (struct gw_series_span){ point.reading.time_us - SECOND, point.reading.time_us + SECOND, -3 * HOUR, -3 * HOUR + SECOND };
	assert_int_equal(gw_series_belongs(&whose, "m1", &point), GW_BELONGS_NOT);
	assert_int_equal(gw_series_belongs_all(&whose, "m1", &span), GW_BELONGS_NOT);
}

// One step over all, of what has no roll-ups: the caller hears of it again and again, and may let go of the store each time.
static void
a_step_without_end_is_bounded(void **state)
{
	struct device m1 = { .name = "m1" };
	struct gw_series_want want = { .device = gw_span_text("m1"), .from_us = INT64_MIN, .to_us = INT64_MAX, .step_us = 40 * DAY + 7 };
	struct gw_series_step all = { 0 };
	struct gw_series_query *query;
	struct gw_series_row row;
	struct gw_why why = { "" };
	uint64_t calls[2] = { 0 };

	(void)state;
	seed = 6;
	live(&m1, T0, T0 + DAYS * DAY, 10 * SECOND);
	series_take_rest(store);
	for (int paused = 0; paused < 2; paused++) {
		size_t rows = 0;

		assert_int_equal(gw_series_query_open(store, hub.patients, &want, &query, &why), GW_OK);
		while (gw_series_query_next(query, &row) == GW_OK) {
			calls[paused]++;
			if (row.series != NULL && paused == 0)
				all = *row.step;
			else if (row.series != NULL)
				same_step(row.step, &all);
			rows += row.series != NULL;
			if (paused == 0)
				continue;
			gw_series_query_pause(query);
			series_flush(store, draw(2) == 0 ? 0 : -1);
			gw_series_query_resume(query, store);
		}
		gw_series_query_close(query);
		assert_int_equal(rows, 1 + (gw_rollup_floor(T0, want.step_us) != gw_rollup_floor(T0 + DAYS * DAY, want.step_us)));
		assert_true(calls[paused] >= DAYS * DAY / (10 * SECOND) / 65536);
	}
	assert_true(all.count > 0);
}

// ---- While all of it changes ----

#define READERS 2
static _Atomic bool over;

// How many there are by bed, by the hour: those of a bed at which the device always stood are never fewer.
static uint64_t
count_by_bed(void)
{
	struct gw_series_want want = { .bed = gw_span_text("B1"), .from_us = INT64_MIN, .to_us = INT64_MAX, .step_us = HOUR };
	struct gw_series_query *query;
	struct gw_series_row row;
	struct gw_why why = { "" };
	enum gw_error error;
	uint64_t count = 0;

	if (gw_series_query_open(store, hub.patients, &want, &query, &why) != GW_OK)
		abort();
	while ((error = gw_series_query_next(query, &row)) == GW_OK) {
		count += row.series != NULL ? row.step->count : 0;
		gw_series_query_pause(query);
		gw_series_query_resume(query, store);
	}
	gw_series_query_close(query);
	if (error != GW_E_NOT_FOUND)
		abort();
	return count;
}

static void *
counts(void *arg)
{
	uint64_t least = 0, count;

	(void)arg;
	do {
		if ((count = count_by_bed()) < least)
			abort();
		least = count;
	} while (!over);
	return (void *)(uintptr_t)count_by_bed();
}

static void
readers_are_never_told_of_fewer(void **state)
{
	struct device m1 = { .name = "m1" };
	pthread_t threads[READERS];
	void *count;

	(void)state;
	seed = 7;
	told_of = 0;
	told(EVENT(PLACE, -60, DEVICE("m1"), BED("B1")));
	over = false;
	for (size_t i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, counts, NULL), 0);
	for (int day = 0; day < 6; day++) {
		live(&m1, T0 + day * DAY, T0 + (day + 1) * DAY, 20 * SECOND);
		stay(T0 + day * DAY, T0 + (day + 1) * DAY - HOUR, "B1");
		series_take_rest(store);
		series_flush(store, day % 2 == 0 ? 0 : -1);
	}
	over = true;
	for (size_t i = 0; i < READERS; i++) {
		assert_int_equal(pthread_join(threads[i], &count), 0);
		assert_int_equal((uintptr_t)count, 6 * DAY / (20 * SECOND));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(life_1, open_all, close_all),
		cmocka_unit_test_setup_teardown(life_2, open_all, close_all),
		cmocka_unit_test_setup_teardown(long_ranges_look_at_few_readings, open_all, close_all),
		cmocka_unit_test_setup_teardown(readers_are_never_told_of_fewer, open_all, close_all),
		cmocka_unit_test_setup_teardown(a_step_may_be_none, open_all, close_all),
		cmocka_unit_test_setup_teardown(a_step_without_end_is_bounded, open_all, close_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
