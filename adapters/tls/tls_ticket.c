// SPDX-License-Identifier: Apache-2.0
// Session tickets, as Mbed TLS asks for them within a handshake: what is sealed into one, and whether one is good. The handshakes' thread.
#include "adapters/tls/tls_internal.h"

#include "gateway/clock.h"

#include <stdlib.h>
#include <string.h>

#include <mbedtls/md.h>

#define SECOND_US INT64_C(1000000)
#define PROVED_US_MAX (7 * 86400 * SECOND_US) // since the credential itself was shown

_Thread_local struct gw_tls_conn *gw_tls_shaking;

// Tells one key of a PSK identity from another, without saying what it is.
static bool
check_of_psk(const struct gw_tls_server *server, const char *identity, uint8_t check[GW_TRUST_HASH_BYTES])
{
	static const char label[] = "vitalgate session ticket";
	uint8_t key[GW_TLS_PSK_MAX], whole[32];
	size_t len = server->options.psk != NULL ? server->options.psk(server->options.arg, gw_span_text(identity), key) : 0;
	int rc = -1;

	if (len > 0)
		rc = mbedtls_md_hmac(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), key, len, (const unsigned char *)label, sizeof(label), whole);
	mbedtls_platform_zeroize(key, sizeof(key));
	if (rc == 0)
		memcpy(check, whole, GW_TRUST_HASH_BYTES);
	return rc == 0;
}

// ---- Out ----

// False: this handshake is about to be refused.
static bool
make_claim(struct gw_tls_conn *conn, const mbedtls_ssl_session *session, struct gw_ticket_claim *claim)
{
	const mbedtls_x509_crt *crt = session->MBEDTLS_PRIVATE(peer_cert);

	memset(claim, 0, sizeof(*claim)); // padding is sealed as well
	claim->version = (uint16_t)mbedtls_ssl_get_version_number(&conn->ssl);
	claim->proved_us = conn->resumed ? conn->proved_us : gw_clock_wall_us();
	memcpy(claim->rules, gw_trust_rules_hash(conn->setup->trust), sizeof(claim->rules));
	if (conn->resumed) {
		claim->identity = conn->identity;
		claim->proof = conn->check.proof;
	} else if (crt != NULL) {
		if (session->MBEDTLS_PRIVATE(verify_result) != 0)
			return false;
		gw_tls_identify(conn, crt);
		claim->identity = conn->identity;
		claim->proof = conn->check.proof;
	} else if (gw_tls_psk_was_used(conn, session->MBEDTLS_PRIVATE(ciphersuite))) {
		claim->identity.auth = GW_AUTH_PSK;
		claim->identity.known = true;
		memcpy(claim->identity.name, conn->psk_name, sizeof(conn->psk_name));
	}
	return claim->identity.auth != GW_AUTH_PSK || check_of_psk(conn->server, claim->identity.name, claim->psk_check);
}

// Without the peer's certificate, which would be its largest part: what is asked of it is in the claim.
static int
save_session(const mbedtls_ssl_session *session, uint8_t *out, size_t cap, size_t *len)
{
	mbedtls_ssl_session bare = *session;
	int rc;

	bare.MBEDTLS_PRIVATE(peer_cert) = NULL;
	rc = mbedtls_ssl_session_save(&bare, out, cap, len);
	mbedtls_platform_zeroize(&bare, sizeof(bare));
	return rc;
}

int
gw_tls_ticket_write(void *arg, const mbedtls_ssl_session *session, unsigned char *start, const unsigned char *end, size_t *len, uint32_t *life)
{
	struct gw_tls_server *server = arg;
	struct gw_tls_conn *conn = gw_tls_shaking;
	struct gw_ticket_claim claim;
	uint8_t bytes[512];
	size_t session_len;
	int rc;

	*len = 0;
	*life = 0;
	if (!make_claim(conn, session, &claim))
		return MBEDTLS_ERR_X509_CERT_VERIFY_FAILED; // the handshake ends here in TLS 1.3; in 1.2 once it is over
	if ((rc = save_session(session, bytes, sizeof(bytes), &session_len)) != 0)
		return rc;
	rc = gw_ticket_seal(server->tickets, &claim, gw_span(bytes, session_len), start, (size_t)(end - start), len) == GW_OK ? 0 : MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL;
	mbedtls_platform_zeroize(bytes, sizeof(bytes));
	*life = gw_ticket_keys_life_s(server->tickets);
	return rc;
}

// ---- In ----

// Whether a whole handshake with the same credential would give the same now.
static bool
is_good(struct gw_tls_conn *conn, const struct gw_ticket_claim *claim)
{
	const struct gw_tls_options *o = &conn->server->options;
	const struct gw_trust *trust = conn->setup->trust;
	int64_t now_us = gw_clock_wall_us();
	uint8_t check[GW_TRUST_HASH_BYTES];

	if (claim->version != (uint16_t)mbedtls_ssl_get_version_number(&conn->ssl) || now_us - claim->proved_us > PROVED_US_MAX ||
	    memcmp(claim->rules, gw_trust_rules_hash(trust), sizeof(claim->rules)) != 0)
		return false;
	switch (claim->identity.auth) {
	case GW_AUTH_NONE:
		return true;
	case GW_AUTH_PSK:
		return check_of_psk(conn->server, claim->identity.name, check) && memcmp(check, claim->psk_check, sizeof(check)) == 0;
	case GW_AUTH_CERTIFICATE:
		return claim->proof.proved && claim->identity.known && (o->subject == NULL || o->subject(o->arg, gw_span_text(claim->identity.name))) &&
		    !gw_trust_stale(trust, now_us / SECOND_US) && gw_trust_lapsed(trust, &claim->proof, now_us / SECOND_US) == GW_REFUSED_NONE;
	default:
		return false;
	}
}

