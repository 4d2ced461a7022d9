// SPDX-License-Identifier: Apache-2.0
// encode: readings to bytes: SenML JSON for GET answers and exports, the document and the topic of the bus. Pure; any thread; no allocation.
#include "gateway/clock.h"
#include "gateway/decode.h"
#include "gateway/nomenclature.h"
#include "gateway/record.h"
#include "gateway/text_out.h"

#include "gateway/bytes.h"

#include <stdio.h>

static void
put_decimal(struct gw_text_out *out, struct gw_decimal value)
{
	char text[48];

	gw_put_span(out, gw_span(text, gw_decimal_text(value, text)));
}

static const char *
signal_name(const struct gw_reading *reading, char spare[16])
{
	const struct gw_signal *signal = gw_signal_by_code(reading->signal);

	if (signal != NULL)
		return signal->name;
	snprintf(spare, 16, "%u", reading->signal); // of a newer nomenclature
	return spare;
}

static const char *
unit_name(uint32_t code)
{
	const struct gw_unit *unit = gw_unit_by_code(code);

	return unit != NULL ? unit->ucum : "";
}

// ---- SenML ----

// SenML's own names (RFC 8428 section 12.1, RFC 8798), where they differ from UCUM; "%" would mean a ratio.
static const char *
senml_unit(uint32_t code)
{
	static const struct { const char *ucum, *senml; } names[] = { { "%", "/100" }, { "1", "/" }, { "{beat}/min", "beat/min" }, { "/min", "1/min" },
		{ "/s", "1/s" }, { "{breath}/min", "1/min" } };
	const char *ucum = unit_name(code);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i].ucum, ucum) == 0)
			return names[i].senml;
	return ucum;
}

static void
put_senml_value(struct gw_text_out *out, const struct gw_reading *reading)
{
	const char *refid;

	switch ((enum gw_value_type)reading->type) {
	case GW_VALUE_DECIMAL:
		gw_put_text(out, ",\"v\":");
		put_decimal(out, reading->decimal);
		return;
	case GW_VALUE_CODE:
		refid = gw_code_refid(reading->code);
		gw_put_text(out, ",\"vs\":\"");
		if (refid != NULL)
			gw_put_text(out, refid);
		else
			gw_put_number(out, reading->code);
		gw_put_text(out, "\"");
		return;
	case GW_VALUE_TEXT:
		gw_put_text(out, ",\"vs\":");
		gw_put_json(out, reading->text);
		return;
	case GW_VALUE_NONE:
	case GW_VALUE_SAMPLES:
		return;
	}
}

static void
put_seconds(struct gw_text_out *out, int64_t us)
{
	put_decimal(out, us % 1000000 == 0 ? (struct gw_decimal){ us / 1000000, 0 } : us % 1000 == 0 ? (struct gw_decimal){ us / 1000, -3 } :
	    (struct gw_decimal){ us, -6 });
}

static void
put_senml_record(struct gw_text_out *out, const struct gw_reading *reading)
{
	char spare[16];

	gw_put_text(out, "\"n\":\"");
	gw_put_text(out, signal_name(reading, spare));
	if (reading->instance > 0) {
		gw_put_text(out, "/");
		gw_put_number(out, reading->instance);
	}
	gw_put_text(out, "\"");
	if (reading->unit != 0) {
		gw_put_text(out, ",\"u\":\"");
		gw_put_text(out, senml_unit(reading->unit));
		gw_put_text(out, "\"");
	}
	gw_put_text(out, ",\"t\":");
	put_seconds(out, reading->time_us);
	put_senml_value(out, reading);
	gw_put_text(out, "}");
}

