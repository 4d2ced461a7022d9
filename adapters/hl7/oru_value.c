// SPDX-License-Identifier: Apache-2.0
// Values and units of OBX-5 and OBX-6. Any thread.
#include "adapters/hl7/oru_impl.h"

#include "gateway/bytes.h"

#include <stdlib.h>

#define DIMLESS 262656 // MDC_DIM_DIMLESS

void
gw_hl7_put_code(struct gw_hl7_out *out, uint32_t code, const char *refid)
{
	gw_hl7_put_number(out, code);
	gw_hl7_put(out, "^");
	gw_hl7_put(out, refid != NULL ? refid : "");
	gw_hl7_put(out, "^MDC");
}

// MDC first, UCUM second; UCUM alone where IEEE 11073-10101 has no code for it.
void
gw_hl7_put_unit(struct gw_hl7_out *out, const struct gw_unit *unit)
{
	if (unit->code != 0) {
		gw_hl7_put_code(out, unit->code, unit->refid);
		gw_hl7_put(out, "^");
	}
	gw_hl7_put_text(out, gw_span_text(unit->ucum));
	gw_hl7_put(out, "^");
	gw_hl7_put_text(out, gw_span_text(unit->ucum));
	gw_hl7_put(out, "^UCUM");
}

// ---- What was said, or what it means ----

static bool
means(const struct gw_reading *reading, struct gw_decimal value, const struct gw_unit *unit)
{
	const struct gw_signal *signal = gw_signal_by_code(reading->signal);
	struct gw_conversion conversion;
	struct gw_decimal converted;

	return signal != NULL && signal->unit != NULL && signal->unit->code == reading->unit && gw_conversion_for(signal, unit, &conversion) == GW_OK &&
	    gw_conversion_apply(&conversion, value, &converted) == GW_OK && gw_decimal_compare(converted, reading->decimal) == 0;
}

void
gw_hl7_said(const struct gw_hl7_settings *settings, const struct gw_reading *reading, struct gw_hl7_said *said)
{
	const struct gw_unit *unit = gw_unit_by_code(reading->unit != 0 ? reading->unit : DIMLESS), *from = unit;
	struct gw_decimal value;
	bool number = reading->received.len > 0 && gw_decimal_parse(reading->received, &value), same;

	*said = (struct gw_hl7_said){ .value = reading->decimal, .unit = unit };
	if (reading->unit_received.len > 0)
		from = gw_unit_by_ucum(reading->unit_received);
	same = number && from == unit && gw_decimal_compare(value, reading->decimal) == 0;
	if (settings->values == GW_HL7_AS_RECEIVED && (same || (number && from != NULL && from != unit && means(reading, value, from)))) {
		said->value = value;
		said->unit = from;
		return;
	}
	if (settings->values == GW_HL7_CANONICAL)
		said->value = gw_hl7_round(reading->decimal, settings->decimals);
	said->note = number && (from != unit || gw_decimal_compare(value, said->value) != 0);
}

struct gw_decimal
gw_hl7_round(struct gw_decimal value, int decimals)
{
	int drop = decimals >= 0 ? -decimals - value.exponent : 0;
	int64_t divisor = 1, rest, quotient;

	if (drop <= 0)
		return value;
	if (drop > 18) // 10^19 is more than twice the largest mantissa there is
		return (struct gw_decimal){ 0, (int16_t)-decimals };
	for (int i = 0; i < drop; i++)
		divisor *= 10;
	quotient = value.mantissa / divisor;
	rest = value.mantissa % divisor;
	rest = rest < 0 ? -rest : rest;
	if (rest > divisor - rest || (rest == divisor - rest && quotient % 2 != 0))
		quotient += value.mantissa < 0 ? -1 : 1;
	return (struct gw_decimal){ quotient, (int16_t)-decimals };
}

// ---- Waveforms ----

static int32_t
sample_at(const struct gw_samples *samples, uint32_t i)
{
	return (int32_t)gw_get32(samples->at + 4 * (size_t)i);
}

void
gw_hl7_put_samples(struct gw_hl7_out *out, const struct gw_samples *samples)
{
	char digits[48];

	for (uint32_t i = 0; i < samples->count; i++) {
		int32_t sample = sample_at(samples, i);

		if (i > 0)
			gw_hl7_put(out, "^");
		if (sample == GW_SAMPLE_MISSING)
			gw_hl7_put(out, GW_HL7_SENTINEL);
		else
			gw_hl7_put_bytes(out, gw_span(digits, gw_decimal_text((struct gw_decimal){ sample, samples->exponent }, digits)));
	}
}

struct gw_hl7_range
gw_hl7_range_of(const struct gw_samples *samples)
{
	struct gw_hl7_range range = { .low = INT32_MAX, .high = INT32_MIN };

	for (uint32_t i = 0; i < samples->count; i++) {
		int32_t sample = sample_at(samples, i);

		if (sample == GW_SAMPLE_MISSING) {
			range.missing = true;
			continue;
		}
		range.any = true;
		range.low = sample < range.low ? sample : range.low;
		range.high = sample > range.high ? sample : range.high;
	}
	return range;
}

struct gw_decimal
gw_hl7_rate_of(const struct gw_samples *samples)
{
	struct gw_decimal rate = { 0, 0 };

	if (samples->period_ns <= 0)
		return rate;
	rate.mantissa = (INT64_C(1000000000000000) + samples->period_ns / 2) / samples->period_ns;
	for (rate.exponent = -6; rate.exponent < 0 && rate.mantissa % 10 == 0; rate.exponent++)
		rate.mantissa /= 10;
	return rate;
}
