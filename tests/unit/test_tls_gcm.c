// SPDX-License-Identifier: Apache-2.0
// AES-GCM as TLS uses it, whatever code the library has for this processor: whole messages against the same block by block and in odd pieces, in place,
// with counters that wrap, and against libsodium's implementation. A record that was touched is refused.
#include "gateway/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include <mbedtls/gcm.h>
#include <sodium.h>

enum { LENGTH_MAX = 640 };

struct message {
	mbedtls_gcm_context gcm;
	uint8_t key[32], iv[12], ad[20], plain[LENGTH_MAX], sealed[LENGTH_MAX], tag[16];
	size_t len, ad_len;
};

static void
make(struct message *m, unsigned key_bits, size_t len)
{
	randombytes_buf(m->key, sizeof(m->key));
	randombytes_buf(m->iv, sizeof(m->iv));
	randombytes_buf(m->ad, sizeof(m->ad));
	randombytes_buf(m->plain, sizeof(m->plain));
	m->len = len;
	m->ad_len = len % sizeof(m->ad);
	mbedtls_gcm_init(&m->gcm);
	assert_int_equal(mbedtls_gcm_setkey(&m->gcm, MBEDTLS_CIPHER_ID_AES, m->key, key_bits), 0);
	assert_int_equal(mbedtls_gcm_crypt_and_tag(&m->gcm, MBEDTLS_GCM_ENCRYPT, len, m->iv, sizeof(m->iv), m->ad, m->ad_len, m->plain, m->sealed,
	    sizeof(m->tag), m->tag), 0);
}

// The same in pieces of `piece` bytes, 0 for pieces of any size: equal to what came out at once.
static void
check_pieces(struct message *m, size_t piece)
{
	uint8_t sealed[LENGTH_MAX], tag[16];
	size_t at = 0, done;

	assert_int_equal(mbedtls_gcm_starts(&m->gcm, MBEDTLS_GCM_ENCRYPT, m->iv, sizeof(m->iv)), 0);
	if (m->ad_len > 0)
		assert_int_equal(mbedtls_gcm_update_ad(&m->gcm, m->ad, m->ad_len), 0);
	while (at < m->len) {
		size_t len = piece != 0 ? piece : 1 + randombytes_uniform(200);

		if (len > m->len - at)
			len = m->len - at;
		assert_int_equal(mbedtls_gcm_update(&m->gcm, m->plain + at, len, sealed + at, sizeof(sealed) - at, &done), 0);
		at += len;
	}
	assert_int_equal(mbedtls_gcm_finish(&m->gcm, NULL, 0, &done, tag, sizeof(tag)), 0);
	assert_memory_equal(tag, m->tag, sizeof(tag));
	if (m->len > 0)
		assert_memory_equal(sealed, m->sealed, m->len);
}

static int
unseal(struct message *m, const uint8_t *from, uint8_t *to)
{
	return mbedtls_gcm_auth_decrypt(&m->gcm, m->len, m->iv, sizeof(m->iv), m->ad, m->ad_len, m->tag, sizeof(m->tag), from, to);
}

static void
check_opening(struct message *m)
{
	uint8_t copy[LENGTH_MAX + 1];

	assert_int_equal(unseal(m, m->sealed, copy), 0);
	memcpy(copy, m->sealed, m->len);
	assert_int_equal(unseal(m, copy, copy), 0); // in place, as records are
	if (m->len == 0)
		return;
	assert_memory_equal(copy, m->plain, m->len);
	memcpy(copy, m->sealed, m->len);
	copy[randombytes_uniform((uint32_t)m->len)] ^= 1;
	assert_int_equal(unseal(m, copy, copy), MBEDTLS_ERR_GCM_AUTH_FAILED);
}

static void
test_lengths(void **state)
{
	struct message m;

	(void)state;
	for (unsigned key_bits = 128; key_bits <= 256; key_bits += 64) {
		for (size_t len = 0; len <= LENGTH_MAX; len++) {
			make(&m, key_bits, len);
			check_pieces(&m, 16);
			check_pieces(&m, 0);
			check_opening(&m);
			mbedtls_gcm_free(&m.gcm);
		}
	}
}

static void
test_against_sodium(void **state)
{
	uint8_t sealed[LENGTH_MAX + crypto_aead_aes256gcm_ABYTES];
	struct message m;

	(void)state;
	for (size_t len = 0; crypto_aead_aes256gcm_is_available() && len <= LENGTH_MAX; len++) {
		make(&m, 256, len);
		crypto_aead_aes256gcm_encrypt(sealed, NULL, m.plain, len, m.ad, m.ad_len, NULL, m.iv, m.key);
		if (len > 0)
			assert_memory_equal(sealed, m.sealed, len);
		assert_memory_equal(sealed + len, m.tag, sizeof(m.tag));
		mbedtls_gcm_free(&m.gcm);
	}
}

// An IV that is not 12 bytes starts the 32-bit counter anywhere: it wraps within a message for one IV in so many, and must not carry.
static void
test_counter_wraps(void **state)
{
	struct message m;
	uint8_t sealed[LENGTH_MAX], tag[16], again[LENGTH_MAX];
	size_t done;

	(void)state;
	make(&m, 128, LENGTH_MAX);
	assert_int_equal(mbedtls_gcm_starts(&m.gcm, MBEDTLS_GCM_ENCRYPT, m.iv, sizeof(m.iv)), 0);
	memset(m.gcm.MBEDTLS_PRIVATE(y) + 12, 0xFF, 4);
	assert_int_equal(mbedtls_gcm_update(&m.gcm, m.plain, LENGTH_MAX, sealed, sizeof(sealed), &done), 0);
	assert_int_equal(mbedtls_gcm_finish(&m.gcm, NULL, 0, &done, tag, sizeof(tag)), 0);
	assert_int_equal(mbedtls_gcm_starts(&m.gcm, MBEDTLS_GCM_ENCRYPT, m.iv, sizeof(m.iv)), 0);
	memset(m.gcm.MBEDTLS_PRIVATE(y) + 12, 0xFF, 4);
	for (size_t at = 0; at < LENGTH_MAX; at += 16)
		assert_int_equal(mbedtls_gcm_update(&m.gcm, m.plain + at, 16, again + at, 16, &done), 0);
	assert_memory_equal(sealed, again, LENGTH_MAX);
	mbedtls_gcm_free(&m.gcm);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_against_sodium),
		cmocka_unit_test(test_counter_wraps),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
