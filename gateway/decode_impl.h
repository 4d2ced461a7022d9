// SPDX-License-Identifier: Apache-2.0
// What the decoders of all formats share. For decode*.c only. One frame, one thread, no allocation but the scratch's buffers.
#ifndef GW_DECODE_IMPL_H
#define GW_DECODE_IMPL_H

#include "gateway/decode.h"
#include "gateway/profile_table.h"

#define GW_ARENA_BYTES (2u << 20) // resolved names, digits of binary numbers; only what is used is touched
#define GW_TEXT_VALUE_MAX 1024      // bytes of a text value
#define GW_NAME_TEXT_MAX 64          // bytes of a unit
#define GW_RULES_MAX 32768          // as many as a profile's table can hold
#define GW_UNIT_CACHE 64
#define GW_RELATIVE_S (1 << 28)     // RFC 8428 section 4.5.3: a smaller time is relative; used for every clock that starts at zero

struct gw_decode_scratch {
	struct gw_decoded *readings;
	uint8_t *arena;
	size_t arena_used;
	void *pool; // yyjson's memory
	size_t pool_cap;
	uint32_t *seen; // by rule: number of the frame that had it last
	uint32_t frame;
	struct {
		const struct gw_signal *signal;
		const struct gw_unit *unit;
		struct gw_conversion conversion;
	} units[GW_UNIT_CACHE];
};

// One frame being decoded.
struct gw_decoding {
	struct gw_decode_scratch *scratch;
	const struct gw_decode_input *in;
	const struct gw_profile *profile;
	size_t count;       // readings taken
	size_t refused;     // fields refused
	enum gw_error error; // of the first refused one
	struct gw_why why;   // and its words
	uint16_t flags;      // for every reading
};

// A value as a format's decoder found it.
enum gw_raw_type { GW_RAW_NUMBER, GW_RAW_TEXT, GW_RAW_BOOL, GW_RAW_NULL, GW_RAW_OTHER };
struct gw_raw {
	enum gw_raw_type type;
	struct gw_span text; // digits, text, "true", "null"
};

// decode_value.c. Normalises one value and adds its reading, or refuses the field. Returns the reading, or NULL. time_us and sequence are set to
// "no device time"; the caller knows better.
struct gw_reading *gw_take_value(struct gw_decoding *d, const struct gw_rule *rule, struct gw_span field, struct gw_raw raw, struct gw_span unit);
// A field that cannot be understood: the first one's words are kept. words must hold no value: they may reach diagnostics.
void gw_refuse(struct gw_decoding *d, struct gw_span field, const char *words);
// No more readings fit: the frame is refused as a whole. False so that callers can return it.
bool gw_has_room(const struct gw_decoding *d);
bool gw_utf8_valid(struct gw_span text);
// Room in the arena, or NULL.
uint8_t *gw_arena(struct gw_decoding *d, size_t len);

// decode_time.c. ISO 8601 date and time; without a zone of its own it is in `zone` (NULL: that is an error).
bool gw_iso_parse(struct gw_span text, const struct gw_zone *zone, int64_t near_us, int64_t *us);
// A frame's or record's time: 1 and *us; 0 where it is none that is absolute (null, or a clock that was never set); -1 where it cannot be understood.
int gw_time_value(const struct gw_decoding *d, struct gw_raw raw, int64_t *us);
#define GW_TIME_US_MAX (253402300799ll * 1000000) // end of the year 9999

// One file per format: GW_OK or why nothing can be taken at all; refused fields are counted in d.
enum gw_error gw_decode_json(struct gw_decoding *d, struct gw_why *why);
enum gw_error gw_decode_senml_json(struct gw_decoding *d, struct gw_why *why);
enum gw_error gw_decode_senml_cbor(struct gw_decoding *d, struct gw_why *why);
enum gw_error gw_decode_text(struct gw_decoding *d, struct gw_why *why);

// decode_json.c: parses the payload with numbers as text, in the scratch's memory.
struct yyjson_val;
struct yyjson_val *gw_json_root(struct gw_decoding *d, enum gw_error *error, struct gw_why *why);
struct gw_raw gw_json_raw(struct yyjson_val *value);

// ---- SenML (decode_senml.c): records of both representations ----

struct gw_senml_number {
	bool present, bad; // bad: no number, or one that does not fit
	struct gw_span text;
};

// One record as it came. Texts are empty where absent.
struct gw_senml_record {
	struct gw_span base_name, base_unit, name, unit;
	bool has_base_name, has_base_unit, has_name, has_unit;
	struct gw_senml_number base_time, time, base_value, base_sum, sum, base_version, update;
	struct gw_raw value;
	int values; // how many of v, vs, vb, vd
	bool data;  // vd
	bool wrong; // a base field, name or unit of a wrong type: what follows cannot be trusted
	struct gw_span must_understand; // a label that ends in "_"
};

// What goes on from record to record.
struct gw_senml_base {
	struct gw_span name, unit;
	struct gw_decimal time, value;
	bool has_value;
	size_t record; // number of the record, from 0
};

enum gw_senml_label { GW_SENML_OTHER, GW_SENML_BVER, GW_SENML_BN, GW_SENML_BT, GW_SENML_BU, GW_SENML_BV, GW_SENML_BS, GW_SENML_N, GW_SENML_U,
	GW_SENML_V, GW_SENML_VS, GW_SENML_VB, GW_SENML_VD, GW_SENML_S, GW_SENML_T, GW_SENML_UT };
enum gw_senml_label gw_senml_label(struct gw_span name);
// Puts one field into a record.
void gw_senml_field(struct gw_senml_record *record, enum gw_senml_label label, struct gw_span name, struct gw_raw raw);
// Resolves a record and takes its reading. Not GW_OK: the whole pack is refused.
enum gw_error gw_senml_record(struct gw_decoding *d, struct gw_senml_base *base, const struct gw_senml_record *record, struct gw_why *why);

#endif
