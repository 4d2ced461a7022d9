// SPDX-License-Identifier: Apache-2.0
// Signals and units by IEEE 11073-10101 and UCUM, from schemas/nomenclature.csv and schemas/units.csv, which are built into the
// program. Read-only after gw_nomenclature_open(); any thread.
#ifndef GW_NOMENCLATURE_H
#define GW_NOMENCLATURE_H

#include "gateway/error.h"
#include "gateway/reading.h"

#include <stdbool.h>
#include <stdint.h>

// A unit of measurement. to canonical: (value * factor_num / factor_den) + offset_num / offset_den, exact rationals.
struct gw_unit {
	const char *ucum;   // "mm[Hg]", case-sensitive UCUM
	const char *refid;  // "MDC_DIM_MMHG"; empty for a few units that are only converted from ("Pa", "[ppm]")
	uint32_t code;      // 266016; 0 for those
	const char *dimension; // units convert only inside one
	int64_t factor_num, factor_den, offset_num, offset_den; // to the dimension's default unit
};

struct gw_signal {
	const char *name;   // "spo2": the name used in topics, commands and profiles
	const char *refid;  // "MDC_PULS_OXIM_SAT_O2"
	uint32_t code;      // 32-bit CF_CODE10: partition * 65536 + term; the signal's number on disk
	const struct gw_unit *unit; // canonical; NULL for enumerations and texts
	uint8_t kind;       // enum gw_kind (setting, measurement)
	bool spot;          // measured now and then, each time for itself (a cuff's pressure, a weight): episodic (IHE PCD TF-2, B.8)
	uint8_t type;       // enum gw_value_type that is usual
	bool ranged;        // plausible range, in the canonical unit: outside is kept and flagged questionable
	struct gw_decimal low, high;
	// Grams per mole where the amount of a substance (mmol/L) converts to its mass (mg/dL), as molar_num / molar_den; else 0.
	int64_t molar_num, molar_den;
	// Containment for HL7 (IEEE 11073-10101 device codes): VMD and channel that hold it.
	uint32_t vmd_code, channel_code;
	const char *vmd_refid, *channel_refid; // NULL with code 0 where none is known
};

enum gw_error gw_nomenclature_open(struct gw_why *why); // once, at start, and again without effect; checks the tables
const struct gw_signal *gw_signal_by_name(struct gw_span name);
const struct gw_signal *gw_signal_by_code(uint32_t code);
const struct gw_signal *gw_signal_at(size_t i); // NULL past the end: for lists
const struct gw_unit *gw_unit_by_ucum(struct gw_span ucum); // also the usual spellings of schemas/units.csv ("mmHg", "bpm", "C")
const struct gw_unit *gw_unit_by_code(uint32_t code);
// Of anything in the tables, also of codes that are no signals (an enumeration's value, a device's type, a unit); else NULL.
const char *gw_code_refid(uint32_t code);
uint32_t gw_code_by_refid(struct gw_span refid); // of signals and such codes; 0: unknown

// Converts exactly with 128-bit rationals; a result that is no finite decimal is rounded half to even, three digits finer than
// the value was given (at the result's size: one more for each power of ten by which it gets smaller). GW_E_FIELD where the dimensions differ or the number does not fit.
enum gw_error gw_unit_convert(struct gw_decimal value, const struct gw_unit *from, const struct gw_unit *to, struct gw_decimal *out);

// The same in two steps, for those who convert often. result = value * num / den * 10^shift + offset_num / offset_den.
struct gw_conversion {
	int64_t num, den, offset_num, offset_den;
	int16_t shift;
	int8_t finer; // digits that a result without end gets beyond those of the value
	bool same;    // nothing to do
};
enum gw_error gw_conversion_make(const struct gw_unit *from, const struct gw_unit *to, struct gw_conversion *conversion);
// To the canonical unit of a signal: also mmol/L to mg/dL where its molar mass is known.
enum gw_error gw_conversion_for(const struct gw_signal *signal, const struct gw_unit *from, struct gw_conversion *conversion);
enum gw_error gw_conversion_apply(const struct gw_conversion *conversion, struct gw_decimal value, struct gw_decimal *out);

// Decimal text (JSON number grammar; a leading '+', leading zeros, a bare ".5" or "5." and surrounding blanks allowed too) to mantissa and
// exponent, all digits kept: "7.50" -> {750, -2}, "1e3" -> {1, 3}. False where it is none, has more digits than int64 holds, or an exponent
// outside GW_EXPONENT_MIN..GW_EXPONENT_MAX (no vital sign needs one; every decimal then has a plain text).
#define GW_EXPONENT_MIN (-40)
#define GW_EXPONENT_MAX 20
bool gw_decimal_parse(struct gw_span text, struct gw_decimal *out);
int gw_decimal_compare(struct gw_decimal a, struct gw_decimal b);
// a + b exactly; false where it does not fit.
bool gw_decimal_add(struct gw_decimal a, struct gw_decimal b, struct gw_decimal *out);
// value * 10^6 (seconds to microseconds), rounded down; false where it does not fit.
bool gw_decimal_micros(struct gw_decimal value, int64_t *out);
// The shortest decimal text that reads back as the same binary number of 16, 32 or 64 bits. Returns its length, 0 for NaN and infinities.
size_t gw_decimal_from_float(double value, int bits, char out[32]);

#endif
