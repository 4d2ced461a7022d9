// SPDX-License-Identifier: Apache-2.0
// Sessions of certificates are resumed by tickets (RFC 5077) over DTLS too: a ticket is worth what the certificate is worth now (adapters/tls/ticket_keys.h). Those
// of pre-shared keys are not: their handshake costs hardly more. The adapter's thread, within handshakes.
#include "adapters/coap/coap.h"

#include "gateway/certificates.h"
#include "gateway/clock.h"

#include <stdio.h>
#include <stdlib.h>

#include <mbedtls/platform_util.h>
#include <mbedtls/ssl.h>

#define SECOND_US INT64_C(1000000)
#define PROVED_US_MAX (7 * 86400 * SECOND_US) // since the certificate itself was shown
#define SESSION_BYTES_MAX 512

enum gw_error
gw_coap_tickets_open(struct gw_coap *coap, struct gw_why *why)
{
	const struct gw_config *config = coap->config;
	struct gw_why words = { "" };
	enum gw_error error;
	char *file;

	if (config->tls_ticket_s == 0)
		return GW_OK;
	if (asprintf(&file, "%s/coap-ticket-keys", config->store_dir) < 0)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	error = gw_ticket_keys_open(file, "coap", (uint32_t)config->tls_ticket_s, &coap->tickets, &words);
	free(file);
	if (error != GW_OK)
		return gw_fail(why, error, "%s", words.text);
	if (words.text[0] != '\0')
		gw_diag(GW_WARNING, "coap.credentials", "%s", words.text);
	return GW_OK;
}

// ---- Out ----

// The serial number, one byte of length before it, and the session without the peer's certificate, which would be its largest part.
static int
pack(const struct gw_coap_held *held, const mbedtls_ssl_session *session, uint8_t out[SESSION_BYTES_MAX], size_t *len)
{
	mbedtls_ssl_session bare = *session;
	size_t before = 1u + held->serial_len;
	int rc;

	out[0] = held->serial_len;
	memcpy(out + 1, held->serial, held->serial_len);
	bare.MBEDTLS_PRIVATE(peer_cert) = NULL;
	rc = mbedtls_ssl_session_save(&bare, out + before, SESSION_BYTES_MAX - before, len);
	mbedtls_platform_zeroize(&bare, sizeof(bare));
	*len += before;
	return rc;
}

static void
make_claim(const struct gw_coap_held *held, struct gw_ticket_claim *claim)
{
	memset(claim, 0, sizeof(*claim)); // padding is sealed as well
	claim->version = MBEDTLS_SSL_VERSION_TLS1_2;
	claim->identity = held->identity;
	claim->proof = held->check.proof;
	claim->proved_us = held->resumed ? held->proved_us : gw_clock_wall_us();
	memcpy(claim->rules, gw_trust_rules_hash(held->trust), sizeof(claim->rules));
}

int
gw_coap_ticket_write(void *arg, const mbedtls_ssl_session *session, unsigned char *start, const unsigned char *end, size_t *len, uint32_t *life)
{
	const struct gw_coap_held *held = arg;
	struct gw_ticket_keys *keys = held->coap->tickets;
	struct gw_ticket_claim claim;
	uint8_t bytes[SESSION_BYTES_MAX];
	size_t count;
	int rc;

	*len = 0;
	*life = 0;
	if (!held->check.proof.proved || held->flags != 0 || !held->identity.known || held->serial_len == 0)
		return MBEDTLS_ERR_SSL_FEATURE_UNAVAILABLE; // an empty ticket goes out (RFC 5077 section 3.3)
	make_claim(held, &claim);
	if ((rc = pack(held, session, bytes, &count)) == 0) {
		rc = gw_ticket_seal(keys, &claim, gw_span(bytes, count), start, (size_t)(end - start), len) == GW_OK ? 0 : MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
		*life = gw_ticket_keys_life_s(keys);
	}
	mbedtls_platform_zeroize(bytes, sizeof(bytes));
	return rc;
}

// ---- In ----

static bool
unpack(struct gw_span *bytes, struct gw_span *serial)
{
	size_t len = bytes->len > 0 ? bytes->at[0] : 0;

	if (len == 0 || len > GW_COAP_SERIAL_MAX || bytes->len < 1 + len)
		return false;
	*serial = gw_span(bytes->at + 1, len);
	*bytes = gw_span(bytes->at + 1 + len, bytes->len - 1 - len);
	return true;
}

// Whether a whole handshake with the same certificate would give the same now. (A device that is disabled is found out, and recorded, once it is there.)
static bool
is_good(const struct gw_coap_held *held, const struct gw_ticket_claim *claim, struct gw_span serial)
{
	int64_t now_us = gw_clock_wall_us();

	if (claim->version != MBEDTLS_SSL_VERSION_TLS1_2 || now_us - claim->proved_us > PROVED_US_MAX ||
	    memcmp(claim->rules, gw_trust_rules_hash(held->trust), sizeof(claim->rules)) != 0)
		return false;
	if (claim->identity.auth != GW_AUTH_CERTIFICATE || !claim->identity.known || !claim->proof.proved ||
	    gw_snapshot_by_subject(gw_coap_snapshot(held->coap), gw_span_text(claim->identity.name)) == NULL)
		return false;
	return !gw_trust_stale(held->trust, now_us / SECOND_US) && gw_trust_lapsed(held->trust, &claim->proof, now_us / SECOND_US) == GW_REFUSED_NONE &&
	    !gw_certificate_is_revoked(held->coap->core->journal, serial);
}

// From here on the handshake can only end well with the session's master secret.
static void
take_over(struct gw_coap_held *held, const struct gw_ticket_claim *claim, struct gw_span serial)
{
	gw_coap_claim(held->session, GW_AUTH_CERTIFICATE, gw_span_text(claim->identity.name), GW_REFUSED_CERTIFICATE_BAD);
	held->resumed = true;
	held->flags = 0;
	held->identity = claim->identity;
	held->check.proof = claim->proof;
	held->proved_us = claim->proved_us;
	held->serial_len = (uint8_t)serial.len;
	memcpy(held->serial, serial.at, serial.len);
}

int
gw_coap_ticket_parse(void *arg, mbedtls_ssl_session *session, unsigned char *buf, size_t len)
{
	struct gw_coap_held *held = arg;
	struct gw_ticket_claim claim;
	struct gw_span bytes, serial;

	held->resumed = false;
	if (!gw_ticket_is_one(gw_span(buf, len)) || !gw_ticket_unseal(held->coap->tickets, buf, len, &claim, &bytes) || !unpack(&bytes, &serial) ||
	    !is_good(held, &claim, serial))
		return MBEDTLS_ERR_SSL_INVALID_MAC;
	if (mbedtls_ssl_session_load(session, bytes.at, bytes.len) != 0 || session->MBEDTLS_PRIVATE(tls_version) != MBEDTLS_SSL_VERSION_TLS1_2)
		return MBEDTLS_ERR_SSL_INVALID_MAC;
	take_over(held, &claim, serial);
	gw_coap_add(&held->coap->counts.resumed, 1);
	return 0;
}
