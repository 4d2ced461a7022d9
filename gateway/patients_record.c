// SPDX-License-Identifier: Apache-2.0
// GW_RECORD_ASSOCIATION (schemas/journal-format.md): from when to when who belongs to a device or bed may have changed. Pure; any thread.
#include "gateway/patients.h"
#include "gateway/record_layout.h"

enum {
	ASSOCIATION_FROM = 20,     // i64
	ASSOCIATION_TO = 28,       // i64
	ASSOCIATION_LENS = 36,     // u8 each: device, bed
	ASSOCIATION_TEXT_LEN = 38, // u16
	ASSOCIATION_TEXTS = 40,
};

enum gw_error
gw_association_encode(const struct gw_association_change *change, uint8_t *out, size_t cap, size_t *len)
{
	size_t need = ASSOCIATION_TEXTS + change->device.len + change->bed.len + change->text.len;
	uint8_t *at = out + ASSOCIATION_TEXTS;

	if (change->device.len > GW_ID_MAX || change->bed.len > GW_BED_MAX || change->text.len > UINT16_MAX || need > cap || need > GW_RECORD_MAX)
		return GW_E_TOO_LARGE;
	memset(out, 0, ASSOCIATION_TEXTS);
	gw_put32(out + RECORD_LEN, (uint32_t)need);
	out[RECORD_TYPE] = GW_RECORD_ASSOCIATION;
	out[RECORD_VERSION_AT] = 1;
	gw_put64(out + RECORD_RECEIVED, (uint64_t)change->received_us);
	gw_put64(out + ASSOCIATION_FROM, (uint64_t)change->from_us);
	gw_put64(out + ASSOCIATION_TO, (uint64_t)change->to_us);
	out[ASSOCIATION_LENS] = (uint8_t)change->device.len;
	out[ASSOCIATION_LENS + 1] = (uint8_t)change->bed.len;
	gw_put16(out + ASSOCIATION_TEXT_LEN, (uint16_t)change->text.len);
	at = gw_put_bytes(at, change->device.at, change->device.len);
	at = gw_put_bytes(at, change->bed.at, change->bed.len);
	at = gw_put_bytes(at, change->text.at, change->text.len);
	gw_record_seal(out, need);
	*len = need;
	return GW_OK;
}

enum gw_error
gw_association_open(const struct gw_record *record, struct gw_association_change *change, struct gw_why *why)
{
	const uint8_t *at = record->bytes.at;
	size_t device, bed, text;

	if (record->type != GW_RECORD_ASSOCIATION)
		return gw_fail(why, GW_E_ARGUMENT, "not a record of associations");
	if (record->version != 1)
		return gw_fail(why, GW_E_VERSION, "associations of version %u", record->version);
	if (record->bytes.len < ASSOCIATION_TEXTS)
		return gw_fail(why, GW_E_CORRUPT, "a record of associations is too short");
	device = at[ASSOCIATION_LENS];
	bed = at[ASSOCIATION_LENS + 1];
	text = gw_get16(at + ASSOCIATION_TEXT_LEN);
	if (record->bytes.len != ASSOCIATION_TEXTS + device + bed + text || device > GW_ID_MAX || bed > GW_BED_MAX)
		return gw_fail(why, GW_E_CORRUPT, "a record of associations does not add up");
	*change = (struct gw_association_change){ .received_us = record->received_us, .from_us = (int64_t)gw_get64(at + ASSOCIATION_FROM),
		.to_us = (int64_t)gw_get64(at + ASSOCIATION_TO) };
	at += ASSOCIATION_TEXTS;
	change->device = gw_span(at, device);
	change->bed = gw_span(at + device, bed);
	change->text = gw_span(at + device + bed, text);
	return GW_OK;
}