// Mbed TLS counts a ticket's age by a clock that begins with the machine.
static void
set_age(const struct gw_tls_server *server, const struct gw_ticket_claim *claim, mbedtls_ssl_session *session)
{
	if (!gw_ticket_of_this_boot(server->tickets, claim))
		session->MBEDTLS_PRIVATE(ticket_creation_time) = mbedtls_ms_time() - (gw_clock_wall_us() - claim->issued_us) / 1000;
}

// Only with a key exchange: without one there is no forward secrecy, and Mbed TLS might go on with certificates although the ticket's key was proved.
static void
keep_key(struct gw_tls_resumed *ticket, mbedtls_ssl_session *session)
{
	session->MBEDTLS_PRIVATE(ticket_flags) &= MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL;
	ticket->key_len = session->MBEDTLS_PRIVATE(resumption_key_len);
	memcpy(ticket->key, session->MBEDTLS_PRIVATE(resumption_key), ticket->key_len < sizeof(ticket->key) ? ticket->key_len : 0);
}

static void
take_over(struct gw_tls_conn *conn)
{
	const struct gw_ticket_claim *claim = &conn->ticket->claim;

	conn->resumed = true;
	conn->identity = claim->identity;
	conn->check.proof = claim->proof;
	conn->proved_us = claim->proved_us;
}

void
gw_tls_ticket_forget(struct gw_tls_conn *conn)
{
	if (conn->ticket != NULL)
		mbedtls_platform_zeroize(conn->ticket, sizeof(*conn->ticket));
	free(conn->ticket);
	conn->ticket = NULL;
}

// In TLS 1.3 what counts is the last ClientHello: another's first one, sent again, may have shown his ticket and been answered by a HelloRetryRequest. In 1.2
// there is one, and Mbed TLS keeps to the last ticket in it that was taken.
static void
begin_again(struct gw_tls_conn *conn)
{
	gw_tls_ticket_forget(conn);
	conn->psk_proved = false;
	if (mbedtls_ssl_get_version_number(&conn->ssl) != MBEDTLS_SSL_VERSION_TLS1_3)
		return;
	conn->resumed = false;
	memset(&conn->identity, 0, sizeof(conn->identity));
	memset(&conn->check.proof, 0, sizeof(conn->check.proof));
}

int
gw_tls_ticket_parse(void *arg, mbedtls_ssl_session *session, unsigned char *buf, size_t len)
{
	struct gw_tls_server *server = arg;
	struct gw_tls_conn *conn = gw_tls_shaking;
	struct gw_span bytes;
	int rc;

	begin_again(conn);
	if (!gw_ticket_is_one(gw_span(buf, len)))
		return MBEDTLS_ERR_SSL_INVALID_MAC;
	if ((conn->ticket = calloc(1, sizeof(*conn->ticket))) == NULL)
		return MBEDTLS_ERR_SSL_ALLOC_FAILED;
	if (!gw_ticket_unseal(server->tickets, buf, len, &conn->ticket->claim, &bytes) || !is_good(conn, &conn->ticket->claim) ||
	    mbedtls_ssl_session_load(session, bytes.at, bytes.len) != 0) {
		gw_tls_ticket_forget(conn);
		return MBEDTLS_ERR_SSL_INVALID_MAC;
	}
	rc = session->MBEDTLS_PRIVATE(tls_version) == mbedtls_ssl_get_version_number(&conn->ssl) ? 0 : MBEDTLS_ERR_SSL_INVALID_MAC;
	set_age(server, &conn->ticket->claim, session);
	if (rc == 0 && conn->ticket->claim.version == MBEDTLS_SSL_VERSION_TLS1_3)
		keep_key(conn->ticket, session);
	else if (rc == 0)
		take_over(conn); // from here on the handshake can only end well with the session's master secret
	return rc;
}

// Parsing was not the last word: Mbed TLS looks at the ticket's age and at the binder. Only what it took for the handshake's PSK is in the session that is
// being negotiated.
bool
gw_tls_ticket_taken(struct gw_tls_conn *conn)
{
	const mbedtls_ssl_session *session = conn->ssl.MBEDTLS_PRIVATE(session_negotiate);
	const struct gw_tls_resumed *ticket = conn->ticket;

	if (ticket == NULL || ticket->key_len == 0 || session == NULL || session->MBEDTLS_PRIVATE(resumption_key_len) != ticket->key_len ||
	    memcmp(session->MBEDTLS_PRIVATE(resumption_key), ticket->key, ticket->key_len) != 0)
		return false;
	take_over(conn);
	return true;
}
