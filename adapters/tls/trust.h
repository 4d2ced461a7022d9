// SPDX-License-Identifier: Apache-2.0
// What a door shows and whom it believes: certificate and key, authorities, revocation lists, and how a certificate's names become a device's. Read from
// files, checked whole, then constant and counted: whoever holds one may use it as long as it likes, while its door has long taken up a newer one.
//
// A certificate is verified once, by a handshake; what was found is kept as a proof (gw_trust_proof), so that it can be asked later and without the
// certificate whether it still holds: for connections that live when an authority goes or a list comes, and for sessions that are resumed.
//
// Threads: loading is for one thread (main's); everything else is read-only, any thread.
#ifndef GW_TLS_TRUST_H
#define GW_TLS_TRUST_H

#include "gateway/config.h"
#include "gateway/record.h"
#include "gateway/span.h"
#include "gateway/watch.h"

#include <stdbool.h>
#include <stdint.h>

#include <mbedtls/x509_crl.h>
#include <mbedtls/x509_crt.h>

#define GW_TLS_NAME_MAX 128
#define GW_TRUST_LINKS_MAX 5  // certificates of a peer's chain below the authority that is believed; a longer one is refused
#define GW_TRUST_HASH_BYTES 16 // of SHA-256

// File names may be NULL or empty: there is none. A file is PEM, or DER where only one thing can be in it.
struct gw_trust_options {
	const char *certificate;     // and its chain; or PKCS#12 (RFC 7292), with the key in it
	const char *key;             // of nobody's but the process's user (and root): readable by others it is refused
	const char *passphrase_file; // its first line opens an encrypted key or PKCS#12
	const char *ca;              // authorities of peers' certificates
	const char *crl;             // revocation lists (RFC 5280): a file of several, or a folder of files
	bool crl_expired_refused;    // peers whose authority's list is past its time are refused; else the list counts all the same
	bool expired_accepted;       // the certificate may have expired: better than to show none at all
	const struct gw_config_list *identities; // of struct gw_config_mapping: which names are a device's; NULL or none: CN, then DNS names
};
// As the section tls says.
void gw_trust_configured(const struct gw_config *config, struct gw_trust_options *options);
// Each file that loading reads.
void gw_trust_files(const struct gw_trust_options *options, gw_file_fn *fn, void *arg);

struct gw_trust;

// GW_E_CONFIG: why names file and remedy. *trust is the caller's.
enum gw_error gw_trust_load(const struct gw_trust_options *options, struct gw_trust **trust, struct gw_why *why);
struct gw_trust *gw_trust_hold(struct gw_trust *trust);
void gw_trust_drop(struct gw_trust *trust); // wipes the key with the last; NULL does nothing
// What is no reason to refuse the files but ought to be known (a list past its time...); empty: nothing.
const char *gw_trust_warning(const struct gw_trust *trust);
// In words: whose certificate until when, how many authorities and lists.
void gw_trust_words(const struct gw_trust *trust, char *out, size_t cap);

// ---- For those who configure TLS ----

struct gw_trust_shown {
	mbedtls_x509_crt *chain; // not to be changed
	mbedtls_pk_context *key;
};
bool gw_trust_shows(const struct gw_trust *trust, struct gw_trust_shown *shown); // false: there is no certificate
mbedtls_x509_crt *gw_trust_authorities(const struct gw_trust *trust); // NULL: none
mbedtls_x509_crl *gw_trust_lists(const struct gw_trust *trust);       // NULL: none
// The same as PEM with its terminator, for libraries that take bytes; empty: none. The key is not encrypted. Live as long as the trust.
enum gw_trust_pem { GW_TRUST_CHAIN, GW_TRUST_KEY, GW_TRUST_AUTHORITIES };
struct gw_span gw_trust_pem(const struct gw_trust *trust, enum gw_trust_pem which);

// ---- Peers ----

// By what a peer's certificate was believed. Flat: it may be stored.
struct gw_trust_proof {
	uint8_t proved, links;                                     // links: certificates below the authority
	uint8_t anchor[GW_TRUST_HASH_BYTES];                       // the authority's name and key
	uint8_t link[GW_TRUST_LINKS_MAX][GW_TRUST_HASH_BYTES];     // each one's issuer and serial number
	int64_t until_s;                                           // the first of them expires, seconds since 1970
};
struct gw_trust_check {
	const struct gw_trust *trust;
	struct gw_trust_proof proof; // to be zero before
};
// For mbedtls_ssl_set_verify() and mbedtls_x509_crt_verify(), arg is a struct gw_trust_check: applies the policy for lists, refuses chains that are too
// long, and notes the proof, which counts only where no flag is left in the end.
int gw_trust_verify(void *arg, mbedtls_x509_crt *crt, int depth, uint32_t *flags);

// Which fault the flags of a certificate that did not verify mean.
enum gw_refused gw_trust_refused(uint32_t flags);
// Whether what was proved then would be believed now: GW_REFUSED_NONE, or why not (expired, revoked, foreign). now_s: seconds since 1970.
enum gw_refused gw_trust_lapsed(const struct gw_trust *trust, const struct gw_trust_proof *proof, int64_t now_s);
// Whether a handshake would refuse everybody whose authority has a list, because a list is past its time and the policy says so.
bool gw_trust_stale(const struct gw_trust *trust, int64_t now_s);
// Changes with what turns a certificate into a device: rules and policy, not with authorities and lists (those are the proof's matter).
const uint8_t *gw_trust_rules_hash(const struct gw_trust *trust);

// Who the peer proved to be. NONE: it proved nothing (a door may then ask for a password); name is then the unknown PSK identity that it
// gave in TLS 1.3, or empty: for the record only. known is false for a certificate in which no name is anybody's: name is its common name then.
struct gw_tls_identity {
	enum gw_auth auth; // GW_AUTH_NONE, _CERTIFICATE, _PSK
	bool known;
	char name[GW_TLS_NAME_MAX + 1];
};
// Whether a name is somebody's.
typedef bool gw_trust_subject_fn(void *arg, struct gw_span name);
// The first name that the rules make of the certificate's and that is somebody's (subject NULL: the first). Names longer than GW_TLS_NAME_MAX and those
// with control characters are nobody's.
void gw_trust_identify(const struct gw_trust *trust, const mbedtls_x509_crt *crt, gw_trust_subject_fn *subject, void *arg, struct gw_tls_identity *identity);
// Whether the rules can be used. GW_E_CONFIG: why names the rule.
enum gw_error gw_trust_check_rules(const struct gw_config_list *identities, struct gw_why *why);

#endif
