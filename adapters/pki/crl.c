// SPDX-License-Identifier: Apache-2.0
// Revocation lists (RFC 5280 section 5), version 2, with number and key identifier. No state; any thread.
#include "adapters/pki/internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

static bool
add_entry(X509_CRL *list, const struct gw_pki_revoked *revoked)
{
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_INTEGER *serial = gw_pki_serial_of(revoked->serial);
	ASN1_TIME *at = gw_pki_time(revoked->at_us);
	bool made = entry != NULL && serial != NULL && at != NULL && X509_REVOKED_set_serialNumber(entry, serial) == 1 &&
	    X509_REVOKED_set_revocationDate(entry, at) == 1;

	ASN1_INTEGER_free(serial);
	ASN1_TIME_free(at);
	if (made && X509_CRL_add0_revoked(list, entry) == 1)
		return true;
	X509_REVOKED_free(entry);
	return false;
}

static bool
set_head(X509_CRL *list, const struct gw_pki_ca *ca, const struct gw_pki_crl *crl)
{
	ASN1_TIME *from = gw_pki_time(crl->from_us), *until = gw_pki_time(crl->until_us);
	bool set = from != NULL && until != NULL && X509_CRL_set_version(list, X509_CRL_VERSION_2) == 1 &&
	    X509_CRL_set_issuer_name(list, X509_get_subject_name(ca->certificate)) == 1 && X509_CRL_set1_lastUpdate(list, from) == 1 &&
	    X509_CRL_set1_nextUpdate(list, until) == 1;

	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	return set;
}

static bool
add_extensions(X509_CRL *list, const struct gw_pki_ca *ca, int64_t number)
{
	ASN1_INTEGER *value = ASN1_INTEGER_new();
	X509_EXTENSION *extension = NULL;
	X509V3_CTX context;
	bool added = value != NULL && ASN1_INTEGER_set_int64(value, number) == 1 && X509_CRL_add1_ext_i2d(list, NID_crl_number, value, 0, 0) == 1;

	ASN1_INTEGER_free(value);
	if (!added || X509_get0_subject_key_id(ca->certificate) == NULL)
		return added;
	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, ca->certificate, NULL, NULL, list, 0);
	extension = X509V3_EXT_nconf_nid(NULL, &context, NID_authority_key_identifier, "keyid");
	added = extension != NULL && X509_CRL_add_ext(list, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return added;
}

enum gw_error
gw_pki_crl(const struct gw_pki_ca *ca, const struct gw_pki_crl *crl, struct gw_pki_text *pem, struct gw_why *why)
{
	X509_CRL *list = X509_CRL_new();
	BIO *bio = BIO_new(BIO_s_mem());
	bool made = list != NULL && bio != NULL && set_head(list, ca, crl);

	*pem = (struct gw_pki_text){ NULL, 0 };
	for (size_t i = 0; made && i < crl->count; i++)
		made = add_entry(list, &crl->revoked[i]);
	made = made && add_extensions(list, ca, crl->number) && X509_CRL_sort(list) == 1 && X509_CRL_sign(list, ca->key, EVP_sha256()) > 0 &&
	    PEM_write_bio_X509_CRL(bio, list) == 1;
	X509_CRL_free(list);
	if (made)
		return gw_pki_take_bio(bio, pem, why);
	BIO_free(bio);
	return gw_pki_failed(why, GW_E_SYSTEM, "no revocation list could be made");
}

// ---- Reading one ----

static struct gw_pki_crl *
copy_of(X509_CRL *list)
{
	STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(list);
	int count = entries != NULL ? sk_X509_REVOKED_num(entries) : 0;
	struct gw_pki_crl *crl = calloc(1, sizeof(*crl) + (size_t)count * sizeof(struct gw_pki_revoked));
	struct gw_pki_revoked *revoked = (struct gw_pki_revoked *)(crl + 1);
	ASN1_INTEGER *number;

	if (crl == NULL)
		return NULL;
	*crl = (struct gw_pki_crl){ .from_us = gw_pki_us(X509_CRL_get0_lastUpdate(list)), .until_us = gw_pki_us(X509_CRL_get0_nextUpdate(list)),
		.revoked = revoked, .count = (size_t)count };
	number = X509_CRL_get_ext_d2i(list, NID_crl_number, NULL, NULL);
	if (number != NULL && ASN1_INTEGER_get_int64(&crl->number, number) != 1)
		crl->number = 0;
	ASN1_INTEGER_free(number);
	for (int i = 0; i < count; i++) {
		const X509_REVOKED *entry = sk_X509_REVOKED_value(entries, i);

		gw_pki_serial_text(X509_REVOKED_get0_serialNumber(entry), revoked[i].serial);
		revoked[i].at_us = gw_pki_us(X509_REVOKED_get0_revocationDate(entry));
	}
	return crl;
}

enum gw_error
gw_pki_crl_read(const struct gw_pki_ca *ca, struct gw_span pem, struct gw_pki_crl **out, struct gw_why *why)
{
	BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
	X509_CRL *list = bio != NULL ? PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL) : NULL;
	enum gw_error error = GW_OK;

	*out = NULL;
	BIO_free(bio);
	if (list == NULL)
		error = gw_pki_failed(why, GW_E_FORMAT, "no revocation list in PEM");
	else if (X509_CRL_verify(list, X509_get0_pubkey(ca->certificate)) != 1)
		error = gw_pki_failed(why, GW_E_FORMAT, "the revocation list is another authority's");
	else if ((*out = copy_of(list)) == NULL)
		error = gw_fail(why, GW_E_MEMORY, "out of memory");
	X509_CRL_free(list);
	return error;
}
