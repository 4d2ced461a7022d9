// SPDX-License-Identifier: Apache-2.0
// Certificates, keys and the TLS configuration. One configuration serves all connections, except
// where each has a PSK identity or a certificate of its own.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <psa/crypto.h>

#include "load.h"
#include "credentials.h"

static bool
hex_decode(const char *text, uint8_t *to, size_t room, size_t *size)
{
	size_t n = strcspn(text, "\r\n");

	if (n == 0 || n % 2 != 0 || n / 2 > room)
		return false;
	for (size_t i = 0; i < n / 2; i++) {
		unsigned byte;
		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			return false;
		to[i] = (uint8_t)byte;
	}
	*size = n / 2;
	return true;
}

static int
by_identity(const void *a, const void *b)
{
	return strcmp(((const struct load_psk *)a)->identity, ((const struct load_psk *)b)->identity);
}

static bool
psk_line(struct load_psk *to, char *line)
{
	char *comma = strchr(line, ',');

	if (comma == NULL || comma == line || comma - line >= LOAD_NAME_MAX)
		return false;
	memcpy(to->identity, line, (size_t)(comma - line));
	to->identity[comma - line] = 0;
	return hex_decode(comma + 1, to->key, sizeof to->key, &to->key_size);
}

static bool
psk_read(struct load_credentials *k, const char *path)
{
	char line[LOAD_NAME_MAX + 160];
	size_t room = 0;
	FILE *f = fopen(path, "r");

	if (f == NULL) {
		perror(path);
		return false;
	}
	while (fgets(line, sizeof line, f) != NULL) {
		if (k->psk_count == room) {
			room = room ? 2 * room : 1024;
			struct load_psk *grown = realloc(k->psk, room * sizeof *grown);
			if (grown == NULL)
				break;
			k->psk = grown;
		}
		if (psk_line(&k->psk[k->psk_count], line))
			k->psk_count++;
	}
	fclose(f);
	if (k->psk_count > 0)
		qsort(k->psk, k->psk_count, sizeof *k->psk, by_identity);
	return k->psk_count > 0;
}

static bool
version(const char *text, mbedtls_ssl_protocol_version *to)
{
	if (strcmp(text, "1.2") == 0)
		*to = MBEDTLS_SSL_VERSION_TLS1_2;
	else if (strcmp(text, "1.3") == 0)
		*to = MBEDTLS_SSL_VERSION_TLS1_3;
	else
		return false;
	return true;
}

static bool
versions(mbedtls_ssl_config *c, const struct load_options *o)
{
	mbedtls_ssl_protocol_version v;

	if (o->tls_min != NULL) {
		if (!version(o->tls_min, &v))
			return false;
		mbedtls_ssl_conf_min_tls_version(c, v);
	}
	if (o->tls_max != NULL) {
		if (!version(o->tls_max, &v))
			return false;
		mbedtls_ssl_conf_max_tls_version(c, v);
	}
	return true;
}

bool
load_credentials_configure(struct load_credentials *k, const struct load_options *o,
                           mbedtls_ssl_config *c)
{
	mbedtls_ssl_config_init(c);
	if (mbedtls_ssl_config_defaults(c, MBEDTLS_SSL_IS_CLIENT,
	        o->coap ? MBEDTLS_SSL_TRANSPORT_DATAGRAM : MBEDTLS_SSL_TRANSPORT_STREAM,
	        MBEDTLS_SSL_PRESET_DEFAULT) != 0)
		return false;
	mbedtls_ssl_conf_rng(c, mbedtls_ctr_drbg_random, &k->random);
	mbedtls_ssl_conf_authmode(c, o->ca ? MBEDTLS_SSL_VERIFY_REQUIRED : MBEDTLS_SSL_VERIFY_NONE);
	if (o->ca != NULL)
		mbedtls_ssl_conf_ca_chain(c, &k->ca, NULL);
	if (o->cert != NULL && mbedtls_ssl_conf_own_cert(c, &k->cert, &k->key) != 0)
		return false;
	if (k->suites[0] != 0)
		mbedtls_ssl_conf_ciphersuites(c, k->suites);
	if (o->cid && mbedtls_ssl_conf_cid(c, 0, MBEDTLS_SSL_UNEXPECTED_CID_IGNORE) != 0)
		return false;
	mbedtls_ssl_conf_handshake_timeout(c, 1000, 16000);
	return versions(c, o);
}

