// SPDX-License-Identifier: Apache-2.0
// A CA, a server's and a client's certificate (ECDSA P-256), made when the tests start.
#include <stdio.h>

#include <mbedtls/ecp.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>

#include "fixture.h"

static char cert[CERTS][2048], key[CERTS][2048];
static mbedtls_x509_crt client_cert;
static mbedtls_pk_context client_key;

const char *certs_pem(int which)
{
	return cert[which];
}

const char *keys_pem(int which)
{
	return key[which];
}

static void make_key(mbedtls_pk_context *pk, int which)
{
	mbedtls_pk_init(pk);
	assert_int_equal(mbedtls_pk_setup(pk, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)), 0);
	assert_int_equal(mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(*pk), random_bytes, NULL), 0);
	assert_int_equal(mbedtls_pk_write_key_pem(pk, (unsigned char *)key[which], sizeof(key[which])), 0);
}

static void make_cert(int which, mbedtls_pk_context *subject, mbedtls_pk_context *issuer)
{
	static const char *const names[CERTS] = { "CN=ca", "CN=server", "CN=device" };
	mbedtls_x509write_cert w;
	unsigned char serial = (unsigned char)(which + 1);
	mbedtls_x509write_crt_init(&w);
	mbedtls_x509write_crt_set_version(&w, MBEDTLS_X509_CRT_VERSION_3);
	mbedtls_x509write_crt_set_md_alg(&w, MBEDTLS_MD_SHA256);
	mbedtls_x509write_crt_set_subject_key(&w, subject);
	mbedtls_x509write_crt_set_issuer_key(&w, issuer);
	assert_int_equal(mbedtls_x509write_crt_set_subject_name(&w, names[which]), 0);
	assert_int_equal(mbedtls_x509write_crt_set_issuer_name(&w, names[CERT_CA]), 0);
	assert_int_equal(mbedtls_x509write_crt_set_serial_raw(&w, &serial, 1), 0);
	assert_int_equal(mbedtls_x509write_crt_set_validity(&w, "20200101000000", "20991231235959"), 0);
	assert_int_equal(mbedtls_x509write_crt_set_basic_constraints(&w, which == CERT_CA, -1), 0);
	assert_int_equal(mbedtls_x509write_crt_pem(&w, (unsigned char *)cert[which], sizeof(cert[which]), random_bytes,
		NULL), 0);
	mbedtls_x509write_crt_free(&w);
}

void certs_make(void)
{
	mbedtls_pk_context pk[CERTS];
	for (int i = 0; i < CERTS; i++) {
		make_key(&pk[i], i);
		make_cert(i, &pk[i], &pk[CERT_CA]);
	}
	for (int i = 0; i < CERTS; i++)
		mbedtls_pk_free(&pk[i]);
}

void peer_use_certificate(struct peer *p)
{
	mbedtls_x509_crt_free(&client_cert);
	mbedtls_pk_free(&client_key);
	mbedtls_x509_crt_init(&client_cert);
	mbedtls_pk_init(&client_key);
	assert_int_equal(mbedtls_x509_crt_parse(&client_cert, (const unsigned char *)cert[CERT_CLIENT],
		strlen(cert[CERT_CLIENT]) + 1), 0);
	assert_int_equal(mbedtls_pk_parse_key(&client_key, (const unsigned char *)key[CERT_CLIENT],
		strlen(key[CERT_CLIENT]) + 1, NULL, 0, random_bytes, NULL), 0);
	assert_int_equal(mbedtls_ssl_conf_own_cert(&p->conf, &client_cert, &client_key), 0);
}
