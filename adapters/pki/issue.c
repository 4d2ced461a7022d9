// SPDX-License-Identifier: Apache-2.0
// An authority, what it issues, and requests. Serial numbers are 127 random bits; signatures are ECDSA or RSA with SHA-256 (SHA-384 for P-384 keys).
// No state; any thread.
#include "adapters/pki/internal.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define RSA_BITS_MIN 2048

static const EVP_MD *
digest_for(const EVP_PKEY *key)
{
	return EVP_PKEY_get_bits(key) == 384 ? EVP_sha384() : EVP_sha256();
}

// ---- Parts of certificates and requests ----

static GENERAL_NAME *
name_of(const char *text)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	uint8_t bytes[16];
	int len = inet_pton(AF_INET, text, bytes) == 1 ? 4 : inet_pton(AF_INET6, text, bytes) == 1 ? 16 : 0;
	ASN1_STRING *value = ASN1_STRING_type_new(len > 0 ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);

	if (name == NULL || value == NULL || ASN1_STRING_set(value, len > 0 ? (const void *)bytes : text, len > 0 ? len : (int)strlen(text)) != 1) {
		GENERAL_NAME_free(name);
		ASN1_STRING_free(value);
		return NULL;
	}
	GENERAL_NAME_set0_value(name, len > 0 ? GEN_IPADD : GEN_DNS, value);
	return name;
}

GENERAL_NAMES *
gw_pki_names(const struct gw_pki_wish *wish)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();

	for (size_t i = 0; names != NULL && i < wish->name_count; i++) {
		GENERAL_NAME *name = name_of(wish->names[i]);

		if (name != NULL && sk_GENERAL_NAME_push(names, name) > 0)
			continue;
		GENERAL_NAME_free(name);
		GENERAL_NAMES_free(names);
		return NULL;
	}
	return names;
}

bool
gw_pki_extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX context;
	bool added;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_nconf_nid(NULL, &context, nid, value);
	added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return added;
}

static bool
set_common_name(X509_NAME *name, const char *text)
{
	return name != NULL && X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const uint8_t *)text, -1, -1, 0) == 1;
}

static bool
set_serial(X509 *certificate)
{
	uint8_t bytes[16];
	BIGNUM *number;
	bool set;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (bytes[0] & 0x7F) | 0x40; // positive, and always of the same length
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	set = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
	BN_free(number);
	return set;
}

static bool
set_times(X509 *certificate, int64_t from_us, int64_t until_us)
{
	ASN1_TIME *from = gw_pki_time(from_us), *until = gw_pki_time(until_us);
	bool set = from != NULL && until != NULL && X509_set1_notBefore(certificate, from) == 1 && X509_set1_notAfter(certificate, until) == 1;

	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	return set;
}

static bool
set_head(X509 *certificate, const char *common_name, X509_NAME *issuer, EVP_PKEY *key, int64_t from_us, int64_t until_us)
{
	X509_NAME *subject = X509_get_subject_name(certificate);

	return X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) && set_common_name(subject, common_name) &&
	    X509_set_issuer_name(certificate, issuer != NULL ? issuer : subject) == 1 && X509_set_pubkey(certificate, key) == 1 &&
	    set_times(certificate, from_us, until_us);
}

// ---- The authority ----

static bool
write_pair(X509 *x509, EVP_PKEY *private, struct gw_pki_text *certificate, struct gw_pki_text *key, struct gw_why *why)
{
	BIO *public_bio = BIO_new(BIO_s_mem()), *private_bio = BIO_new(BIO_s_mem());

	if (public_bio == NULL || private_bio == NULL || PEM_write_bio_X509(public_bio, x509) != 1 ||
	    (key != NULL && PEM_write_bio_PKCS8PrivateKey(private_bio, private, NULL, NULL, 0, NULL, NULL) != 1)) {
		BIO_free(public_bio);
		BIO_free(private_bio);
		return false;
	}
	if (gw_pki_take_bio(public_bio, certificate, why) != GW_OK || key == NULL) {
		BIO_free(private_bio);
		return certificate->at != NULL;
	}
	return gw_pki_take_bio(private_bio, key, why) == GW_OK;
}

