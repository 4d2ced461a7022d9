// SPDX-License-Identifier: Apache-2.0
// A CA, a server's and a client's certificate (ECDSA P-256), made when the tests start.
#include <stdio.h>

#include <mbedtls/asn1write.h>
#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/sha256.h>
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

// RFC 5280 section 5.1, written backwards as Mbed TLS writes ASN.1.
static void wrap(unsigned char **p, unsigned char *start, const unsigned char *end)
{
	(void)mbedtls_asn1_write_len(p, start, (size_t)(end - *p));
	assert_true(mbedtls_asn1_write_tag(p, start, MBEDTLS_ASN1_SEQUENCE | MBEDTLS_ASN1_CONSTRUCTED) > 0);
}

static void write_algorithm(unsigned char **p, unsigned char *start)
{
	const unsigned char *end = *p;
	assert_true(mbedtls_asn1_write_oid(p, start, MBEDTLS_OID_ECDSA_SHA256, sizeof(MBEDTLS_OID_ECDSA_SHA256) - 1) > 0);
	wrap(p, start, end);
}

static void write_time(unsigned char **p, unsigned char *start, const char *utc)
{
	assert_true(mbedtls_asn1_write_tagged_string(p, start, MBEDTLS_ASN1_UTC_TIME, utc, strlen(utc)) > 0);
}

// What is signed: the client's serial number in a list that is good until 2049.
static void write_list(unsigned char **p, unsigned char *start, const mbedtls_x509_crt *ca)
{
	const unsigned char *end = *p;
	write_time(p, start, "200101000000Z");
	assert_true(mbedtls_asn1_write_int(p, start, CERT_CLIENT + 1) > 0);
	wrap(p, start, end); // one entry
	wrap(p, start, end); // of all
	write_time(p, start, "491231235959Z");
	write_time(p, start, "200101000000Z");
	assert_true(mbedtls_asn1_write_raw_buffer(p, start, ca->subject_raw.p, ca->subject_raw.len) > 0);
	write_algorithm(p, start);
	assert_true(mbedtls_asn1_write_int(p, start, 1) > 0); // version 2
	wrap(p, start, end);
}

size_t crl_of_client(uint8_t der[DATAGRAM])
{
	unsigned char list[1024], *at = list + sizeof(list), *p = der + DATAGRAM;
	unsigned char hash[32], signature[MBEDTLS_PK_SIGNATURE_MAX_SIZE];
	mbedtls_x509_crt ca;
	mbedtls_pk_context pk;
	size_t len;
	mbedtls_x509_crt_init(&ca);
	mbedtls_pk_init(&pk);
	assert_int_equal(mbedtls_x509_crt_parse(&ca, (const unsigned char *)cert[CERT_CA], strlen(cert[CERT_CA]) + 1), 0);
	assert_int_equal(mbedtls_pk_parse_key(&pk, (const unsigned char *)key[CERT_CA], strlen(key[CERT_CA]) + 1, NULL, 0,
		random_bytes, NULL), 0);
	write_list(&at, list, &ca);
	assert_int_equal(mbedtls_sha256(at, (size_t)(list + sizeof(list) - at), hash, 0), 0);
	assert_int_equal(mbedtls_pk_sign(&pk, MBEDTLS_MD_SHA256, hash, sizeof(hash), signature, sizeof(signature), &len,
		random_bytes, NULL), 0);
	assert_true(mbedtls_asn1_write_bitstring(&p, der, signature, len * 8) > 0);
	write_algorithm(&p, der);
	assert_true(mbedtls_asn1_write_raw_buffer(&p, der, at, (size_t)(list + sizeof(list) - at)) > 0);
	wrap(&p, der, der + DATAGRAM);
	len = (size_t)(der + DATAGRAM - p);
	memmove(der, p, len);
	mbedtls_pk_free(&pk);
	mbedtls_x509_crt_free(&ca);
	return len;
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
