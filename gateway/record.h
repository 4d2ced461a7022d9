// SPDX-License-Identifier: Apache-2.0
// Journal records: bytes on disk and their meaning. Pure functions: no I/O, no clock; any thread.
// The format is documented byte by byte in schemas/journal-format.md; records are typed and versioned, and carry a CRC-32C.
#ifndef GW_RECORD_H
#define GW_RECORD_H

#include "gateway/error.h"
#include "gateway/peer.h"
#include "gateway/reading.h"

#include <stdint.h>

// Numbers are on disk. Readers skip types that they do not know.
enum gw_record_type {
	GW_RECORD_READINGS = 1,
	GW_RECORD_DEVICE_EVENT = 2, // will, refused claim, credential refused, gap of an outlet...
	GW_RECORD_ASSOCIATION = 3,  // reserved for associations of device, bed and patient
	GW_RECORD_CORRECTION = 4,   // reserved
	GW_RECORD_ERASURE = 5,      // readings were erased: of which devices and times; see struct gw_erasure_note
	GW_RECORD_COMMAND = 6,      // a person's command that changed something: who, what, when
};

// The way by which something came in. On disk.
enum gw_door { GW_DOOR_NONE = 0, GW_DOOR_MQTT = 1, GW_DOOR_COAP = 2, GW_DOOR_LEGACY = 3, GW_DOOR_UPSTREAM = 4, GW_DOOR_HL7 = 5, GW_DOOR_COMMAND = 6 };

// How the principal proved who it is. On disk.
enum gw_auth { GW_AUTH_NONE = 0, GW_AUTH_CERTIFICATE = 1, GW_AUTH_PSK = 2, GW_AUTH_PASSWORD = 3 };

// What was spoken on the way. On disk.
enum gw_protocol { GW_PROTOCOL_NONE = 0, GW_PROTOCOL_MQTTS = 1, GW_PROTOCOL_COAPS = 2, GW_PROTOCOL_COAP = 3, GW_PROTOCOL_MLLP = 4, GW_PROTOCOL_MLLPS = 5,
	GW_PROTOCOL_UNIX = 6 };

// Why somebody was refused: gateway/refused.def. On disk.
enum gw_refused {
	GW_REFUSED_NONE = 0,
#define REFUSED(number, name, word, words) GW_REFUSED_##name = number,
#include "gateway/refused.def"
#undef REFUSED
	GW_REFUSED_COUNT
};

const char *gw_door_name(enum gw_door door); // "mqtt", "coap"...
const char *gw_auth_name(enum gw_auth auth);
const char *gw_protocol_name(enum gw_protocol protocol); // "mqtts", "coaps"...; "" for none
const char *gw_refused_name(enum gw_refused reason);     // the stable word; "" for none
const char *gw_refused_words(enum gw_refused reason);    // for people

#define GW_ID_MAX 64     // bytes of a device's or principal's id
#define GW_ROUTE_MAX 255 // bytes of a topic or path that are kept
#define GW_RECORD_MAX (1u << 20)
#define GW_RECORD_READINGS_MAX 4096 // readings in one record

// What the readings of one frame of one device have in common.
struct gw_batch_head {
	int64_t received_us; // the hub's wall clock when the frame's last byte had come
	uint8_t door;        // enum gw_door
	uint8_t auth;        // enum gw_auth
	struct gw_span device;    // 1..GW_ID_MAX bytes, UTF-8
	struct gw_span principal; // 0..GW_ID_MAX
	struct gw_span route;     // 0..GW_ROUTE_MAX
	struct gw_span profile;   // 0..GW_ID_MAX
};

// A reading's key as the journal's duplicate check wants it: computed by the source's thread, so that the writer only
// compares numbers. See gateway/journal.h.
struct gw_key {
	uint64_t series;   // gw_series_hash()
	int64_t time_us;
	uint32_t sequence;
	uint32_t at;       // offset of the reading in the record
	uint16_t flags;    // enum gw_flag of the reading
};

// Hash of a name, of a series. Keyed by constants: they are on disk and never change. A collision costs one look-up, never a reading.
uint64_t gw_name_hash(struct gw_span name);
uint64_t gw_series_hash(uint64_t device_hash, uint32_t signal, uint16_t instance);

uint32_t gw_crc32c(uint32_t crc, const void *at, size_t len);

// Encodes one record of readings (all of one device) to out, and their keys. keys holds count entries.
// *len is the record's length. GW_E_TOO_LARGE where cap or a limit above is passed. Received texts that equal the canonical
// rendering are not stored twice.
enum gw_error gw_record_readings(const struct gw_batch_head *head, const struct gw_reading *readings, size_t count,
    uint8_t *out, size_t cap, size_t *len, struct gw_key *keys);