size_t
gw_senml_encode(struct gw_span device, const struct gw_reading *readings, size_t count, char *out, size_t cap)
{
	struct gw_text_out to = { out, cap, 0 };
	bool first = true;

	gw_put_text(&to, "[");
	for (size_t i = 0; i < count; i++) {
		if (readings[i].type == GW_VALUE_NONE || readings[i].type == GW_VALUE_SAMPLES) // SenML has no word for "not available"
			continue;
		gw_put_text(&to, first ? "{\"bn\":" : ",{");
		if (first) {
			char name[GW_ID_MAX + 1];
			size_t len = device.len <= GW_ID_MAX ? device.len : GW_ID_MAX;
			memcpy(name, device.at, len);
			name[len] = '/';
			gw_put_json(&to, gw_span(name, len + 1));
			gw_put_text(&to, ",");
		}
		first = false;
		put_senml_record(&to, &readings[i]);
	}
	gw_put_text(&to, "]");
	return to.len;
}

// ---- the bus ----

static void
put_member(struct gw_text_out *out, const char *name, struct gw_span text)
{
	gw_put_text(out, name); // with quotes, colon and the comma before it
	gw_put_json(out, text);
}

// A text of our own, which needs no escapes.
static void
put_plain(struct gw_text_out *out, const char *name, const char *text)
{
	gw_put_text(out, name);
	gw_put_text(out, "\"");
	gw_put_text(out, text);
	gw_put_text(out, "\"");
}

static void
put_samples(struct gw_text_out *out, const struct gw_samples *samples)
{
	gw_put_text(out, "{\"period_ns\":");
	gw_put_number(out, samples->period_ns);
	gw_put_text(out, ",\"exponent\":");
	gw_put_number(out, samples->exponent);
	gw_put_text(out, ",\"samples\":[");
	for (uint32_t i = 0; i < samples->count; i++) {
		int32_t sample = (int32_t)gw_get32(samples->at + (size_t)i * 4);
		if (i > 0)
			gw_put_text(out, ",");
		if (sample == GW_SAMPLE_MISSING)
			gw_put_text(out, "null");
		else
			gw_put_number(out, sample);
	}
	gw_put_text(out, "]}");
}

static void
put_bus_value(struct gw_text_out *out, const struct gw_reading *reading)
{
	const char *refid;

	gw_put_text(out, ",\"value\":");
	switch ((enum gw_value_type)reading->type) {
	case GW_VALUE_DECIMAL:
		put_decimal(out, reading->decimal);
		return;
	case GW_VALUE_CODE:
		refid = gw_code_refid(reading->code);
		gw_put_text(out, "{\"code\":");
		gw_put_number(out, reading->code);
		if (refid != NULL)
			put_plain(out, ",\"refid\":", refid);
		gw_put_text(out, "}");
		return;
	case GW_VALUE_TEXT:
		gw_put_json(out, reading->text);
		return;
	case GW_VALUE_SAMPLES:
		put_samples(out, &reading->samples);
		return;
	case GW_VALUE_NONE:
		break;
	}
	gw_put_text(out, "null");
}

static void
put_flags(struct gw_text_out *out, uint16_t flags)
{
	static const struct { uint16_t flag; const char *name; } names[] = { { GW_FLAG_QUESTIONABLE, "questionable" },
		{ GW_FLAG_NOT_AVAILABLE, "not_available" }, { GW_FLAG_TEST, "test" }, { GW_FLAG_NO_DEVICE_TIME, "no_device_time" },
		{ GW_FLAG_REVISION, "revision" }, { GW_FLAG_INVALID, "invalid" } };
	bool first = true;

	gw_put_text(out, ",\"flags\":[");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if ((flags & names[i].flag) == 0)
			continue;
		gw_put_text(out, first ? "\"" : ",\"");
		gw_put_text(out, names[i].name);
		gw_put_text(out, "\"");
		first = false;
	}
	gw_put_text(out, "]");
}

static void
put_unit(struct gw_text_out *out, uint32_t unit)
{
	if (unit == 0)
		return;
	put_plain(out, ",\"unit\":", unit_name(unit));
	gw_put_text(out, ",\"unit_mdc\":");
	gw_put_number(out, unit);
}

