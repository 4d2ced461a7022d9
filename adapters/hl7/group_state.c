// SPDX-License-Identifier: Apache-2.0
// What is stored of a device beside its messages. Version 1, little-endian:
//
//   u8 version (1), u8 classes, u64 the first record that was not given to the clock, the clock (GW_DEVICE_CLOCK_BYTES)
//   for each class: i64 interval (us), u8 waveforms (0, 1), u64 position, u32 count (struct gw_hl7_taken)
//
// Its first form had no version: u64 position, u32 count, 12 bytes in all.
#include "adapters/hl7/group_impl.h"

#include "gateway/bytes.h"

#define HEAD (2 + 8 + GW_DEVICE_CLOCK_BYTES)
#define ROW 21
#define FIRST_FORM 12

_Static_assert(HEAD + GW_HL7_CLASSES_MAX * ROW <= GW_HL7_STATE_MAX, "a state fits");

static bool
earlier(struct gw_hl7_taken a, struct gw_hl7_taken b)
{
	return a.position != b.position ? a.position < b.position : a.count < b.count;
}

static struct gw_hl7_taken
later(struct gw_hl7_taken a, struct gw_hl7_taken b)
{
	return earlier(a, b) ? b : a;
}

// The clock as it must be when records come again: before the first that an open group needs, before the record under work where that is not done, or now.
static const struct gw_device_clock *
clock_needed(const struct gw_hl7_grouper *grouper, const struct device *device, uint64_t *needed)
{
	bool done = device->progress.count == GW_HL7_ALL;
	const struct gw_device_clock *clock = done ? &device->clock : &device->clock_before;

	*needed = device->progress.position + done;
	for (size_t i = 0; i < grouper->class_count; i++) {
		if (device->slots[i].open && device->slots[i].group.first_position < *needed) {
			*needed = device->slots[i].group.first_position;
			clock = &device->slots[i].clock;
		}
	}
	return clock;
}

struct gw_span
gw_hl7_state_of(struct gw_hl7_grouper *grouper, const struct device *device, uint64_t *needed)
{
	const struct gw_device_clock *clock = clock_needed(grouper, device, needed);
	uint8_t *at = grouper->state;

	*at++ = 1;
	*at++ = (uint8_t)grouper->class_count;
	gw_put64(at, *needed);
	gw_device_clock_save(clock, at + 8);
	at += 8 + GW_DEVICE_CLOCK_BYTES;
	for (size_t i = 0; i < grouper->class_count; i++) {
		const struct slot *slot = &device->slots[i];
		struct gw_hl7_taken taken = slot->open ? slot->taken : later(slot->taken, device->progress);

		gw_put64(at, (uint64_t)grouper->classes[i].interval_us);
		at[8] = grouper->classes[i].waves;
		gw_put64(at + 9, taken.position);
		gw_put32(at + 17, taken.count);
		at += ROW;
	}
	return gw_span(grouper->state, (size_t)(at - grouper->state));
}

static struct gw_hl7_taken
taken_at(const uint8_t *at)
{
	return (struct gw_hl7_taken){ gw_get64(at), gw_get32(at + 8) };
}

static struct gw_hl7_taken
taken_of(struct gw_span rows, const struct class *class)
{
	struct gw_hl7_taken least = { UINT64_MAX, 0 };

	for (size_t at = 0; at < rows.len; at += ROW) {
		struct gw_hl7_taken taken = taken_at(rows.at + at + 9);

		if ((int64_t)gw_get64(rows.at + at) == class->interval_us && rows.at[at + 8] == class->waves)
			return taken;
		least = earlier(taken, least) ? taken : least;
	}
	return least.position == UINT64_MAX ? (struct gw_hl7_taken){ 0, 0 } : least;
}

enum gw_error
gw_hl7_state_load(const struct gw_hl7_grouper *grouper, struct device *device, struct gw_span state)
{
	struct gw_device_clock clock = { 0 };
	enum gw_error error;
	bool first_form = state.len == FIRST_FORM;

	if (!first_form && (state.len < HEAD || state.at[0] != 1 || state.len != HEAD + state.at[1] * (size_t)ROW))
		return GW_E_CORRUPT;
	if (!first_form && (error = gw_device_clock_load(gw_span(state.at + 10, GW_DEVICE_CLOCK_BYTES), &clock)) != GW_OK)
		return error;
	device->clock = clock;
	device->clock_next = first_form ? 0 : gw_get64(state.at + 2);
	for (size_t i = 0; i < grouper->class_count; i++)
		device->slots[i].taken = first_form ? taken_at(state.at) : taken_of(gw_span(state.at + HEAD, state.len - HEAD), &grouper->classes[i]);
	return GW_OK;
}
