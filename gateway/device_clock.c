// SPDX-License-Identifier: Apache-2.0
// Effective time: measures the offset of one device's clock from its frames. Pure; whoever holds the state.
//
// All is said in differences: received less newest device time of a frame = offset + latency. Times are limited to 2^59 us either way at the door, so that sums and
// differences of a few of them cannot overflow.
#include "gateway/device_clock.h"

#include "gateway/bytes.h"

#define LIMIT (INT64_C(1) << 59)
#define SECOND INT64_C(1000000)
#define MILLISECOND INT64_C(1000)
#define WINDOW_US (600 * SECOND)
#define WINDOW_SLOW_US (3600 * SECOND)
#define FRAMES_ENOUGH 32       // latency seen in as many frames is believed
#define FRAMES_PACE 3
#define GAP_DRIFT_US (2 * SECOND) // longer without live frames: the offset is measured anew
#define BACK_US SECOND         // a device's frames may be committed slightly out of order
#define SPREAD_LEAST_US SECOND

enum { SEEN = 1, KNOWN = 2, CATCHING = 4, WENT_BACK = 8, STATE_ALL = 15 };
enum kind { NONE, LIVE, LATE, AHEAD, FIRST, KINDS };

// The frame under work.
struct frame {
	int64_t received_us, newest_us, difference_us;
	int64_t back_us; // by how much the hub's clock went back before it
};

static int64_t
limited(int64_t us)
{
	return us > LIMIT ? LIMIT : us < -LIMIT ? -LIMIT : us;
}

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

