// SPDX-License-Identifier: Apache-2.0
// Offsets of what lies in a record (schemas/journal-format.md), for record*.c and the journal only. Little-endian.
#ifndef GW_RECORD_LAYOUT_H
#define GW_RECORD_LAYOUT_H

#include "gateway/bytes.h"
#include "gateway/record.h"

#define RECORD_VERSION 1
#define EVENT_VERSION 2 // of a device event that tells who was refused

// Head, the same for every type and version.
enum {
	RECORD_CRC = 0,      // u32 CRC-32C of all bytes after it
	RECORD_LEN = 4,      // u32 bytes in all
	RECORD_TYPE = 8,     // u8
	RECORD_VERSION_AT = 9, // u8
	RECORD_DOOR = 10,    // u8
	RECORD_AUTH = 11,    // u8
	RECORD_RECEIVED = 12, // i64 microseconds
	RECORD_HEAD = 20,

	// Readings, version 1
	BATCH_COUNT = 20,    // u16
	BATCH_LENS = 22,     // u8 each: device, principal, route, profile
	BATCH_TEXTS = 26,

	// Device event and command, version 1
	EVENT_CODE = 20,     // u16
	EVENT_LENS = 22,     // u8 each: device, principal, route
	EVENT_TEXT_LEN = 25, // u32
	EVENT_TEXTS = 29,

	// and device event, version 2
	EVENT_REASON = 29,   // u16
	EVENT_MORE = 31,     // u32
	EVENT_PROTOCOL = 35, // u8
	EVENT_PORT = 36,     // u16
	EVENT_PEER_LENS = 38, // u8 each: address, claimed identity
	EVENT_PEER_TEXTS = 40,

	// Erasure, version 1
	ERASURE_NUMBER = 20,   // u64
	ERASURE_READINGS = 28, // u64
	ERASURE_COUNT = 36,    // u16 ranges
	ERASURE_RANGES = 38,   // i64 from, i64 to, u8 length of the device, the device: each
};

// One reading, from its first byte.
enum {
	READING_SIZE = 0,       // u32, this field included
	READING_SIGNAL = 4,     // u32
	READING_TIME = 8,       // i64
	READING_SEQUENCE = 16,  // u32
	READING_UNIT = 20,      // u32
	READING_INSTANCE = 24,  // u16
	READING_REVISION = 26,  // u16
	READING_FLAGS = 28,     // u16
	READING_KIND = 30,      // u8
	READING_TYPE = 31,      // u8
	READING_RECEIVED = 32,  // u16: bytes of the value as received, or READING_CANONICAL
	READING_UNIT_LEN = 34,  // u8
	READING_VALUE = 35,
};
#define READING_CANONICAL 0xFFFF // received as the value renders: not stored twice

// Sets the CRC of a finished record.
void gw_record_seal(uint8_t *record, size_t len);

// Upper bound of what gw_record_readings needs.
size_t gw_record_readings_bound(const struct gw_batch_head *head, const struct gw_reading *readings, size_t count);

// The size of the reading at `at`, where all of it lies within `rest` bytes; else 0.
static inline uint32_t
reading_size(const uint8_t *at, size_t rest)
{
	uint32_t size = rest >= READING_VALUE ? gw_get32(at + READING_SIZE) : 0;
	return size >= READING_VALUE && size <= rest ? size : 0;
}

#endif
