// SPDX-License-Identifier: Apache-2.0
// Journal records: reading them. Pure; any thread. Nothing is believed: every length is checked against what is there.
#include "gateway/record.h"
#include "gateway/record_layout.h"

const char *
gw_door_name(enum gw_door door)
{
	static const char *const names[] = { "none", "mqtt", "coap", "legacy", "upstream", "hl7", "command" };
	return (unsigned)door < sizeof(names) / sizeof(names[0]) ? names[door] : "unknown";
}

const char *
gw_auth_name(enum gw_auth auth)
{
	static const char *const names[] = { "none", "certificate", "psk", "password" };
	return (unsigned)auth < sizeof(names) / sizeof(names[0]) ? names[auth] : "unknown";
}

const char *
gw_event_name(enum gw_event_code code)
{
	static const char *const names[] = { "command", "will", "refused-claim", "refused-credential", "gap", "outlet", "store",
		"device", "unused", "refused-more" };
	return (unsigned)code < sizeof(names) / sizeof(names[0]) ? names[code] : "unknown";
}

const char *
gw_protocol_name(enum gw_protocol protocol)
{
	static const char *const names[] = { "", "mqtts", "coaps", "coap", "mllp", "mllps", "unix" };
	return (unsigned)protocol < sizeof(names) / sizeof(names[0]) ? names[protocol] : "unknown";
}

const char *
gw_refused_name(enum gw_refused reason)
{
	switch (reason) {
	case GW_REFUSED_NONE: return "";
#define REFUSED(number, name, word, words) case GW_REFUSED_##name: return word;
#include "gateway/refused.def"
#undef REFUSED
	default: return "unknown";
	}
}

const char *
gw_refused_words(enum gw_refused reason)
{
	switch (reason) {
#define REFUSED(number, name, word, words) case GW_REFUSED_##name: return words;
#include "gateway/refused.def"
#undef REFUSED
	default: return "refused";
	}
}

enum gw_error
gw_record_open(uint64_t position, struct gw_span bytes, struct gw_record *record, struct gw_why *why)
{
	unsigned long long at = position;

	if (bytes.len < RECORD_HEAD || bytes.len > GW_RECORD_MAX)
		return gw_fail(why, GW_E_CORRUPT, "record %llu has an impossible length of %zu bytes", at, bytes.len);
	if (gw_get32(bytes.at + RECORD_LEN) != bytes.len)
		return gw_fail(why, GW_E_CORRUPT, "record %llu is cut: %zu bytes of %u", at, bytes.len,
		    gw_get32(bytes.at + RECORD_LEN));
	if (gw_get32(bytes.at + RECORD_CRC) != gw_crc32c(0, bytes.at + RECORD_LEN, bytes.len - RECORD_LEN))
		return gw_fail(why, GW_E_CORRUPT, "record %llu does not match its checksum", at);
	record->position = position;
	record->type = bytes.at[RECORD_TYPE];
	record->version = bytes.at[RECORD_VERSION_AT];
	record->received_us = (int64_t)gw_get64(bytes.at + RECORD_RECEIVED);
	record->bytes = bytes;
	return GW_OK;
}

// Takes n texts whose lengths stand at lens; moves *at behind them. False where they do not fit.
static bool
take_texts(struct gw_span bytes, size_t lens, size_t *at, struct gw_span *const *texts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = bytes.at[lens + i];
		if (len > bytes.len - *at)
			return false;
		*texts[i] = gw_span(bytes.at + *at, len);
		*at += len;
	}
	return true;
}

static enum gw_error
check_version(const struct gw_record *record, struct gw_why *why)
{
	if (record->version == RECORD_VERSION)
		return GW_OK;
	return gw_fail(why, GW_E_VERSION, "record %llu is of version %u", (unsigned long long)record->position, record->version);
}

enum gw_error
gw_batch_open(const struct gw_record *record, struct gw_batch *batch, struct gw_why *why)
{
	struct gw_batch_head *head = &batch->head;
	struct gw_span *const texts[] = { &head->device, &head->principal, &head->route, &head->profile };
	struct gw_span bytes = record->bytes;
	enum gw_error error;

	if (record->type != GW_RECORD_READINGS)
		return gw_fail(why, GW_E_ARGUMENT, "record %llu holds no readings", (unsigned long long)record->position);
	if ((error = check_version(record, why)) != GW_OK)
		return error;
	batch->at = BATCH_TEXTS;
	if (bytes.len < BATCH_TEXTS || !take_texts(bytes, BATCH_LENS, &batch->at, texts, 4))
		return gw_fail(why, GW_E_CORRUPT, "record %llu has no whole head", (unsigned long long)record->position);
	head->received_us = record->received_us;
	head->door = bytes.at[RECORD_DOOR];
	head->auth = bytes.at[RECORD_AUTH];
	batch->count = gw_get16(bytes.at + BATCH_COUNT);
	batch->done = 0;
	batch->bytes = bytes;
	batch->bad = false;
	return GW_OK;
}

