// SPDX-License-Identifier: Apache-2.0
// PKCS#12 (RFC 7292), which Mbed TLS does not read: OpenSSL's libcrypto, which is in the process already with Paho, makes PEM of it. Nothing else of
// the gateway's TLS is done there. main's thread.
#include "adapters/tls/trust_internal.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

static bool
take_bytes(BIO *bio, struct gw_trust_bytes *out)
{
	char *at;
	long len = BIO_get_mem_data(bio, &at);

	if (len <= 0 || (out->at = malloc((size_t)len + 1)) == NULL)
		return false;
	memcpy(out->at, at, (size_t)len);
	out->at[len] = '\0';
	out->len = (size_t)len;
	return true;
}

// Its memory is wiped when it goes.
static BIO *
new_bio(void)
{
	return BIO_new(BIO_s_secmem());
}

// Whoever signed it, of the others; NULL: none of them, or it signed itself.
static X509 *
issuer_of(X509 *certificate, STACK_OF(X509) *others)
{
	if (X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(certificate)) == 0)
		return NULL;
	for (int i = 0; i < sk_X509_num(others); i++)
		if (X509_NAME_cmp(X509_get_subject_name(sk_X509_value(others, i)), X509_get_issuer_name(certificate)) == 0)
			return sk_X509_value(others, i);
	return NULL;
}

// In the order in which TLS wants them, whatever order they have in the file; the root is left to the peer.
static bool
put_chain(X509 *certificate, STACK_OF(X509) *others, struct gw_trust_bytes *out)
{
	BIO *bio = new_bio();
	bool done = bio != NULL && PEM_write_bio_X509(bio, certificate) == 1;
	X509 *next = certificate;

	for (int i = sk_X509_num(others); done && i > 0 && (next = issuer_of(next, others)) != NULL; i--)
		if (X509_NAME_cmp(X509_get_issuer_name(next), X509_get_subject_name(next)) != 0)
			done = PEM_write_bio_X509(bio, next) == 1;
	done = done && take_bytes(bio, out);
	BIO_free(bio);
	return done;
}

static bool
put_key(EVP_PKEY *key, struct gw_trust_bytes *out)
{
	BIO *bio = new_bio();
	bool done = bio != NULL && PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL) == 1 && take_bytes(bio, out);

	BIO_free(bio);
	return done;
}

static const char *
parse_words(unsigned long code)
{
	switch (ERR_GET_REASON(code)) {
	case PKCS12_R_MAC_VERIFY_FAILURE:
		return "its passphrase is another one (tls.key_passphrase_file)";
	case ERR_R_UNSUPPORTED:
		return "its encryption is too old: make it anew with openssl pkcs12 -export (AES-256)";
	default:
		return "it cannot be read";
	}
}

enum gw_error
gw_trust_open_p12(const char *path, const struct gw_trust_bytes *file, const char *passphrase, struct gw_trust_bytes *chain,
    struct gw_trust_bytes *key, struct gw_why *why)
{
	const unsigned char *at = file->at;
	PKCS12 *p12 = d2i_PKCS12(NULL, &at, (long)file->len);
	STACK_OF(X509) *others = NULL;
	X509 *certificate = NULL;
	EVP_PKEY *pkey = NULL;
	enum gw_error error = GW_OK;

	ERR_clear_error();
	if (p12 == NULL)
		error = gw_fail(why, GW_E_CONFIG, "tls.certificate %s: it is neither PEM nor PKCS#12", gw_trust_tail(path));
	else if (PKCS12_parse(p12, passphrase, &pkey, &certificate, &others) != 1)
		error = gw_fail(why, GW_E_CONFIG, "tls.certificate %s: %s", gw_trust_tail(path), parse_words(ERR_peek_last_error()));
	else if (pkey == NULL || certificate == NULL)
		error = gw_fail(why, GW_E_CONFIG, "tls.certificate %s: there is no %s in it", gw_trust_tail(path), pkey == NULL ? "key" : "certificate");
	else if (!put_chain(certificate, others, chain) || !put_key(pkey, key))
		error = gw_fail(why, GW_E_CONFIG, "tls.certificate %s: its key is of a kind that cannot be used", gw_trust_tail(path));
	ERR_clear_error();
	PKCS12_free(p12);
	sk_X509_pop_free(others, X509_free);
	X509_free(certificate);
	EVP_PKEY_free(pkey);
	return error;
}
