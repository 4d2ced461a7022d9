// SPDX-License-Identifier: Apache-2.0
// What a certificate says: names, dates, and the sums by which devices pin it or its key. No state; any thread.
#include "adapters/pki/internal.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

static void
name_text(const X509_NAME *name, char *out, size_t cap)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *at;
	long len = bio != NULL && X509_NAME_print_ex(bio, name, 0, (XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB)) >= 0 ? BIO_get_mem_data(bio, &at) : 0;

	snprintf(out, cap, "%.*s", (int)len, len > 0 ? at : "");
	BIO_free(bio);
}

static void
common_name(const X509_NAME *name, char out[65])
{
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	const ASN1_STRING *value = at >= 0 ? X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)) : NULL;
	uint8_t *text = NULL;
	int len = value != NULL ? ASN1_STRING_to_UTF8(&text, value) : -1;

	out[0] = '\0';
	if (len >= 0 && len <= 64)
		snprintf(out, 65, "%.*s", len, (const char *)text);
	OPENSSL_free(text);
}

static size_t
put_name(const GENERAL_NAME *name, char *out, size_t cap)
{
	int type, len;
	const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
	const uint8_t *bytes;
	char text[INET6_ADDRSTRLEN];

	if (type != GEN_DNS && type != GEN_IPADD && type != GEN_EMAIL && type != GEN_URI)
		return 0;
	bytes = ASN1_STRING_get0_data(value);
	len = ASN1_STRING_length(value);
	if (type == GEN_IPADD) {
		if ((len != 4 && len != 16) || inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text)) == NULL)
			return 0;
		return (size_t)snprintf(out, cap, "IP:%s", text);
	}
	return (size_t)snprintf(out, cap, "%s:%.*s", type == GEN_DNS ? "DNS" : type == GEN_EMAIL ? "email" : "URI", len, (const char *)bytes);
}

static void
alternative_names(const X509 *certificate, char *out, size_t cap)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	size_t used = 0;

	out[0] = '\0';
	for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
		char one[300];
		size_t len = put_name(sk_GENERAL_NAME_value(names, i), one, sizeof(one));

		if (len == 0 || len >= sizeof(one) || used + len + 2 > cap)
			continue;
		used += (size_t)snprintf(out + used, cap - used, "%s%s", used > 0 ? "," : "", one);
	}
	GENERAL_NAMES_free(names);
}

static void
key_text(EVP_PKEY *key, char out[24])
{
	char group[64] = "";
	size_t len;

	if (key == NULL)
		snprintf(out, 24, "unknown");
	else if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1)
		snprintf(out, 24, "EC %.16s", strcmp(group, "prime256v1") == 0 ? "P-256" : strcmp(group, "secp384r1") == 0 ? "P-384" : group);
	else
		snprintf(out, 24, "%.14s %d", EVP_PKEY_get0_type_name(key) != NULL ? EVP_PKEY_get0_type_name(key) : "key", EVP_PKEY_get_bits(key));
}

static void
hex(const uint8_t *bytes, char out[65])
{
	for (size_t i = 0; i < 32; i++)
		snprintf(out + i * 2, 3, "%02x", bytes[i]);
}

static void
sums(X509 *certificate, struct gw_pki_info *info)
{
	uint8_t sum[EVP_MAX_MD_SIZE], *key = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);

	if (X509_digest(certificate, EVP_sha256(), sum, NULL) == 1)
		hex(sum, info->sha256);
	if (len > 0 && EVP_Digest(key, (size_t)len, sum, NULL, EVP_sha256(), NULL) == 1) {
		hex(sum, info->key_sha256);
		EVP_EncodeBlock((uint8_t *)info->key_pin, sum, 32);
	}
	OPENSSL_free(key);
}

void
gw_pki_info_of(X509 *certificate, struct gw_pki_info *info)
{
	*info = (struct gw_pki_info){ .from_us = gw_pki_us(X509_get0_notBefore(certificate)), .until_us = gw_pki_us(X509_get0_notAfter(certificate)),
		.authority = X509_check_ca(certificate) != 0 };
	name_text(X509_get_subject_name(certificate), info->subject, sizeof(info->subject));
	name_text(X509_get_issuer_name(certificate), info->issuer, sizeof(info->issuer));
	common_name(X509_get_subject_name(certificate), info->common_name);
	gw_pki_serial_text(X509_get0_serialNumber(certificate), info->serial);
	alternative_names(certificate, info->names, sizeof(info->names));
	key_text(X509_get0_pubkey(certificate), info->key);
	sums(certificate, info);
	ERR_clear_error();
}

enum gw_error
gw_pki_info(struct gw_span pem, size_t n, struct gw_pki_info *info, struct gw_why *why)
{
	X509 *certificate = gw_pki_x509(pem, n);

	if (certificate == NULL) {
		ERR_clear_error();
		return n > 0 ? GW_E_NOT_FOUND : gw_fail(why, GW_E_FORMAT, "no certificate in PEM");
	}
	gw_pki_info_of(certificate, info);
	X509_free(certificate);
	return GW_OK;
}
