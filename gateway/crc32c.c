// SPDX-License-Identifier: Apache-2.0
// CRC-32C (Castagnoli, RFC 3720 appendix B.4), with the processor's instruction where there is one. Any thread.
#include "gateway/record.h"

#include <endian.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static uint32_t table[256];

__attribute__((constructor)) static void
make_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
		table[i] = crc;
	}
}

static uint32_t
by_table(uint32_t crc, const uint8_t *at, size_t len)
{
	for (; len > 0; len--)
		crc = (crc >> 8) ^ table[(crc ^ *at++) & 0xFF];
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
by_processor(uint32_t crc, const uint8_t *at, size_t len)
{
	uint64_t wide = crc, word;

	for (; len >= 8; len -= 8, at += 8) {
		memcpy(&word, at, 8);
		wide = _mm_crc32_u64(wide, word);
	}
	crc = (uint32_t)wide;
	for (; len > 0; len--)
		crc = _mm_crc32_u8(crc, *at++);
	return crc;
}

static bool
have_processor(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
// An extension of ARMv8.0, part of ARMv8.1: asked for when running. In assembler, as compilers differ in when they offer the intrinsics.
static uint32_t
by_processor(uint32_t crc, const uint8_t *at, size_t len)
{
	uint64_t word;

	for (; len >= 8; len -= 8, at += 8) {
		memcpy(&word, at, 8);
		__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(le64toh(word)));
	}
	for (; len > 0; len--)
		__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*at++));
	return crc;
}

static bool processor_has_it;

__attribute__((constructor)) static void
ask_processor(void)
{
	processor_has_it = (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

static bool
have_processor(void)
{
	return processor_has_it;
}
#else
#define by_processor by_table
static bool
have_processor(void)
{
	return false;
}
#endif

uint32_t
gw_crc32c(uint32_t crc, const void *at, size_t len)
{
	return ~(have_processor() ? by_processor : by_table)(~crc, at, len);
}
