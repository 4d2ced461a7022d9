// SPDX-License-Identifier: Apache-2.0
// What the files of adapters/pki share: OpenSSL's objects. Included by nobody else.
#ifndef GW_PKI_INTERNAL_H
#define GW_PKI_INTERNAL_H

#include "adapters/pki/pki.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

struct gw_pki_ca {
	X509 *certificate;
	EVP_PKEY *key;
};

// Fails with OpenSSL's own reason behind the words; its queue of errors is empty afterwards.
enum gw_error gw_pki_failed(struct gw_why *why, enum gw_error error, const char *words);

// Out of PEM, n-th of its kind; NULL where there is none.
X509 *gw_pki_x509(struct gw_span pem, size_t n);
EVP_PKEY *gw_pki_private(struct gw_span pem);

// What a memory BIO holds, and frees it.
enum gw_error gw_pki_take_bio(BIO *bio, struct gw_pki_text *text, struct gw_why *why);

// Times and serial numbers as certificates hold them; NULL: out of memory, or not representable.
ASN1_TIME *gw_pki_time(int64_t us);
int64_t gw_pki_us(const ASN1_TIME *time);
void gw_pki_serial_text(const ASN1_INTEGER *serial, char out[GW_PKI_SERIAL_MAX + 1]);
ASN1_INTEGER *gw_pki_serial_of(const char *text);

// The extension subjectAltName of these names; NULL on failure.
GENERAL_NAMES *gw_pki_names(const struct gw_pki_wish *wish);
bool gw_pki_extend(X509 *certificate, X509 *issuer, int nid, const char *value);

void gw_pki_info_of(X509 *certificate, struct gw_pki_info *info);

#endif
