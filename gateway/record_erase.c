// SPDX-License-Identifier: Apache-2.0
// Journal records: taking readings out of one, and telling which were taken. Pure; any thread.
#include "gateway/record.h"
#include "gateway/record_layout.h"

// ---- A record without what is erased ----

// The key, and that it is erased; returns its size.
static size_t
put_key(uint8_t *out, const uint8_t *from)
{
	uint16_t flags = gw_get16(from + READING_FLAGS);

	memmove(out, from, READING_VALUE);
	gw_put32(out + READING_SIZE, READING_VALUE);
	gw_put32(out + READING_UNIT, 0);
	gw_put16(out + READING_FLAGS, (uint16_t)((flags & (GW_FLAG_NO_DEVICE_TIME | GW_FLAG_REVISION)) | GW_FLAG_ERASED));
	out[READING_TYPE] = GW_VALUE_NONE;
	gw_put16(out + READING_RECEIVED, 0);
	out[READING_UNIT_LEN] = 0;
	return READING_VALUE;
}

size_t
gw_record_erase(const struct gw_record *record, const uint16_t *places, size_t count, uint8_t *out, size_t *erased)
{
	struct gw_batch batch;
	struct gw_reading reading;
	size_t from, at, done = 0;

	*erased = 0;
	if (gw_batch_open(record, &batch, NULL) != GW_OK)
		return 0;
	at = batch.at;
	memcpy(out, record->bytes.at, at);
	for (from = batch.at; gw_batch_next(&batch, &reading); from = batch.at) {
		while (done < count && places[done] + 1u < batch.done)
			done++;
		if (done < count && places[done] + 1u == batch.done && !gw_reading_is_erased(&reading)) {
			at += put_key(out + at, record->bytes.at + from);
			(*erased)++;
		} else {
			memcpy(out + at, record->bytes.at + from, batch.at - from);
			at += batch.at - from;
		}
	}
	if (batch.bad)
		return 0;
	gw_put32(out + RECORD_LEN, (uint32_t)at);
	gw_record_seal(out, at);
	return at;
}

// ---- GW_RECORD_ERASURE ----

enum gw_error
gw_erasure_note_encode(const struct gw_erasure_note *note, uint8_t *out, size_t cap, size_t *len)
{
	size_t at = ERASURE_RANGES;

	if (note->count > GW_ERASED_RANGES_MAX || cap < ERASURE_RANGES)
		return GW_E_TOO_LARGE;
	out[RECORD_TYPE] = GW_RECORD_ERASURE;
	out[RECORD_VERSION_AT] = RECORD_VERSION;
	out[RECORD_DOOR] = GW_DOOR_COMMAND;
	out[RECORD_AUTH] = GW_AUTH_NONE;
	gw_put64(out + RECORD_RECEIVED, (uint64_t)note->received_us);
	gw_put64(out + ERASURE_NUMBER, note->erasure);
	gw_put64(out + ERASURE_READINGS, note->readings);
	gw_put16(out + ERASURE_COUNT, (uint16_t)note->count);
	for (size_t i = 0; i < note->count; i++) {
		const struct gw_erased_range *range = &note->ranges[i];

		if (range->device.len > GW_ID_MAX || cap - at < 17 + range->device.len)
			return GW_E_TOO_LARGE;
		gw_put64(out + at, (uint64_t)range->from_us);
		gw_put64(out + at + 8, (uint64_t)range->to_us);
		out[at + 16] = (uint8_t)range->device.len;
		at = (size_t)(gw_put_bytes(out + at + 17, range->device.at, range->device.len) - out);
	}
	gw_put32(out + RECORD_LEN, (uint32_t)at);
	gw_record_seal(out, at);
	*len = at;
	return GW_OK;
}

enum gw_error
gw_erasure_note_open(const struct gw_record *record, struct gw_erasure_note *note, struct gw_why *why)
{
	struct gw_span bytes = record->bytes;
	size_t at = ERASURE_RANGES, count, room = note->count;

	if (record->type != GW_RECORD_ERASURE)
		return gw_fail(why, GW_E_ARGUMENT, "record %llu is no erasure", (unsigned long long)record->position);
	if (record->version != RECORD_VERSION)
		return gw_fail(why, GW_E_VERSION, "record %llu is of version %u", (unsigned long long)record->position, record->version);
	if (bytes.len < ERASURE_RANGES || (count = gw_get16(bytes.at + ERASURE_COUNT)) > room)
		return gw_fail(why, GW_E_CORRUPT, "record %llu has no whole head", (unsigned long long)record->position);
	note->received_us = record->received_us;
	note->erasure = gw_get64(bytes.at + ERASURE_NUMBER);
	note->readings = gw_get64(bytes.at + ERASURE_READINGS);
	note->count = count;
	for (size_t i = 0; i < count; i++) {
		size_t len = bytes.len - at >= 17 ? bytes.at[at + 16] : SIZE_MAX - 17;

		if (bytes.len - at < 17 || len > GW_ID_MAX || len > bytes.len - at - 17)
			return gw_fail(why, GW_E_CORRUPT, "record %llu is cut", (unsigned long long)record->position);
		note->ranges[i] = (struct gw_erased_range){ gw_span(bytes.at + at + 17, len), (int64_t)gw_get64(bytes.at + at),
			(int64_t)gw_get64(bytes.at + at + 8) };
		at += 17 + len;
	}
	return at == bytes.len ? GW_OK : gw_fail(why, GW_E_CORRUPT, "record %llu is longer than it says", (unsigned long long)record->position);
}
