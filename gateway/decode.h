// SPDX-License-Identifier: Apache-2.0
// decode and normalise: bytes of a frame to readings. Pure: no I/O, no clock, no allocation beyond the scratch; any thread with its own scratch.
// Golden tests, fuzzers and the gateway call the same function.
#ifndef GW_DECODE_H
#define GW_DECODE_H

#include "gateway/error.h"
#include "gateway/profile.h"
#include "gateway/reading.h"
#include "gateway/record.h"

// Payload formats by CoAP Content-Format number (RFC 7252 section 12.3, RFC 8428 section 12.3).
enum { GW_CF_TEXT = 0, GW_CF_JSON = 50, GW_CF_CBOR = 60, GW_CF_SENML_JSON = 110, GW_CF_SENML_CBOR = 112, GW_CF_OCTETS = 42 };
#define GW_CF_NONE UINT32_MAX // not told: the profile's format decides, SenML JSON and CBOR are told apart by the first byte

// Everything that decoding may look at.
struct gw_decode_input {
	const struct gw_match *match;
	struct gw_span payload;
	uint32_t content_format;
	int64_t received_us;  // resolves relative times, tells the doubled hour of autumn apart; time of readings without one
	bool test;            // mark readings GW_FLAG_TEST
};

// Memory for one frame's readings, reused from frame to frame by one thread.
struct gw_decode_scratch;
struct gw_decode_scratch *gw_decode_scratch_new(void); // NULL: out of memory
void gw_decode_scratch_free(struct gw_decode_scratch *scratch);

// One decoded reading and the device it is of: empty where the frame itself names the device (route or principal).
struct gw_decoded {
	struct gw_reading reading;
	struct gw_span device;
};

struct gw_decode_output {
	const struct gw_decoded *readings; // in the scratch; spans into payload or scratch: valid until the next decode
	size_t count;
	// Fields that could not be understood while others were taken: the frame belongs to quarantine as well.
	enum gw_error partial;
	struct gw_why partial_why;
};

// GW_OK with count >= 1, or the reason why nothing can be taken of it (why says what, where: a field's name or a byte offset).
enum gw_error gw_decode(struct gw_decode_scratch *scratch, const struct gw_decode_input *in, struct gw_decode_output *out, struct gw_why *why);

// What a stranger called something, for words to people: ASCII that prints, else '?'; "..." behind what is too long. Returns out.
char *gw_printable(struct gw_span text, char out[64]);

// encode: the same in the other direction, for GET answers and `vitalgate readings --format senml`. SenML JSON (RFC 8428 section 5); returns the bytes
// that it needs, writes only if cap suffices. Base name is the device id.
size_t gw_senml_encode(struct gw_span device, const struct gw_reading *readings, size_t count, char *out, size_t cap);
// The document on the bus, schemas/bus-reading.schema.json.
size_t gw_bus_encode(uint64_t incarnation, const struct gw_batch_head *head, const struct gw_reading *reading, char *out, size_t cap);
// What a table shows of a reading, without what only programs ask for: members by the same names, in the table's order, each behind a comma.
size_t gw_row_encode(const struct gw_batch_head *head, const struct gw_reading *reading, char *out, size_t cap);
// "vitals/<device>/<signal>" with device and signal escaped for topics (+, #, /, % and control characters as %XX). Returns its length, 0 where cap is short.
size_t gw_bus_topic(const char *prefix, struct gw_span device, const struct gw_reading *reading, char *out, size_t cap);

#endif