// Takes the value at *at; false where it does not fit before end.
static bool
take_value(const uint8_t **at, const uint8_t *end, struct gw_reading *reading)
{
	const uint8_t *v = *at;
	size_t room = (size_t)(end - v), size;

	switch (reading->type) {
	case GW_VALUE_NONE:
		size = 0;
		break;
	case GW_VALUE_DECIMAL:
		if ((size = 10) <= room)
			reading->decimal = (struct gw_decimal){ (int64_t)gw_get64(v), (int16_t)gw_get16(v + 8) };
		break;
	case GW_VALUE_CODE:
		if ((size = 4) <= room)
			reading->code = gw_get32(v);
		break;
	case GW_VALUE_TEXT:
		size = room >= 4 ? 4 + (size_t)gw_get32(v) : SIZE_MAX;
		if (size <= room)
			reading->text = gw_span(v + 4, size - 4);
		break;
	case GW_VALUE_SAMPLES:
		size = room >= 14 ? 14 + (size_t)gw_get32(v + 8) * 4 : SIZE_MAX;
		if (size <= room)
			reading->samples = (struct gw_samples){ (int64_t)gw_get64(v), gw_get32(v + 8), (int16_t)gw_get16(v + 12), v + 14 };
		break;
	default: // a newer version's value in an old record: cannot be
		return false;
	}
	if (size > room)
		return false;
	*at += size;
	return true;
}

static void
take_fixed(const uint8_t *at, struct gw_reading *reading)
{
	reading->signal = gw_get32(at + READING_SIGNAL);
	reading->time_us = (int64_t)gw_get64(at + READING_TIME);
	reading->sequence = gw_get32(at + READING_SEQUENCE);
	reading->unit = gw_get32(at + READING_UNIT);
	reading->instance = gw_get16(at + READING_INSTANCE);
	reading->revision = gw_get16(at + READING_REVISION);
	reading->flags = gw_get16(at + READING_FLAGS);
	reading->kind = at[READING_KIND];
	reading->type = at[READING_TYPE];
}

// What was received where it was not stored twice: the value as it renders.
static bool
render(struct gw_batch *batch, struct gw_reading *reading)
{
	if (reading->type == GW_VALUE_TEXT)
		reading->received = reading->text;
	else if (reading->type == GW_VALUE_DECIMAL)
		reading->received = gw_span(batch->text, gw_decimal_text(reading->decimal, batch->text));
	else
		return false;
	return true;
}

static bool
take_reading(struct gw_batch *batch, const uint8_t *at, uint32_t size, struct gw_reading *reading)
{
	const uint8_t *end = at + size, *rest = at + READING_VALUE;
	size_t received = gw_get16(at + READING_RECEIVED), unit = at[READING_UNIT_LEN];
	bool canonical = received == READING_CANONICAL;

	if (canonical)
		received = 0;
	take_fixed(at, reading);
	if (!take_value(&rest, end, reading) || (size_t)(end - rest) != received + unit)
		return false;
	reading->received = gw_span(rest, received);
	reading->unit_received = gw_span(rest + received, unit);
	return !canonical || render(batch, reading);
}

bool
gw_batch_next(struct gw_batch *batch, struct gw_reading *reading)
{
	const uint8_t *at = batch->bytes.at + batch->at;
	size_t rest = batch->bytes.len - batch->at;
	uint32_t size;

	if (batch->bad)
		return false;
	if (batch->done == batch->count) {
		batch->bad = rest != 0;
		return false;
	}
	size = reading_size(at, rest);
	if (size == 0 || !take_reading(batch, at, size, reading)) {
		batch->bad = true;
		return false;
	}
	batch->at += size;
	batch->done++;
	return true;
}

// Version 2's own: numbers, and the texts at *at.
static bool
take_who(struct gw_span bytes, size_t *at, struct gw_event *event)
{
	struct gw_span address, *const texts[] = { &address, &event->claimed };

	event->reason = gw_get16(bytes.at + EVENT_REASON);
	event->more = gw_get32(bytes.at + EVENT_MORE);
	event->protocol = bytes.at[EVENT_PROTOCOL];
	event->peer.port = gw_get16(bytes.at + EVENT_PORT);
	if (!take_texts(bytes, EVENT_PEER_LENS, at, texts, 2) || address.len > sizeof(event->peer.address))
		return false;
	event->peer.len = (uint8_t)address.len;
	if (address.len > 0)
		memcpy(event->peer.address, address.at, address.len);
	return true;
}

enum gw_error
gw_event_open(const struct gw_record *record, struct gw_event *event, struct gw_why *why)
{
	struct gw_span *const texts[] = { &event->device, &event->principal, &event->route };
	bool who = record->type == GW_RECORD_DEVICE_EVENT && record->version == EVENT_VERSION;
	struct gw_span bytes = record->bytes;
	size_t at = who ? EVENT_PEER_TEXTS : EVENT_TEXTS, text;
	enum gw_error error;

	if (record->type != GW_RECORD_DEVICE_EVENT && record->type != GW_RECORD_COMMAND)
		return gw_fail(why, GW_E_ARGUMENT, "record %llu is no event", (unsigned long long)record->position);
	if (!who && (error = check_version(record, why)) != GW_OK)
		return error;
	memset(event, 0, sizeof(*event));
	if (bytes.len < at || !take_texts(bytes, EVENT_LENS, &at, texts, 3) || (who && !take_who(bytes, &at, event)) ||
	    (text = gw_get32(bytes.at + EVENT_TEXT_LEN)) > bytes.len - at)
		return gw_fail(why, GW_E_CORRUPT, "record %llu has no whole head", (unsigned long long)record->position);
	event->received_us = record->received_us;
	event->door = bytes.at[RECORD_DOOR];
	event->auth = bytes.at[RECORD_AUTH];
	event->code = gw_get16(bytes.at + EVENT_CODE);
	event->text = gw_span(bytes.at + at, text);
	event->data = gw_span(bytes.at + at + text, bytes.len - at - text);
	return GW_OK;
}
