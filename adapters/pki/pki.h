// SPDX-License-Identifier: Apache-2.0
// Keys and certificates, on OpenSSL's libcrypto: key pairs, a certificate authority, certificates for servers and clients, requests (PKCS#10), revocation
// lists (RFC 5280) and PKCS#12 (RFC 7292). Everything goes in and out as PEM text or DER bytes, so nobody else includes OpenSSL.
//
// Texts and bytes that come out are the caller's: gw_pki_free() wipes and frees them. Times are microseconds since 1970; certificates hold whole seconds.
// No state: any thread.
#ifndef GW_PKI_H
#define GW_PKI_H

#include "gateway/error.h"
#include "gateway/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define GW_PKI_SERIAL_MAX 40 // hexadecimal digits (RFC 5280 section 4.1.2.2: 20 bytes)
#define GW_PKI_NAMES_MAX 64 // alternative names that we put into one certificate; further ones are left out

enum gw_pki_kind { GW_PKI_P256, GW_PKI_P384, GW_PKI_RSA2048, GW_PKI_RSA3072, GW_PKI_KIND_COUNT };
// "p256", "p384", "rsa2048", "rsa3072"; GW_E_ARGUMENT with the list for another.
enum gw_error gw_pki_kind_of(const char *name, enum gw_pki_kind *kind, struct gw_why *why);

// What was made, or read. Terminated; len counts without it. {NULL, 0}: nothing.
struct gw_pki_text {
	char *at;
	size_t len;
};
void gw_pki_free(struct gw_pki_text *text);

// A new private key (PKCS#8, PEM).
enum gw_error gw_pki_key(enum gw_pki_kind kind, struct gw_pki_text *key, struct gw_why *why);

// What a certificate says. Names are DNS names or IP addresses as text: an address becomes iPAddress, anything else dNSName.
enum gw_pki_purpose { GW_PKI_SERVER, GW_PKI_CLIENT };
struct gw_pki_wish {
	const char *common_name; // 1 to 64 characters
	const char *const *names;
	size_t name_count;
	enum gw_pki_purpose purpose;
	int64_t from_us, until_us;
};

// An authority: its certificate and the key for it.
struct gw_pki_ca;
// A self-signed one (pathlen 0, keyCertSign and cRLSign).
enum gw_error gw_pki_ca_make(const char *common_name, int64_t from_us, int64_t until_us, struct gw_pki_text *certificate, struct gw_pki_text *key,
    struct gw_why *why);
// Checks that both belong together and that it may sign certificates.
enum gw_error gw_pki_ca_open(struct gw_span certificate, struct gw_span key, struct gw_pki_ca **ca, struct gw_why *why);
void gw_pki_ca_close(struct gw_pki_ca *ca); // NULL does nothing

// What a certificate says, for people and for the registry. Texts hold what fits.
struct gw_pki_info {
	char subject[256], issuer[256]; // RFC 2253: "CN=bed-12,O=..."
	char common_name[65];
	char serial[GW_PKI_SERIAL_MAX + 1]; // lower case
	char names[17000];              // "DNS:gateway,IP:10.0.0.1": GW_PKI_NAMES_MAX of any length
	int64_t from_us, until_us;
	char key[24];                   // "EC P-256", "RSA 2048"
	char sha256[65];                // of the certificate, hexadecimal: what pins the certificate
	char key_sha256[65];            // of its public key (SubjectPublicKeyInfo), hexadecimal
	char key_pin[45];               // the same in base64, as curl and RFC 7469 write it
	bool authority;
};

// A certificate for the public key of `key`: a private key, or a request (PKCS#10), of which only the key is taken, once it proved that its sender has it.
// EC P-256 and P-384, RSA from 2048 bits. info may be NULL. until_us is cut to the authority's.
enum gw_error gw_pki_issue(const struct gw_pki_ca *ca, const struct gw_pki_wish *wish, struct gw_span key, struct gw_pki_text *certificate,
    struct gw_pki_info *info, struct gw_why *why);
// A request for such a certificate.
enum gw_error gw_pki_request(const struct gw_pki_wish *wish, struct gw_span key, struct gw_pki_text *request, struct gw_why *why);

// The n-th certificate of a PEM bundle; GW_E_NOT_FOUND past the last, GW_E_FORMAT for what is no certificate.
enum gw_error gw_pki_info(struct gw_span pem, size_t n, struct gw_pki_info *info, struct gw_why *why);
// Whether a private key belongs to the first certificate of a bundle.
bool gw_pki_pair(struct gw_span certificate, struct gw_span key);
// Whether it is a private key that can be used without a passphrase.
bool gw_pki_is_key(struct gw_span key);
// Whether this authority signed the first certificate of a bundle.
bool gw_pki_issued(const struct gw_pki_ca *ca, struct gw_span certificate);

struct gw_pki_revoked {
	char serial[GW_PKI_SERIAL_MAX + 1];
	int64_t at_us;
};
struct gw_pki_crl {
	int64_t number, from_us, until_us;
	const struct gw_pki_revoked *revoked;
	size_t count;
};
enum gw_error gw_pki_crl(const struct gw_pki_ca *ca, const struct gw_pki_crl *crl, struct gw_pki_text *pem, struct gw_why *why);
// Reads one; checks that this authority signed it. *list and its entries are one block: free() it.
enum gw_error gw_pki_crl_read(const struct gw_pki_ca *ca, struct gw_span pem, struct gw_pki_crl **list, struct gw_why *why);

// Certificate, key and further certificates (PEM, may be empty) as PKCS#12: AES-256 and SHA-256, or for old importers (legacy) 3DES and SHA-1.
struct gw_pki_p12 {
	struct gw_span certificate, key, chain;
	const char *name, *passphrase;
	bool legacy;
};
enum gw_error gw_pki_p12(const struct gw_pki_p12 *parts, struct gw_pki_text *der, struct gw_why *why);

// The certificates of a PKCS#12 file as PEM, that of its key first.
enum gw_error gw_pki_p12_read(struct gw_span der, const char *passphrase, struct gw_pki_text *pem, struct gw_why *why);

// ---- Files ----

// Written aside, synced, and renamed: whoever reads it finds the old or the new one whole. mode: 0600 for keys, 0644.
enum gw_error gw_pki_write(const char *path, struct gw_span bytes, mode_t mode, struct gw_why *why);
// At most 1 MiB. GW_E_NOT_FOUND where there is none.
enum gw_error gw_pki_read(const char *path, struct gw_pki_text *text, struct gw_why *why);

#endif