static uint32_t
narrow(int64_t value)
{
	return value < 0 ? 0 : value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static uint16_t
range_ms(int64_t us)
{
	return us > UINT16_MAX * MILLISECOND ? UINT16_MAX : (uint16_t)((us + MILLISECOND - 1) / MILLISECOND);
}

static int64_t
drift_us(int64_t from_us, int64_t to_us)
{
	return (to_us > from_us ? to_us - from_us : from_us - to_us) / GW_DEVICE_CLOCK_DRIFT;
}

// ---- What is known: two windows of live frames ----

static int64_t
least_difference(const struct gw_device_clock *clock)
{
	return clock->count[1] > 0 ? least_of(clock->least_us[0], clock->least_us[1]) : clock->least_us[0];
}

// How much of the least difference may be latency.
static int64_t
latency_us(const struct gw_device_clock *clock)
{
	int64_t most_us = clock->least_us[0] + clock->range_ms[0] * MILLISECOND;

	if (clock->count[1] == 0 && clock->live_us - clock->start_us[0] < GW_DEVICE_CLOCK_PACE_US)
		return GW_DEVICE_CLOCK_PACE_US; // taken to be right and live at its first frame: a little wrong and a little late would look the same
	if (clock->count[0] + clock->count[1] < FRAMES_ENOUGH)
		return GW_DEVICE_CLOCK_LATENCY_US;
	if (clock->count[1] > 0)
		most_us = most_of(most_us, clock->least_us[1] + clock->range_ms[1] * MILLISECOND);
	return least_of(most_of(most_us - least_difference(clock), GW_DEVICE_CLOCK_FLOOR_US), GW_DEVICE_CLOCK_STEP_US);
}

// The offset in use stays while it is possible.
static void
settle(struct gw_device_clock *clock, bool anew)
{
	int64_t high_us = least_difference(clock), low_us = high_us - latency_us(clock);

	if (anew || clock->offset_us > high_us || clock->offset_us < low_us)
		clock->offset_us = low_us <= 0 && high_us >= 0 ? 0 : high_us;
}

static void
learn(struct gw_device_clock *clock, const struct frame *frame)
{
	int64_t age_us = frame->received_us - clock->start_us[0], most_us;

	if (clock->count[0] > 0 && age_us >= WINDOW_US && (age_us >= WINDOW_SLOW_US || clock->count[0] >= FRAMES_ENOUGH)) {
		clock->start_us[1] = clock->start_us[0];
		clock->least_us[1] = clock->least_us[0];
		clock->range_ms[1] = clock->range_ms[0];
		clock->count[1] = clock->count[0];
		clock->count[0] = 0;
	}
	if (clock->count[0] == 0) {
		clock->start_us[0] = frame->received_us;
		clock->least_us[0] = frame->difference_us;
		clock->range_ms[0] = 0;
	}
	most_us = most_of(clock->least_us[0] + clock->range_ms[0] * MILLISECOND, frame->difference_us);
	clock->least_us[0] = least_of(clock->least_us[0], frame->difference_us);
	clock->range_ms[0] = range_ms(most_us - clock->least_us[0]);
	clock->count[0] += clock->count[0] < UINT8_MAX;
	clock->live_us = frame->received_us;
	clock->newest_us = most_of(clock->newest_us, frame->newest_us);
	settle(clock, false);
}

// ---- What is watched: a difference, and for how long it stays ----

static int64_t
late_us(const struct gw_device_clock *clock, int64_t difference_us)
{
	return difference_us - least_difference(clock);
}

static void
restart(struct gw_device_clock *clock, const struct frame *frame, enum kind kind)
{
	clock->anchor_us = frame->received_us;
	clock->anchor_least_us = frame->difference_us;
	clock->anchor_range_us = 0;
	clock->anchor_count = 1;
	clock->anchor_missed = 0;
	clock->anchor_kind = (uint8_t)kind;
	clock->state &= (uint8_t)~WENT_BACK;
	clock->state |= frame->newest_us < clock->newest_us - GW_DEVICE_CLOCK_STEP_US ? WENT_BACK : 0;
}

// From here on the difference has to shrink before anything counts as a backfill.
static void
doubt(struct gw_device_clock *clock, int64_t difference_us)
{
	clock->state &= (uint8_t)~CATCHING;
	clock->late_ms = narrow(late_us(clock, difference_us) / MILLISECOND);
}

static void
begin(struct gw_device_clock *clock, const struct frame *frame, enum kind kind)
{
	restart(clock, frame, kind);
	doubt(clock, frame->difference_us);
}

// A stalled link shrinks the difference too, for a minute or so, also behind a step.
static void
note_shrinking(struct gw_device_clock *clock, const struct frame *frame)
{
	int64_t from_us = clock->late_ms * MILLISECOND, now_us = late_us(clock, frame->difference_us);
	int64_t need_us = least_of(from_us / 2, most_of(GW_DEVICE_CLOCK_PACE_US, from_us / 8));

	if (now_us > from_us)
		clock->late_ms = narrow(now_us / MILLISECOND);
	else if (from_us - now_us >= most_of(need_us, GW_DEVICE_CLOCK_STEP_US))
		clock->state |= CATCHING;
}

// The difference had stayed for a while and then fell at once: somebody is setting the clock; a backfill falls steadily.
static bool
fell_at_once(const struct gw_device_clock *clock, const struct frame *frame)
{
	return clock->anchor_count >= FRAMES_PACE && frame->received_us - clock->anchor_us >= GW_DEVICE_CLOCK_STEP_US &&
	    clock->anchor_least_us - frame->difference_us > GW_DEVICE_CLOCK_STEP_US;
}

// Less than what was watched: the offset is no more than that.
static void
fall(struct gw_device_clock *clock, const struct frame *frame, enum kind kind)
{
	bool at_once = fell_at_once(clock, frame);

	restart(clock, frame, kind);
	if (at_once)
		doubt(clock, frame->difference_us);
	if (at_once && kind == FIRST)
		clock->from_us = frame->received_us;
}

static void
rise(struct gw_device_clock *clock, const struct frame *frame, enum kind kind)
{
	doubt(clock, clock->anchor_least_us);
	if (++clock->anchor_missed < FRAMES_PACE)
		return;
	begin(clock, frame, kind);
	if (kind == FIRST)
		clock->from_us = frame->received_us;
}

static void
watch(struct gw_device_clock *clock, const struct frame *frame, enum kind kind)
{
	int64_t least_us = least_of(clock->anchor_least_us, frame->difference_us);
	int64_t most_us = most_of(clock->anchor_least_us + clock->anchor_range_us, frame->difference_us);
	int64_t limit_us = GW_DEVICE_CLOCK_STEP_US + drift_us(clock->anchor_us, frame->received_us);
	bool resumed = clock->anchor_count == 0; // live frames came in between: the time that it has stayed begins anew

	if (clock->anchor_kind != kind || frame->back_us > 0 || frame->received_us < clock->anchor_us - BACK_US ||
	    (resumed && frame->received_us - clock->anchor_us > GW_DEVICE_CLOCK_PACE_US)) {
		begin(clock, frame, kind);
	} else if (most_us - least_us <= limit_us) {
		clock->anchor_us = resumed ? frame->received_us : clock->anchor_us;
		clock->anchor_least_us = least_us;
		clock->anchor_range_us = narrow(most_us - least_us);
		clock->anchor_count += clock->anchor_count < UINT8_MAX;
		clock->anchor_missed = 0;
	} else if (frame->difference_us == least_us) {
		fall(clock, frame, kind);
	} else {
		rise(clock, frame, kind);
	}
	if (kind == LATE && clock->anchor_missed == 0)
		note_shrinking(clock, frame);
}

static bool
stayed(const struct gw_device_clock *clock, const struct frame *frame, int64_t pace_us)
{
	return clock->anchor_count >= FRAMES_PACE && clock->anchor_missed == 0 && frame->received_us - clock->anchor_us >= pace_us;
}

// The difference that is watched becomes the known one.
static void
accept(struct gw_device_clock *clock, const struct frame *frame, bool step)
{
	if (step) {
		int64_t began_us = clock->anchor_us - clock->from_us, ended_us = clock->anchor_us - clock->live_us;

		clock->before_offset_us = clock->offset_us;
		clock->before_ms = narrow(began_us / MILLISECOND + 1);
		clock->before_end_ms = ended_us < 0 ? UINT32_MAX : narrow(ended_us / MILLISECOND + 1); // beyond 49 days both are equal, and nothing lies between
		clock->from_us = clock->anchor_us;
		clock->epoch++;
	}
	clock->start_us[0] = clock->anchor_us;
	clock->least_us[0] = clock->anchor_least_us;
	clock->range_ms[0] = range_ms(clock->anchor_range_us);
	clock->count[0] = clock->anchor_count;
	clock->count[1] = 0;
	settle(clock, step || !(clock->state & KNOWN));
	clock->live_us = frame->received_us;
	clock->newest_us = frame->newest_us;
	clock->state = SEEN | KNOWN;
	clock->anchor_kind = NONE;
	clock->anchor_count = 0;
}

// ---- A frame ----

static enum kind
kind_of(const struct gw_device_clock *clock, const struct frame *frame)
{
	int64_t least_us = least_difference(clock), drifted_us = drift_us(clock->live_us, frame->received_us);

	if (!(clock->state & KNOWN))
		return FIRST;
	if (frame->difference_us < least_us - most_of(GW_DEVICE_CLOCK_STEP_US, latency_us(clock)) - drifted_us)
		return AHEAD;
	return frame->difference_us > least_us + GW_DEVICE_CLOCK_STEP_US + drifted_us ? LATE : LIVE;
}

static void
take_first(struct gw_device_clock *clock, const struct frame *frame)
{
	bool right = frame->difference_us <= GW_DEVICE_CLOCK_STEP_US && frame->difference_us >= -GW_DEVICE_CLOCK_STEP_US;

	if (!(clock->state & SEEN)) {
		clock->from_us = frame->received_us;
		clock->newest_us = frame->newest_us;
		begin(clock, frame, FIRST);
		if (right && frame->newest_us >= GW_DEVICE_CLOCK_UNSET_US)
			accept(clock, frame, false);
		return;
	}
	watch(clock, frame, FIRST);
	if (stayed(clock, frame, GW_DEVICE_CLOCK_PACE_US))
		accept(clock, frame, false);
}

// After hours without live frames the end of a backfill is no measure: only what stays is.
static void
take_live(struct gw_device_clock *clock, const struct frame *frame)
{
	if (frame->received_us - clock->live_us <= GAP_DRIFT_US * GW_DEVICE_CLOCK_DRIFT) {
		learn(clock, frame);
		clock->anchor_count = 0;
	} else if (clock->anchor_kind == LATE && frame->received_us - clock->anchor_us <= GW_DEVICE_CLOCK_PACE_US) {
		clock->anchor_count = 0;
	} else {
		if (clock->anchor_us <= clock->live_us)
			begin(clock, frame, LIVE);
		else
			watch(clock, frame, LIVE);
		if (stayed(clock, frame, GW_DEVICE_CLOCK_PACE_US))
			accept(clock, frame, false);
	}
}

static void
take_misfit(struct gw_device_clock *clock, const struct frame *frame, enum kind kind)
{
	bool nonsense = frame->difference_us - least_difference(clock) > GW_DEVICE_CLOCK_GARBAGE_US;
	bool sign;

	watch(clock, frame, kind);
	sign = kind == AHEAD || nonsense || (clock->state & WENT_BACK);
	if (stayed(clock, frame, sign ? GW_DEVICE_CLOCK_PACE_US : GW_DEVICE_CLOCK_PACE_LATE_US)) {
		accept(clock, frame, true);
		return;
	}
	if (nonsense || stayed(clock, frame, GW_DEVICE_CLOCK_PACE_US))
		doubt(clock, frame->difference_us);
	if (clock->state & CATCHING)
		clock->newest_us = most_of(clock->newest_us, frame->newest_us);
}

// ---- What is said of it ----

static int64_t
spread_us(const struct gw_device_clock *clock, int64_t offset_us)
{
	int64_t high_us = least_difference(clock), low_us = high_us - latency_us(clock);

	return most_of(most_of(high_us - offset_us, offset_us - low_us), SPREAD_LEAST_US);
}

static void
view_sure(const struct gw_device_clock *clock, const struct frame *frame, struct gw_clock_view *view)
{
	view->offset_us = least_of(clock->offset_us, frame->difference_us); // nothing is measured after it came
	view->spread_us = spread_us(clock, view->offset_us);
	view->measured_from_us = clock->start_us[clock->count[1] > 0];
	view->measured_to_us = clock->live_us;
	view->spread_us += view->spread_us / GW_DEVICE_CLOCK_DRIFT; // the moment itself is only known so well
	view->by_device = view->sure = true;
}

static void
view_between(const struct frame *frame, int64_t low_us, int64_t guess_us, struct gw_clock_view *view)
{
	int64_t high_us = frame->difference_us;

	low_us = least_of(low_us, high_us) - frame->back_us;
	view->offset_us = guess_us;
	view->spread_us = most_of(most_of(guess_us - low_us, high_us - guess_us), GW_DEVICE_CLOCK_LATENCY_US) + frame->back_us;
	view->measured_from_us = view->measured_to_us = frame->newest_us + guess_us; // how much older the others are is known to the drift
	view->by_device = guess_us != high_us;
}

static void
view_first(const struct frame *frame, struct gw_clock_view *view)
{
	bool possible = frame->newest_us >= GW_DEVICE_CLOCK_UNSET_US && frame->difference_us >= 0;
	int64_t low_us = frame->difference_us - GW_DEVICE_CLOCK_STORED_US;

	view_between(frame, possible ? least_of(low_us, -GW_DEVICE_CLOCK_LATENCY_US) : low_us, possible ? 0 : frame->difference_us, view);
}

static void
view_misfit(const struct gw_device_clock *clock, const struct frame *frame, enum kind kind, struct gw_clock_view *view)
{
	// What the newest reading so far was, this one is not before: unless it was stored.
	int64_t low_us = clock->newest_us + clock->offset_us - frame->newest_us - GW_DEVICE_CLOCK_LATENCY_US;
	int64_t stored_us = clock->offset_us - spread_us(clock, clock->offset_us) - drift_us(clock->live_us, frame->received_us);

	if (kind == AHEAD || frame->difference_us - least_difference(clock) > GW_DEVICE_CLOCK_GARBAGE_US)
		view_between(frame, low_us, frame->difference_us, view);
	else
		view_between(frame, least_of(low_us, stored_us), clock->offset_us, view);
}

void
gw_device_clock_take(struct gw_device_clock *clock, int64_t received_us, int64_t newest_us, struct gw_clock_view *view)
{
	struct frame frame = { .received_us = limited(received_us), .newest_us = limited(newest_us) };
	enum kind kind;

	*view = (struct gw_clock_view){ .received_us = frame.received_us, .epoch = clock->epoch };
	if (newest_us == GW_CLOCK_NO_TIME) {
		view->sure = true;
		return;
	}
	frame.difference_us = frame.received_us - frame.newest_us;
	if ((clock->state & SEEN) && frame.received_us < clock->received_us - BACK_US)
		frame.back_us = clock->received_us - frame.received_us;
	kind = kind_of(clock, &frame);
	if (kind == FIRST)
		take_first(clock, &frame);
	else if (kind == LIVE)
		take_live(clock, &frame);
	else
		take_misfit(clock, &frame, kind);
	clock->received_us = frame.received_us;
	clock->state |= SEEN;
	view->epoch = clock->epoch;
	if (!(clock->state & KNOWN))
		view_first(&frame, view);
	else if (kind == LIVE || clock->anchor_kind == NONE || (clock->state & CATCHING))
		view_sure(clock, &frame, view);
	else
		view_misfit(clock, &frame, kind, view);
}

void
gw_clock_view_effective(const struct gw_clock_view *view, int64_t time_us, uint16_t flags, struct gw_effective *effective)
{
	*effective = (struct gw_effective){ .us = limited(time_us), .uncertainty_us = GW_DEVICE_CLOCK_LATENCY_US, .epoch = view->epoch, .sure = true };
	if (flags & GW_FLAG_NO_DEVICE_TIME)
		return;
	effective->offset_us = view->offset_us;
	effective->us += view->offset_us;
	effective->uncertainty_us = view->spread_us;
	effective->uncertainty_us += most_of(drift_us(view->measured_from_us, effective->us), drift_us(view->measured_to_us, effective->us));
	effective->by_device = view->by_device;
	effective->sure = view->sure;
}

bool
gw_effective_together(const struct gw_effective *a, const struct gw_effective *b)
{
	int64_t moved_us = a->offset_us - b->offset_us;

	return a->epoch == b->epoch && a->sure == b->sure && a->by_device == b->by_device && moved_us < GW_DEVICE_CLOCK_STEP_US && moved_us > -GW_DEVICE_CLOCK_STEP_US;
}

int64_t
gw_reading_newest(const struct gw_reading *reading)
{
	int64_t length_ns, end_us;

	if (reading->flags & GW_FLAG_NO_DEVICE_TIME)
		return GW_CLOCK_NO_TIME;
	if (reading->type != GW_VALUE_SAMPLES || reading->samples.period_ns < 0 ||
	    __builtin_mul_overflow(reading->samples.period_ns, (int64_t)reading->samples.count, &length_ns) ||
	    __builtin_add_overflow(reading->time_us, length_ns / 1000, &end_us))
		return reading->time_us;
	return end_us;
}

int64_t
gw_device_clock_newest(const struct gw_reading *readings, size_t count)
{
	int64_t newest_us = GW_CLOCK_NO_TIME;

	for (size_t i = 0; i < count; i++)
		newest_us = most_of(newest_us, gw_reading_newest(&readings[i]));
	return newest_us;
}

// ---- Later, and for people ----

bool
gw_device_clock_resolve(const struct gw_device_clock *clock, int64_t received_us, int64_t time_us, struct gw_effective *effective)
{
	bool present = limited(received_us) >= clock->from_us;
	struct gw_clock_view view = { .received_us = limited(received_us), .by_device = true, .sure = true };

	if (!(clock->state & KNOWN) || (present && view.received_us > clock->live_us))
		return false;
	view.epoch = clock->epoch - !present;
	view.offset_us = present ? clock->offset_us : clock->before_offset_us;
	view.spread_us = present ? spread_us(clock, clock->offset_us) : GW_DEVICE_CLOCK_STEP_US;
	view.measured_from_us = present ? clock->start_us[clock->count[1] > 0] : clock->from_us - clock->before_end_ms * MILLISECOND;
	view.measured_to_us = present ? clock->live_us : view.measured_from_us;
	if (!present && (clock->epoch == 0 || view.received_us < clock->from_us - clock->before_ms * MILLISECOND || view.received_us > view.measured_to_us))
		return false;
	gw_clock_view_effective(&view, time_us, 0, effective);
	return effective->us <= view.received_us + effective->uncertainty_us && effective->us >= view.received_us - GW_DEVICE_CLOCK_GARBAGE_US;
}

bool
gw_device_clock_known(const struct gw_device_clock *clock, struct gw_clock_known *known)
{
	int64_t spread;

	if (!(clock->state & KNOWN))
		return false;
	spread = spread_us(clock, clock->offset_us);
	*known = (struct gw_clock_known){ .from_us = clock->from_us, .to_us = clock->live_us, .offset_us = clock->offset_us, .epoch = clock->epoch };
	known->uncertainty_us = spread + spread / GW_DEVICE_CLOCK_DRIFT + drift_us(clock->start_us[clock->count[1] > 0], clock->live_us);
	return true;
}

void
gw_device_clock_shown(const struct gw_device_clock *clock, struct gw_clock_shown *shown)
{
	*shown = (struct gw_clock_shown){ .epoch = clock->epoch, .received_us = clock->received_us, .known = clock->state & KNOWN };
	shown->doubted = clock->anchor_kind != NONE && clock->anchor_kind != LIVE && clock->anchor_count > 0 && !(clock->state & CATCHING);
	if (!shown->known)
		return;
	shown->offset_us = clock->offset_us;
	shown->uncertainty_us = spread_us(clock, clock->offset_us) + drift_us(clock->start_us[clock->count[1] > 0], clock->received_us);
}

// ---- Stored form ----

// Pointers to the fields in their order: the one list for both ways.
struct fields {
	int64_t *longs[12];
	uint32_t *words[5];
	uint16_t *shorts[2];
	uint8_t *bytes[6];
};

static struct fields
fields_of(struct gw_device_clock *clock)
{
	return (struct fields){
		{ &clock->received_us, &clock->newest_us, &clock->offset_us, &clock->from_us, &clock->live_us, &clock->start_us[0], &clock->start_us[1],
		    &clock->least_us[0], &clock->least_us[1], &clock->anchor_us, &clock->anchor_least_us, &clock->before_offset_us },
		{ &clock->before_ms, &clock->before_end_ms, &clock->anchor_range_us, &clock->late_ms, &clock->epoch },
		{ &clock->range_ms[0], &clock->range_ms[1] },
		{ &clock->count[0], &clock->count[1], &clock->anchor_count, &clock->anchor_kind, &clock->anchor_missed, &clock->state },
	};
}

void
gw_device_clock_save(const struct gw_device_clock *clock, uint8_t out[GW_DEVICE_CLOCK_BYTES])
{
	struct gw_device_clock copy = *clock;
	struct fields fields = fields_of(&copy);

	*out++ = 1;
	for (size_t i = 0; i < 12; i++, out += 8)
		gw_put64(out, (uint64_t)*fields.longs[i]);
	for (size_t i = 0; i < 5; i++, out += 4)
		gw_put32(out, *fields.words[i]);
	for (size_t i = 0; i < 2; i++, out += 2)
		gw_put16(out, *fields.shorts[i]);
	for (size_t i = 0; i < 6; i++)
		*out++ = *fields.bytes[i];
}

// Damaged rows must not lead to sums that overflow: times are within the limit, differences (offsets, least ones) within twice.
static bool
possible(const struct gw_device_clock *clock)
{
	const int64_t times[] = { clock->received_us, clock->newest_us, clock->from_us, clock->live_us, clock->start_us[0], clock->start_us[1], clock->anchor_us };
	const int64_t differences[] = { clock->offset_us, clock->least_us[0], clock->least_us[1], clock->anchor_least_us, clock->before_offset_us };

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		if (times[i] != limited(times[i]))
			return false;
	for (size_t i = 0; i < sizeof(differences) / sizeof(differences[0]); i++)
		if (differences[i] > 2 * LIMIT || differences[i] < -2 * LIMIT)
			return false;
	return clock->anchor_kind < KINDS && !(clock->state & ~STATE_ALL);
}

enum gw_error
gw_device_clock_load(struct gw_span bytes, struct gw_device_clock *clock)
{
	struct fields fields = fields_of(clock);
	const uint8_t *at = bytes.at;

	*clock = (struct gw_device_clock){ 0 };
	if (bytes.len != GW_DEVICE_CLOCK_BYTES || *at++ != 1)
		return GW_E_CORRUPT;
	for (size_t i = 0; i < 12; i++, at += 8)
		*fields.longs[i] = (int64_t)gw_get64(at);
	for (size_t i = 0; i < 5; i++, at += 4)
		*fields.words[i] = gw_get32(at);
	for (size_t i = 0; i < 2; i++, at += 2)
		*fields.shorts[i] = gw_get16(at);
	for (size_t i = 0; i < 6; i++)
		*fields.bytes[i] = *at++;
	if (possible(clock))
		return GW_OK;
	*clock = (struct gw_device_clock){ 0 };
	return GW_E_CORRUPT;
}
