// SPDX-License-Identifier: Apache-2.0
// Little-endian numbers at any address. Any thread.
#ifndef GW_BYTES_H
#define GW_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t
gw_get16(const uint8_t *at)
{
	uint16_t v;
	memcpy(&v, at, sizeof(v));
	return le16toh(v);
}

static inline uint32_t
gw_get32(const uint8_t *at)
{
	uint32_t v;
	memcpy(&v, at, sizeof(v));
	return le32toh(v);
}

static inline uint64_t
gw_get64(const uint8_t *at)
{
	uint64_t v;
	memcpy(&v, at, sizeof(v));
	return le64toh(v);
}

static inline void
gw_put16(uint8_t *at, uint16_t v)
{
	v = htole16(v);
	memcpy(at, &v, sizeof(v));
}

static inline void
gw_put32(uint8_t *at, uint32_t v)
{
	v = htole32(v);
	memcpy(at, &v, sizeof(v));
}

static inline void
gw_put64(uint8_t *at, uint64_t v)
{
	v = htole64(v);
	memcpy(at, &v, sizeof(v));
}

// Copies a span, which may be empty and then point nowhere; returns the place after it.
static inline uint8_t *
gw_put_bytes(uint8_t *at, const void *from, size_t len)
{
	if (len > 0)
		memcpy(at, from, len);
	return at + len;
}

#endif