bool
load_credentials_psk(const struct load_credentials *k, const struct load_options *o,
                     mbedtls_ssl_config *c, unsigned number)
{
	struct load_psk want = { 0 }, *found = NULL;

	if (!load_pattern(want.identity, sizeof want.identity, o->psk_identity, number))
		return false;
	if (k->psk != NULL) {
		found = bsearch(&want, k->psk, k->psk_count, sizeof *k->psk, by_identity);
		if (found == NULL) {
			fprintf(stderr, "load: no key for identity %s\n", want.identity);
			return false;
		}
	}
	return mbedtls_ssl_conf_psk(c, found ? found->key : k->psk_one,
	                            found ? found->key_size : k->psk_one_size,
	                            (const unsigned char *)want.identity,
	                            strlen(want.identity)) == 0;
}

static bool
files(struct load_credentials *k, const struct load_options *o)
{
	if (o->ca != NULL && mbedtls_x509_crt_parse_file(&k->ca, o->ca) != 0)
		return fprintf(stderr, "load: cannot read %s\n", o->ca), false;
	if (o->cert != NULL && mbedtls_x509_crt_parse_file(&k->cert, o->cert) != 0)
		return fprintf(stderr, "load: cannot read %s\n", o->cert), false;
	if (o->key != NULL && mbedtls_pk_parse_keyfile(&k->key, o->key, NULL, mbedtls_ctr_drbg_random,
	                                               &k->random) != 0)
		return fprintf(stderr, "load: cannot read %s\n", o->key), false;
	if (o->psk_keys != NULL && !psk_read(k, o->psk_keys))
		return fprintf(stderr, "load: no keys in %s\n", o->psk_keys), false;
	if (o->ca_key != NULL && !load_issuer_open(k, o))
		return false;
	if (o->psk_key != NULL &&
	    !hex_decode(o->psk_key, k->psk_one, sizeof k->psk_one, &k->psk_one_size))
		return fprintf(stderr, "load: --psk-key is not hexadecimal\n"), false;
	return true;
}

bool
load_credentials_open(struct load_credentials *k, const struct load_options *o)
{
	memset(k, 0, sizeof *k);
	if (psa_crypto_init() != PSA_SUCCESS)
		return false;
	mbedtls_entropy_init(&k->entropy);
	mbedtls_ctr_drbg_init(&k->random);
	mbedtls_x509_crt_init(&k->ca);
	mbedtls_x509_crt_init(&k->cert);
	mbedtls_pk_init(&k->key);
	mbedtls_pk_init(&k->issuer_key);
	if (mbedtls_ctr_drbg_seed(&k->random, mbedtls_entropy_func, &k->entropy, NULL, 0) != 0)
		return false;
	if (o->suite != NULL && (k->suites[0] = mbedtls_ssl_get_ciphersuite_id(o->suite)) == 0)
		return fprintf(stderr, "load: unknown cipher suite %s\n", o->suite), false;
	return files(k, o) && load_credentials_configure(k, o, &k->shared);
}

void
load_credentials_close(struct load_credentials *k)
{
	mbedtls_ssl_config_free(&k->shared);
	mbedtls_pk_free(&k->issuer_key);
	mbedtls_pk_free(&k->key);
	mbedtls_x509_crt_free(&k->cert);
	mbedtls_x509_crt_free(&k->ca);
	mbedtls_ctr_drbg_free(&k->random);
	mbedtls_entropy_free(&k->entropy);
	free(k->psk);
	mbedtls_psa_crypto_free();
}
