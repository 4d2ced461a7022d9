// SPDX-License-Identifier: Apache-2.0
// The certificates that the gateway issued: rows "certificate/<serial>" (JSON, versioned), so that they can be listed, warned of before they expire, and
// revoked. Private keys are not among them: they are given out once and not kept.
#ifndef GW_CERTIFICATES_H
#define GW_CERTIFICATES_H

#include "adapters/pki/local.h"

#include "gateway/core.h"

struct gw_certificate {
	char serial[GW_PKI_SERIAL_MAX + 1];
	char device[GW_ID_MAX + 1];  // empty: nobody of the registry
	char subject[65];            // common name
	bool server;                 // else a client's
	char sha256[65], key_sha256[65];
	char authority[65];          // key_sha256 of who signed it
	int64_t from_us, until_us;
	int64_t revoked_us;          // 0: not revoked
	char reason[121];
};

// What an authority made, as a row.
void gw_certificate_of(struct gw_certificate *row, const struct gw_pki_info *info, const struct gw_pki_info *authority, const char *device, bool server);
enum gw_error gw_certificate_put(struct gw_ticket *ticket, const struct gw_certificate *row);
// "01:AB..." or "01ab" to lower case without colons; GW_E_ARGUMENT for what is no serial number.
enum gw_error gw_certificate_serial(const char *text, char out[GW_PKI_SERIAL_MAX + 1], struct gw_why *why);
enum gw_error gw_certificate_get(struct gw_journal *journal, const char *serial, struct gw_certificate *row, struct gw_why *why);
// Whether one with this serial number (its bytes) was issued here and revoked: for doors that look at no list. Microseconds; any thread.
bool gw_certificate_is_revoked(struct gw_journal *journal, struct gw_span serial);
// Every one, in order of serial numbers, until fn says false. A row that cannot be read is left out.
typedef bool gw_certificate_fn(void *arg, const struct gw_certificate *row);
enum gw_error gw_certificates_each(struct gw_journal *journal, gw_certificate_fn *fn, void *arg);
// Whether a row's value can be read.
bool gw_certificate_row_good(struct gw_span value, struct gw_why *why);

// Writes the local authority's revocation list, where it must be written. Any thread that may wait.
enum gw_error gw_certificates_publish(struct gw_core *core, bool *written, struct gw_why *why);

// Certificates that are about to be issued, several with one authority open: nothing is kept until their rows are committed.
struct gw_issuer;
// Refuses with words where certificates of the local authority would not be accepted (tls.ca names others).
enum gw_error gw_issuer_open(const struct gw_config *config, struct gw_issuer **issuer, struct gw_why *why);
void gw_issuer_close(struct gw_issuer *issuer);
struct gw_span gw_issuer_authority(const struct gw_issuer *issuer); // PEM
const struct gw_pki_info *gw_issuer_info(const struct gw_issuer *issuer);
// A client's certificate for this common name. key: a request (PEM), or empty: a key of this kind is made and given out in *made.
struct gw_issue {
	const char *common_name, *device;
	const char *const *names;    // of a server
	size_t name_count;
	bool server;
	int64_t days;                // 0: tls.device_d (a server: tls.local_d)
	enum gw_pki_kind kind;
	struct gw_span request;
};
enum gw_error gw_issuer_issue(struct gw_issuer *issuer, const struct gw_issue *wish, struct gw_pki_text *certificate, struct gw_pki_text *made,
    struct gw_certificate *row, struct gw_why *why);

#endif
