// SPDX-License-Identifier: Apache-2.0
// What trust.c, trust_file.c, trust_p12.c and trust_peer.c share. Included by nobody else.
#ifndef GW_TLS_TRUST_INTERNAL_H
#define GW_TLS_TRUST_INTERNAL_H

#include "adapters/tls/trust.h"

#include <regex.h>
#include <stdatomic.h>

#include <mbedtls/pk.h>

enum { GW_TRUST_FILE_BYTES_MAX = 1 << 20, GW_TRUST_LIST_BYTES_MAX = 64 << 20, GW_TRUST_LISTS_MAX = 256, GW_TRUST_RULES_MAX = 16 };

// Bytes of a file or of PEM, with a terminator that len does not count. Wiped when they go.
struct gw_trust_bytes {
	uint8_t *at;
	size_t len;
};
void gw_trust_bytes_fini(struct gw_trust_bytes *bytes);

enum gw_trust_source { GW_TRUST_CN, GW_TRUST_DNS, GW_TRUST_URI, GW_TRUST_IP, GW_TRUST_EMAIL };

struct gw_trust_rule {
	enum gw_trust_source from;
	bool whole;  // there is no pattern: the name as it stands
	regex_t match;
};

struct gw_trust {
	_Atomic uint32_t references;
	mbedtls_x509_crt chain, authorities;
	mbedtls_x509_crl lists;
	mbedtls_pk_context key;
	struct gw_trust_bytes pem[3]; // by enum gw_trust_pem
	uint8_t (*anchors)[GW_TRUST_HASH_BYTES], (*revoked)[GW_TRUST_HASH_BYTES]; // sorted
	size_t anchor_count, revoked_count, list_count;
	bool crl_expired_refused;
	int64_t lists_until_s;        // the first is past its time
	struct gw_trust_rule rules[GW_TRUST_RULES_MAX];
	size_t rule_count;
	uint8_t rules_hash[GW_TRUST_HASH_BYTES];
	struct gw_why warning;
};

// ---- trust_file.c ----

// option is what the configuration calls it, for words.
enum gw_error gw_trust_read(const char *option, const char *path, size_t most, struct gw_trust_bytes *bytes, struct gw_why *why);
// The same for a secret: refused where others could read it.
enum gw_error gw_trust_read_secret(const char *option, const char *path, struct gw_trust_bytes *bytes, struct gw_why *why);
// Calls take for a file, or for each file in a folder (hidden ones and those that are being written, by their names, left out), in the order of names.
typedef enum gw_error gw_trust_file_fn(void *arg, const char *path, struct gw_why *why);
enum gw_error gw_trust_each_file(const char *option, const char *path, gw_trust_file_fn *take, void *arg, struct gw_why *why);
// The end of a long path says more than its beginning.
const char *gw_trust_tail(const char *path);
enum gw_error gw_trust_failed(struct gw_why *why, int code, const char *option, const char *path);
// For Mbed TLS.
int gw_trust_random(void *arg, unsigned char *out, size_t len);

// ---- trust_p12.c ----

// Certificate, chain and key of a PKCS#12 file as PEM. passphrase: terminated.
enum gw_error gw_trust_open_p12(const char *path, const struct gw_trust_bytes *file, const char *passphrase, struct gw_trust_bytes *chain,
    struct gw_trust_bytes *key, struct gw_why *why);

// ---- trust_peer.c ----

enum gw_error gw_trust_make_rules(struct gw_trust *trust, const struct gw_config_list *identities, struct gw_why *why);
void gw_trust_free_rules(struct gw_trust *trust);
void gw_trust_hash_anchor(const mbedtls_x509_crt *crt, uint8_t hash[GW_TRUST_HASH_BYTES]);
void gw_trust_hash_serial(const mbedtls_x509_buf *issuer, const mbedtls_x509_buf *serial, uint8_t hash[GW_TRUST_HASH_BYTES]);
int gw_trust_compare(const void *a, const void *b); // hashes, for qsort() and bsearch()
int64_t gw_trust_seconds(const mbedtls_x509_time *time);

#endif
