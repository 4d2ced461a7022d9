// SPDX-License-Identifier: Apache-2.0
// A reading: one value of one signal at one time. Flat and copyable; spans point into the frame or record that it came
// from and are borrowed with it.
#ifndef GW_READING_H
#define GW_READING_H

#include "gateway/span.h"

#include <stdbool.h>
#include <stdint.h>

// mantissa * 10^exponent; "7.50" is {750, -2}: the digits after the point are part of the value.
struct gw_decimal {
	int64_t mantissa;
	int16_t exponent;
};

// Numbers below are on disk (schemas/journal-format.md): never renumber, only add.
enum gw_value_type {
	GW_VALUE_NONE = 0,    // nothing to say, only flags (not available)
	GW_VALUE_DECIMAL = 1,
	GW_VALUE_CODE = 2,    // an enumeration's 32-bit MDC code (IEEE 11073-10101 CF_CODE10)
	GW_VALUE_TEXT = 3,    // UTF-8
	GW_VALUE_SAMPLES = 4, // a block of equally spaced samples that starts at the reading's time
};

enum gw_kind { GW_KIND_MEASUREMENT = 0, GW_KIND_SETTING = 1, GW_KIND_EVENT = 2 };

enum gw_flag {
	GW_FLAG_QUESTIONABLE = 1 << 0,   // outside the signal's plausible range, or said so by the device
	GW_FLAG_NOT_AVAILABLE = 1 << 1,  // a sentinel or null came instead of a value
	GW_FLAG_TEST = 1 << 2,           // of a device marked as simulated or commissioning, or so marked by the device
	GW_FLAG_NO_DEVICE_TIME = 1 << 3, // time_us is the receive time: the device gave none, or none that is absolute
	GW_FLAG_REVISION = 1 << 4,       // same key as an earlier reading with another value (revision > 0)
	GW_FLAG_INVALID = 1 << 5,        // the device itself says that the value is invalid
	GW_FLAG_ERASED = 1 << 6,         // by the journal: value and texts are gone, only the key is left; nobody shows it or sends it on
};

// Samples are scaled integers: value = sample * 10^exponent; GW_SAMPLE_MISSING marks a hole.
#define GW_SAMPLE_MISSING INT32_MIN
struct gw_samples {
	int64_t period_ns;
	uint32_t count;
	int16_t exponent;
	const uint8_t *at; // count little-endian int32, unaligned
};

struct gw_reading {
	// The key, with the device: (device, instance, signal, time_us, sequence).
	uint32_t signal;    // 32-bit MDC code
	uint16_t instance;  // 0 is the first, 1 the second...
	int64_t time_us;    // the device's absolute time as it said it, since 1970 UTC; see GW_FLAG_NO_DEVICE_TIME
	uint32_t sequence;  // separates readings of equal time, else 0
	uint16_t revision;  // set by the journal

	uint16_t flags;     // enum gw_flag
	uint8_t kind;       // enum gw_kind
	uint8_t type;       // enum gw_value_type
	uint32_t unit;      // canonical unit's MDC code (partition 4), 0 for none
	union {
		struct gw_decimal decimal; // in the canonical unit
		uint32_t code;
		struct gw_span text;
		struct gw_samples samples;
	};

	// What was said: the value's characters as they came (a JSON number's digits, a text), and the unit's. Empty where the
	// frame had none (a unit that the profile supplied). For CBOR numbers the shortest decimal that reads back equal.
	struct gw_span received;
	struct gw_span unit_received;
};

// Erased for good: the key is kept so that the same reading does not come back.
static inline bool
gw_reading_is_erased(const struct gw_reading *reading)
{
	return (reading->flags & GW_FLAG_ERASED) != 0;
}

// Identifier of a reading outside the hub: 26 characters of Crockford base32 over a 128-bit BLAKE2b of incarnation and key, and
// for a revision n a suffix ".n". Stable for ever; never from a position. out is terminated; returns its length.
#define GW_READING_ID_MAX 40
size_t gw_reading_id(uint64_t incarnation, struct gw_span device, const struct gw_reading *reading,
    char out[GW_READING_ID_MAX]);

#endif
