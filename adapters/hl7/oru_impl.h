// SPDX-License-Identifier: Apache-2.0
// Writing ORU^R01, shared by oru.c (the message), oru_value.c (values, units, waveforms) and oru_override.c. Any thread.
#ifndef GW_HL7_ORU_IMPL_H
#define GW_HL7_ORU_IMPL_H

#include "adapters/hl7/containment.h"
#include "adapters/hl7/oru.h"

// An item with its place: what the message is sorted by.
struct row {
	const struct gw_hl7_item *item;
	struct gw_hl7_place place;
	int64_t obr_us;      // NO_TIME: the interval's OBR
	bool waves;          // in an OBR of its own
	uint32_t occurrence; // OBX-4 must not repeat in one OBR: the second of its kind goes to the next
};

struct writer {
	const struct gw_hl7_oru *oru;
	const struct gw_hl7_settings *settings;
	const struct gw_hl7_group *group;
	struct gw_hl7_out *out;
	const struct gw_hl7_ids *ids;
	char eui64[17];
	unsigned obr, obx; // running numbers
	size_t start;      // of the segment under work
	struct gw_hl7_out scratch;
};

void gw_hl7_put_code(struct gw_hl7_out *out, uint32_t code, const char *refid); // code^REFID^MDC
void gw_hl7_put_unit(struct gw_hl7_out *out, const struct gw_unit *unit);

// What is written of a decimal.
struct gw_hl7_said {
	struct gw_decimal value;
	const struct gw_unit *unit; // NULL: not known
	bool note;                  // what was received is something else
};
void gw_hl7_said(const struct gw_hl7_settings *settings, const struct gw_reading *reading, struct gw_hl7_said *said);
// To `decimals` places at most, half to even.
struct gw_decimal gw_hl7_round(struct gw_decimal value, int decimals);

// OBX-5: samples as decimals of the reading's unit, what is missing as `sentinel`. Their range; false where all are missing.
#define GW_HL7_SENTINEL "-2147483648" // no sample is written so
void gw_hl7_put_samples(struct gw_hl7_out *out, const struct gw_samples *samples);
struct gw_hl7_range {
	int32_t low, high;
	bool any, missing; // any sample; any that is missing
};
struct gw_hl7_range gw_hl7_range_of(const struct gw_samples *samples);
// Samples per second, six places at most.
struct gw_decimal gw_hl7_rate_of(const struct gw_samples *samples);

// Applies the settings' constants to the segment that stands in out from `start` on, without its end.
void gw_hl7_override_apply(const struct gw_hl7_settings *settings, struct gw_hl7_out *out, size_t start, struct gw_hl7_out *scratch);

#endif