static void
put_received(struct gw_text_out *out, const struct gw_reading *reading)
{
	put_member(out, ",\"received\":{\"value\":", reading->received);
	if (reading->unit_received.len > 0)
		put_member(out, ",\"unit\":", reading->unit_received);
	gw_put_text(out, "}");
}

static void
put_signal(struct gw_text_out *out, const struct gw_reading *reading)
{
	const char *refid = gw_code_refid(reading->signal);
	char spare[16];

	put_plain(out, ",\"signal\":", signal_name(reading, spare));
	gw_put_text(out, ",\"instance\":");
	gw_put_number(out, reading->instance);
	gw_put_text(out, ",\"mdc\":");
	gw_put_number(out, reading->signal);
	if (refid != NULL)
		put_plain(out, ",\"refid\":", refid);
}

size_t
gw_bus_encode(uint64_t incarnation, const struct gw_batch_head *head, const struct gw_reading *reading, char *out, size_t cap)
{
	static const char *const kinds[] = { "measurement", "setting", "event" };
	struct gw_text_out to = { out, cap, 0 };
	char id[GW_READING_ID_MAX], time[40];

	gw_reading_id(incarnation, head->device, reading, id);
	put_plain(&to, "{\"id\":", id);
	put_member(&to, ",\"device\":", head->device);
	put_signal(&to, reading);
	put_bus_value(&to, reading);
	put_unit(&to, reading->unit);
	put_received(&to, reading);
	put_flags(&to, reading->flags);
	put_plain(&to, ",\"kind\":", reading->kind < 3 ? kinds[reading->kind] : "unknown");
	put_plain(&to, ",\"time\":", gw_time_format(reading->time_us, time));
	put_plain(&to, ",\"received_time\":", gw_time_format(head->received_us, time));
	if (reading->sequence > 0) {
		gw_put_text(&to, ",\"sequence\":");
		gw_put_number(&to, reading->sequence);
	}
	gw_put_text(&to, ",\"revision\":");
	gw_put_number(&to, reading->revision);
	gw_put_text(&to, "}");
	return to.len;
}

size_t
gw_row_encode(const struct gw_batch_head *head, const struct gw_reading *reading, char *out, size_t cap)
{
	struct gw_text_out to = { out, cap, 0 };
	char spare[16], time[40];

	put_member(&to, ",\"device\":", head->device);
	put_plain(&to, ",\"signal\":", signal_name(reading, spare));
	gw_put_text(&to, ",\"instance\":");
	gw_put_number(&to, reading->instance);
	put_bus_value(&to, reading);
	if (reading->unit != 0)
		put_plain(&to, ",\"unit\":", unit_name(reading->unit));
	if (reading->flags != 0)
		put_flags(&to, reading->flags);
	put_plain(&to, ",\"time\":", gw_time_format(reading->time_us, time));
	put_plain(&to, ",\"received_time\":", gw_time_format(head->received_us, time));
	return to.len;
}

// One level of a topic: what MQTT gives a meaning, and '%' itself, as %XX; a leading '$' too where it would begin the topic's reserved names.
static void
put_level(struct gw_text_out *out, struct gw_span level)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < level.len; i++) {
		uint8_t byte = level.at[i];
		char escape[3] = { '%', hex[byte >> 4], hex[byte & 15] };
		if (byte < 0x20 || byte == 0x7F || byte == '+' || byte == '#' || byte == '/' || byte == '%')
			gw_put_span(out, gw_span(escape, 3));
		else
			gw_put_span(out, gw_span(&byte, 1));
	}
}

size_t
gw_bus_topic(const char *prefix, struct gw_span device, const struct gw_reading *reading, char *out, size_t cap)
{
	struct gw_text_out to = { out, cap, 0 };
	char spare[16];

	gw_put_text(&to, prefix);
	gw_put_text(&to, "/");
	put_level(&to, device);
	gw_put_text(&to, "/");
	put_level(&to, gw_span_text(signal_name(reading, spare)));
	return to.len <= cap ? to.len : 0;
}