enum gw_error
gw_pki_ca_make(const char *common_name, int64_t from_us, int64_t until_us, struct gw_pki_text *certificate, struct gw_pki_text *key, struct gw_why *why)
{
	EVP_PKEY *private = EVP_EC_gen("P-256");
	X509 *x509 = X509_new();
	bool made = private != NULL && x509 != NULL && set_head(x509, common_name, NULL, private, from_us, until_us) &&
	    gw_pki_extend(x509, x509, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	    gw_pki_extend(x509, x509, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	    gw_pki_extend(x509, x509, NID_subject_key_identifier, "hash") && X509_sign(x509, private, EVP_sha256()) > 0;

	*certificate = *key = (struct gw_pki_text){ NULL, 0 };
	made = made && write_pair(x509, private, certificate, key, why);
	X509_free(x509);
	EVP_PKEY_free(private);
	return made ? GW_OK : gw_pki_failed(why, GW_E_SYSTEM, "no authority could be made");
}

enum gw_error
gw_pki_ca_open(struct gw_span certificate, struct gw_span key, struct gw_pki_ca **out, struct gw_why *why)
{
	struct gw_pki_ca *ca = calloc(1, sizeof(*ca));
	enum gw_error error = GW_OK;

	*out = NULL;
	if (ca == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	ca->certificate = gw_pki_x509(certificate, 0);
	ca->key = gw_pki_private(key);
	if (ca->certificate == NULL)
		error = gw_pki_failed(why, GW_E_FORMAT, "the authority's certificate is no PEM certificate");
	else if (ca->key == NULL)
		error = gw_pki_failed(why, GW_E_FORMAT, "the authority's key is no PEM key, or has a passphrase");
	else if (X509_check_private_key(ca->certificate, ca->key) != 1)
		error = gw_pki_failed(why, GW_E_FORMAT, "the authority's key does not belong to its certificate");
	else if (X509_check_ca(ca->certificate) != 1 || (X509_get_key_usage(ca->certificate) & KU_KEY_CERT_SIGN) == 0)
		error = gw_pki_failed(why, GW_E_FORMAT, "the certificate is not one that may sign others");
	if (error == GW_OK)
		*out = ca;
	else
		gw_pki_ca_close(ca);
	ERR_clear_error();
	return error;
}

void
gw_pki_ca_close(struct gw_pki_ca *ca)
{
	if (ca == NULL)
		return;
	X509_free(ca->certificate);
	EVP_PKEY_free(ca->key);
	free(ca);
}

// ---- What it issues ----

// Whose public key: a request's, once its signature proved it, or a private key's. NULL with words.
static EVP_PKEY *
public_of(struct gw_span pem, struct gw_why *why)
{
	BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
	X509_REQ *request = bio != NULL ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
	EVP_PKEY *key = request != NULL ? X509_REQ_get_pubkey(request) : gw_pki_private(pem);

	BIO_free(bio);
	if (key == NULL)
		(void)gw_pki_failed(why, GW_E_FORMAT, "neither a request (PKCS#10) nor a private key in PEM");
	else if (request != NULL && X509_REQ_verify(request, key) != 1) {
		(void)gw_pki_failed(why, GW_E_FORMAT, "the request's signature is not its key's");
		EVP_PKEY_free(key);
		key = NULL;
	}
	X509_REQ_free(request);
	return key;
}

static enum gw_error
check_key(EVP_PKEY *key, struct gw_why *why)
{
	char group[64] = "";
	size_t len;

	if (EVP_PKEY_is_a(key, "RSA"))
		return EVP_PKEY_get_bits(key) >= RSA_BITS_MIN ? GW_OK : gw_fail(why, GW_E_ARGUMENT, "an RSA key has 2048 bits or more, this one %d", EVP_PKEY_get_bits(key));
	if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1 &&
	    (strcmp(group, "prime256v1") == 0 || strcmp(group, "P-256") == 0 || strcmp(group, "secp384r1") == 0 || strcmp(group, "P-384") == 0))
		return GW_OK;
	return gw_fail(why, GW_E_ARGUMENT, "a device's key is EC P-256 or P-384, or RSA from 2048 bits%s%.40s", group[0] != '\0' ? ", not " : "", group);
}

static bool
add_names(X509 *certificate, const struct gw_pki_wish *wish)
{
	GENERAL_NAMES *names;
	bool added;

	if (wish->name_count == 0)
		return true;
	names = gw_pki_names(wish);
	added = names != NULL && X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, 0) == 1;
	GENERAL_NAMES_free(names);
	return added;
}

static bool
add_extensions(X509 *certificate, const struct gw_pki_ca *ca, const struct gw_pki_wish *wish, EVP_PKEY *key)
{
	bool rsa = EVP_PKEY_is_a(key, "RSA"), server = wish->purpose == GW_PKI_SERVER;

	return gw_pki_extend(certificate, ca->certificate, NID_basic_constraints, "critical,CA:FALSE") &&
	    gw_pki_extend(certificate, ca->certificate, NID_key_usage, rsa && server ? "critical,digitalSignature,keyEncipherment" : "critical,digitalSignature") &&
	    gw_pki_extend(certificate, ca->certificate, NID_ext_key_usage, server ? "serverAuth" : "clientAuth") &&
	    gw_pki_extend(certificate, ca->certificate, NID_subject_key_identifier, "hash") &&
	    gw_pki_extend(certificate, ca->certificate, NID_authority_key_identifier, "keyid") && add_names(certificate, wish);
}

enum gw_error
gw_pki_issue(const struct gw_pki_ca *ca, const struct gw_pki_wish *wish, struct gw_span key, struct gw_pki_text *certificate,
    struct gw_pki_info *info, struct gw_why *why)
{
	int64_t end_us = gw_pki_us(X509_get0_notAfter(ca->certificate));
	EVP_PKEY *public = public_of(key, why);
	X509 *x509 = X509_new();
	enum gw_error error;
	bool made;

	*certificate = (struct gw_pki_text){ NULL, 0 };
	error = public == NULL ? GW_E_FORMAT : x509 == NULL ? GW_E_MEMORY : check_key(public, why);
	if (error == GW_OK) {
		made = set_head(x509, wish->common_name, X509_get_subject_name(ca->certificate), public, wish->from_us,
			   wish->until_us < end_us ? wish->until_us : end_us) &&
		    add_extensions(x509, ca, wish, public) && X509_sign(x509, ca->key, digest_for(ca->key)) > 0 && write_pair(x509, NULL, certificate, NULL, why);
		if (!made)
			error = gw_pki_failed(why, GW_E_SYSTEM, "no certificate could be made");
	}
	if (error == GW_OK && info != NULL)
		gw_pki_info_of(x509, info);
	X509_free(x509);
	EVP_PKEY_free(public);
	ERR_clear_error();
	return error;
}

// ---- Requests ----

static bool
add_request_names(X509_REQ *request, const struct gw_pki_wish *wish)
{
	STACK_OF(X509_EXTENSION) *extensions = NULL;
	GENERAL_NAMES *names;
	bool added;

	if (wish->name_count == 0)
		return true;
	names = gw_pki_names(wish);
	added = names != NULL && X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1 &&
	    X509_REQ_add_extensions(request, extensions) == 1;
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	GENERAL_NAMES_free(names);
	return added;
}

enum gw_error
gw_pki_request(const struct gw_pki_wish *wish, struct gw_span key, struct gw_pki_text *text, struct gw_why *why)
{
	EVP_PKEY *private = gw_pki_private(key);
	X509_REQ *request = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	bool made = private != NULL && request != NULL && bio != NULL && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
	    set_common_name(X509_REQ_get_subject_name(request), wish->common_name) && X509_REQ_set_pubkey(request, private) == 1 &&
	    add_request_names(request, wish) && X509_REQ_sign(request, private, digest_for(private)) > 0 && PEM_write_bio_X509_REQ(bio, request) == 1;

	*text = (struct gw_pki_text){ NULL, 0 };
	X509_REQ_free(request);
	EVP_PKEY_free(private);
	if (made)
		return gw_pki_take_bio(bio, text, why);
	BIO_free(bio);
	return gw_pki_failed(why, GW_E_SYSTEM, "no request could be made");
}
