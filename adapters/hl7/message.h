// SPDX-License-Identifier: Apache-2.0
// Reading HL7 v2.2 to 2.8 (chapter 2): one pass over the bytes builds an index of segments and fields; repetitions, components and subcomponents are cut
// where they are asked for. Pure: no I/O, no clock. A struct gw_hl7_in belongs to one thread and is used for message after message; its memory grows to
// what the limits allow (about 4.5 MiB) and stays.
//
// Tolerant: separators and escape character are the message's own (MSH-1, MSH-2 of any length); segments end in CR, CR LF, or (where MSH does) in LF;
// empty lines and white space before MSH are skipped; unknown segments, Z segments and what is no segment at all stand in the index and harm nobody.
// Text is UTF-8 after parsing, whatever MSH-18 says.
#ifndef GW_HL7_MESSAGE_H
#define GW_HL7_MESSAGE_H

#include "adapters/hl7/charset.h"

#define GW_HL7_IN_MAX (1u << 20)      // bytes of a message
#define GW_HL7_SEGMENTS_MAX 8192
#define GW_HL7_FIELDS_MAX 131072      // separators in all segments together
#define GW_HL7_TEXT_MAX (1u << 18)    // bytes that unescaping and gw_hl7_room() may take per message
#define GW_HL7_PATHS_MAX 6
#define GW_HL7_PATH_TEXT_MAX 32       // of a value in a path

#define GW_HL7_NAME(a, b, c) ((uint32_t)(a) << 16 | (uint32_t)(b) << 8 | (uint32_t)(c))
#define GW_HL7_SEGMENT(text) GW_HL7_NAME((text)[0], (text)[1], (text)[2])

struct gw_hl7_segment {
	uint32_t name;         // GW_HL7_SEGMENT("PID"); 0: the line does not begin like a segment
	uint32_t first, count; // fields: starts[first] to starts[first + count], the last being where a next one would begin
};

struct gw_hl7_in {
	struct gw_span message; // as UTF-8: the caller's bytes, or `converted`
	uint8_t field, component, repetition, escape, subcomponent, truncation; // 0: the message has none
	struct gw_hl7_segment *segments;
	uint32_t segment_count, segment_cap;
	uint32_t *starts, start_count, start_cap;
	const struct gw_hl7_charset *charset; // what it was read with
	bool charset_unknown;                 // MSH-18 names one that we do not know: read as the default
	uint32_t invalid;                     // bytes that were none of the set, now U+FFFD
	bool text_full;                       // GW_HL7_TEXT_MAX was reached: some text was given as it stood in the message
	struct gw_hl7_decoder decoder;
	uint8_t *converted, *text;
	size_t converted_cap, text_len;
};

// {0} is ready for use.
void gw_hl7_in_fini(struct gw_hl7_in *in);

// Reads a message (without its MLLP frame). Spans of all functions below point into it or into `in`, until the next message.
// fallback: the set where MSH-18 is empty or unknown; NULL: UTF-8 where the bytes are valid UTF-8, else 8859/1.
// GW_E_FORMAT with words: no MSH, MSH-2 unusable, a NUL byte, a second MSH. GW_E_TOO_LARGE: beyond a limit above. What was read up to there stands in
// the index, so that an error can be answered; segment_count is 0 where there is no MSH.
enum gw_error gw_hl7_parse(struct gw_hl7_in *in, struct gw_span message, const struct gw_hl7_charset *fallback, struct gw_why *why);

// ---- Raw: as it stands in the message ----

// Field n of segment i, with its repetitions; empty where it is not there. MSH-1 is the separator itself, MSH-2 the characters after it.
struct gw_span gw_hl7_field(const struct gw_hl7_in *in, size_t i, unsigned n);
// Repetition by repetition: *rest begins as a field; false at its end. An empty field has one empty repetition.
bool gw_hl7_next(const struct gw_hl7_in *in, struct gw_span *rest, struct gw_span *repetition);
// Component n of a repetition, subcomponent n of a component; n from 1. A value without separators is its own first.
struct gw_span gw_hl7_component(const struct gw_hl7_in *in, struct gw_span repetition, unsigned n);
struct gw_span gw_hl7_subcomponent(const struct gw_hl7_in *in, struct gw_span component, unsigned n);
// First segment of that name in [from, to); `to` where there is none.
size_t gw_hl7_find(const struct gw_hl7_in *in, uint32_t name, size_t from, size_t to);

