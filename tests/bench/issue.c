// SPDX-License-Identifier: Apache-2.0
// A client certificate for every connection, named like its device and signed on the spot with the
// test CA's key: thousands of devices with an identity of their own, without thousands of files.
// One key pair serves all of them.
#include <stdio.h>
#include <string.h>

#include <mbedtls/ecp.h>
#include <mbedtls/x509_crt.h>

#include "credentials.h"

bool
load_issuer_open(struct load_credentials *k, const struct load_options *o)
{
	if (mbedtls_pk_parse_keyfile(&k->issuer_key, o->ca_key, NULL, mbedtls_ctr_drbg_random,
	                             &k->random) != 0)
		return fprintf(stderr, "load: cannot read %s\n", o->ca_key), false;
	return mbedtls_pk_setup(&k->key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)) == 0 &&
	       mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(k->key),
	                           mbedtls_ctr_drbg_random, &k->random) == 0;
}

static bool
describe(mbedtls_x509write_cert *w, struct load_credentials *k, const char *issuer,
         const char *subject, unsigned number)
{
	uint8_t serial[5] = { 1, (uint8_t)(number >> 24), (uint8_t)(number >> 16),
	                      (uint8_t)(number >> 8), (uint8_t)number };
	char name[LOAD_NAME_MAX + 4];

	mbedtls_x509write_crt_set_version(w, MBEDTLS_X509_CRT_VERSION_3);
	mbedtls_x509write_crt_set_md_alg(w, MBEDTLS_MD_SHA256);
	mbedtls_x509write_crt_set_subject_key(w, &k->key);
	mbedtls_x509write_crt_set_issuer_key(w, &k->issuer_key);
	return (size_t)snprintf(name, sizeof name, "CN=%s", subject) < sizeof name &&
	       mbedtls_x509write_crt_set_subject_name(w, name) == 0 &&
	       mbedtls_x509write_crt_set_issuer_name(w, issuer) == 0 &&
	       mbedtls_x509write_crt_set_serial_raw(w, serial, sizeof serial) == 0 &&
	       mbedtls_x509write_crt_set_validity(w, "20240101000000", "20491231235959") == 0 &&
	       mbedtls_x509write_crt_set_basic_constraints(w, 0, -1) == 0;
}

bool
load_issue(struct load_credentials *k, const struct load_options *o, mbedtls_x509_crt *to,
           unsigned number)
{
	mbedtls_x509write_cert w;
	char issuer[256], device[LOAD_NAME_MAX];
	unsigned char der[1024];
	int size = -1;

	mbedtls_x509write_crt_init(&w);
	if (mbedtls_x509_dn_gets(issuer, sizeof issuer, &k->ca.subject) > 0 &&
	    load_pattern(device, sizeof device, o->device, number) &&
	    describe(&w, k, issuer, device, number))
		size = mbedtls_x509write_crt_der(&w, der, sizeof der, mbedtls_ctr_drbg_random, &k->random);
	mbedtls_x509write_crt_free(&w);
	// The certificate is written at the end of the buffer.
	return size > 0 && mbedtls_x509_crt_parse_der(to, der + sizeof der - (size_t)size,
	                                              (size_t)size) == 0;
}