enum gw_event_code {
	GW_EVENT_WILL = 1,
	GW_EVENT_REFUSED_CLAIM = 2,      // a principal claimed a device that is not its own
	GW_EVENT_REFUSED_CREDENTIAL = 3,
	GW_EVENT_GAP = 4,                // an outlet left something out, and which
	GW_EVENT_OUTLET = 5,             // suspended, resumed, rewound
	GW_EVENT_STORE = 6,              // full, resumed
	GW_EVENT_DEVICE = 7,             // whatever else a device says of itself
	GW_EVENT_UNUSED = 8,             // a message of a hospital system that needed nothing, or whose control id came before
	GW_EVENT_REFUSED_MORE = 9,       // so many more were refused, beyond what is put on record one by one
};
const char *gw_event_name(enum gw_event_code code);

#define GW_CLAIMED_MAX 128 // bytes of an identity that was claimed

// GW_RECORD_DEVICE_EVENT or GW_RECORD_COMMAND: text is UTF-8, for people; data whatever bytes belong to it (a will's payload). A device event that has any of the
// last fields is a record of version 2.
struct gw_event {
	int64_t received_us;
	uint8_t door, auth;
	uint16_t code; // enum gw_event_code; 0 for a command
	struct gw_span device, principal, route; // the principal was proved
	struct gw_span text, data;
	uint8_t protocol;       // enum gw_protocol
	uint16_t reason;        // enum gw_refused
	uint32_t more;          // so many, of GW_EVENT_REFUSED_MORE
	struct gw_peer peer;
	struct gw_span claimed; // who it said it was, printable; not proved. 0..GW_CLAIMED_MAX
};
enum gw_error gw_record_event(enum gw_record_type type, const struct gw_event *event, uint8_t *out, size_t cap, size_t *len);

// A record as it lies in the journal or in a buffer.
struct gw_record {
	uint64_t position;   // its place in the journal, from 1
	uint8_t type;        // enum gw_record_type, or one that is not known
	uint8_t version;
	int64_t received_us;
	struct gw_span bytes; // the whole record, header included
};

// Checks header, length and CRC. GW_E_CORRUPT with words where they do not fit.
enum gw_error gw_record_open(uint64_t position, struct gw_span bytes, struct gw_record *record, struct gw_why *why);

// Walks the readings of a GW_RECORD_READINGS record.
struct gw_batch {
	struct gw_batch_head head;
	uint16_t count; // readings in all
	uint16_t done;  // readings given so far
	struct gw_span bytes;
	size_t at;
	char text[64];  // renders `received` where it was not stored; valid until the next gw_batch_next()
	bool bad;
};
enum gw_error gw_batch_open(const struct gw_record *record, struct gw_batch *batch, struct gw_why *why);
// false at the end, and on damage (batch->bad). Spans live as long as the record's bytes, `received` until the next call.
bool gw_batch_next(struct gw_batch *batch, struct gw_reading *reading);

enum gw_error gw_event_open(const struct gw_record *record, struct gw_event *event, struct gw_why *why);

// A copy of a record of readings in which those at `places` (from 0, rising) are erased: flags, type and lengths say so, value and texts are gone, the key
// stays. out holds as many bytes as the record has; returns the new length, never greater. 0: the record cannot be read. *erased counts those that were not
// erased before; where it is 0 the copy equals the record.
size_t gw_record_erase(const struct gw_record *record, const uint16_t *places, size_t count, uint8_t *out, size_t *erased);

// GW_RECORD_ERASURE, version 1: which readings were taken away for good, so that copies of the store elsewhere (a backup that is restored) can be told. Names no
// patient.
struct gw_erased_range {
	struct gw_span device;
	int64_t from_us, to_us; // when they were measured, by the hub's clock: [from, to)
};
struct gw_erasure_note {
	int64_t received_us;
	uint64_t erasure;       // its number
	uint64_t readings;      // so many, in the journal and the series
	struct gw_erased_range *ranges;
	size_t count;           // to read: room in ranges; then how many there are
};
#define GW_ERASED_RANGES_MAX 1024 // of one record
enum gw_error gw_erasure_note_encode(const struct gw_erasure_note *note, uint8_t *out, size_t cap, size_t *len);
enum gw_error gw_erasure_note_open(const struct gw_record *record, struct gw_erasure_note *note, struct gw_why *why);

// The reading at offset `at` of a record becomes revision n of its key: patches flags, revision and the CRC in place.
void gw_record_set_revision(uint8_t *record, size_t len, uint32_t at, uint16_t revision);
// Same value, unit and state as far as "once" is concerned (design, promise 2).
bool gw_reading_same_value(const struct gw_reading *a, const struct gw_reading *b);

// The decimal's digits as they would be received: "7.50", "-3", "1200". Exponents above 0 give zeros. Returns the length.
size_t gw_decimal_text(struct gw_decimal value, char out[48]);

#endif