// "" : to be deleted, which is not the same as empty (section 2.5.3).
static inline bool
gw_hl7_is_null(struct gw_span raw)
{
	return raw.len == 2 && raw.at[0] == '"' && raw.at[1] == '"';
}

// ---- Text ----

// Escape sequences resolved: \F\ \S\ \T\ \R\ \E\ \P\, \Xhh..\ (bytes of the message's set, or UTF-8), \.br\ and \.sp\ (a line feed); \H\ and \N\ are
// taken out. Others (\C..\, \M..\, \Z..\, \.xx\) and what is no sequence stay as they are. Without escape character in it: raw itself.
struct gw_span gw_hl7_text(struct gw_hl7_in *in, struct gw_span raw);
// Room in the same memory for what the caller composes; NULL and text_full where there is none.
uint8_t *gw_hl7_room(struct gw_hl7_in *in, size_t len);

// ---- Paths ----
//
//   PV1-19          the field's first repetition       PID-5.1      component       PID-5.1.2     subcomponent
//   PID-3[2]        its second repetition              PID-3(PI)    the repetition whose component 5 is PI (CX-5);  PID-3(4=KLINIK): any component
//   OBX(68487)-5.1  of the first OBX whose OBX-3.1 is 68487 (PRT: PRT-4.1; OBR: OBR-4.1; others: field 1);  OBX(11=F)-5.1, PRT(4.2=x)-10: any field
//
// A list "PID-3(PI), PID-3(MR), PID-3" means the first that has something.

struct gw_hl7_path {
	uint32_t segment;
	uint8_t key_field, key_component; // 0: any segment of that name
	uint8_t field, repetition, component, subcomponent; // 0: not told
	uint8_t select; // component by which the repetition is chosen; 0: none
	char key[GW_HL7_PATH_TEXT_MAX + 1], value[GW_HL7_PATH_TEXT_MAX + 1];
};

struct gw_hl7_paths {
	struct gw_hl7_path path[GW_HL7_PATHS_MAX];
	size_t count;
};

// For start-up: GW_E_CONFIG with words about what is wrong and where.
enum gw_error gw_hl7_path_parse(struct gw_span text, struct gw_hl7_path *path, struct gw_why *why);
// Commas or blanks between. Empty text: no path.
enum gw_error gw_hl7_paths_parse(struct gw_span text, struct gw_hl7_paths *paths, struct gw_why *why);
// "PV1-3" and the like, for an error's words.
const char *gw_hl7_path_text(const struct gw_hl7_path *path, char out[32]);

// Segments that a path is looked for in: [from, to) first (an order's group), then [0, head) (what stands before all groups).
struct gw_hl7_scope {
	size_t from, to, head;
};
struct gw_hl7_scope gw_hl7_whole(const struct gw_hl7_in *in);

// The segment that a path means in a scope; segment_count where there is none.
size_t gw_hl7_path_segment(const struct gw_hl7_in *in, const struct gw_hl7_path *path, struct gw_hl7_scope scope);
// Whether a repetition is one that the path takes.
bool gw_hl7_path_takes(const struct gw_hl7_in *in, const struct gw_hl7_path *path, struct gw_span repetition, unsigned number);
// Raw: a path's repetition, component or subcomponent as the path says.
struct gw_span gw_hl7_get(const struct gw_hl7_in *in, const struct gw_hl7_path *path, struct gw_hl7_scope scope);
// Of a list the first that is not empty; *which (NULL: nobody asks) is its path, or NULL.
struct gw_span gw_hl7_first(const struct gw_hl7_in *in, const struct gw_hl7_paths *paths, struct gw_hl7_scope scope, const struct gw_hl7_path **which);

// ---- What is wrong with a message, as ERR says it ----

struct gw_hl7_fault {
	unsigned code;   // table 0357: 101, 204...
	bool reject;     // AR instead of AE: the message itself cannot be dealt with here (200 to 203, 207), not something in it
	char segment[4]; // "PID"; empty: of no segment
	unsigned sequence, field, component; // which PID, from 1; 0: not told
	struct gw_why why; // for people; never a patient's data
};

#endif
