// SPDX-License-Identifier: Apache-2.0
// Certificates over DTLS: what each session is shown and believes, when that is renewed, and who a peer's certificate says it is. A session holds the trust
// that its handshake began with until libcoap has freed its DTLS; whether its peer would still be believed is asked of the newest.
// main's thread loads and renews; everything else is the adapter's thread.
#include "adapters/coap/coap.h"

#include "gateway/certificates.h"
#include "gateway/clock.h"

#include <stdlib.h>

#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

// Certificates only where clients' can be checked: without authorities there is nobody who could prove anything by one.
static bool
wanted(const struct gw_config *config)
{
	return config->tls_certificate[0] != '\0' && config->tls_ca[0] != '\0';
}

// ---- What is in use ----

static enum gw_error
load(const struct gw_config *config, bool expired_accepted, struct gw_trust **trust, struct gw_why *why)
{
	struct gw_trust_options options;

	gw_trust_configured(config, &options);
	options.expired_accepted = expired_accepted;
	return gw_trust_load(&options, trust, why);
}

static void
take(struct gw_coap *coap, struct gw_trust *trust)
{
	struct gw_coap_credentials *mine = &coap->credentials;
	struct gw_trust *old;

	pthread_mutex_lock(&mine->lock);
	old = mine->trust;
	mine->trust = trust;
	mine->taken_us = gw_clock_wall_us();
	mine->refused_us = 0;
	atomic_fetch_add_explicit(&mine->generation, 1, memory_order_release);
	pthread_mutex_unlock(&mine->lock);
	gw_trust_drop(old);
}

enum gw_error
gw_coap_credentials_check(const struct gw_config *config, struct gw_why *why)
{
	struct gw_trust *trust;
	enum gw_error error;

	if (!wanted(config)) // its own are made when it starts
		return gw_trust_check_rules(&config->tls_identities, why);
	error = load(config, true, &trust, why);
	gw_trust_drop(trust);
	return error;
}

void
gw_coap_credentials_files(const struct gw_config *config, gw_file_fn *fn, void *arg)
{
	struct gw_trust_options options;

	if (!wanted(config))
		return;
	gw_trust_configured(config, &options);
	gw_trust_files(&options, fn, arg);
}

enum gw_error
gw_coap_credentials_renew(struct gw_coap *coap, struct gw_why *why)
{
	struct gw_coap_credentials *mine = &coap->credentials;
	struct gw_why words = { "" };
	struct gw_trust *trust;
	enum gw_error error;

	if (!wanted(coap->config))
		return GW_OK;
	error = load(coap->config, false, &trust, &words);
	if (error == GW_OK) {
		(void)!gw_fail(why, GW_OK, "%s", gw_trust_warning(trust));
		take(coap, trust);
		return GW_OK;
	}
	pthread_mutex_lock(&mine->lock);
	mine->refused_us = gw_clock_wall_us();
	mine->refused = words;
	pthread_mutex_unlock(&mine->lock);
	return gw_fail(why, error, "%s", words.text);
}

static struct gw_trust *
hold(struct gw_coap *coap)
{
	struct gw_trust *trust;

	pthread_mutex_lock(&coap->credentials.lock);
	trust = coap->credentials.trust != NULL ? gw_trust_hold(coap->credentials.trust) : NULL;
	pthread_mutex_unlock(&coap->credentials.lock);
	return trust;
}

void
gw_coap_credentials_status(struct gw_coap *coap, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct gw_coap_credentials *mine = &coap->credentials;
	struct gw_trust *trust = hold(coap);
	yyjson_mut_val *row;
	char words[192], text[40];

	if (trust == NULL)
		return;
	row = yyjson_mut_obj_add_obj(doc, object, "credentials");
	gw_trust_words(trust, words, sizeof(words));
	yyjson_mut_obj_add_strcpy(doc, row, "in_use", words);
	if (gw_trust_warning(trust)[0] != '\0')
		yyjson_mut_obj_add_strcpy(doc, row, "warning", gw_trust_warning(trust));
	gw_trust_drop(trust);
	pthread_mutex_lock(&mine->lock);
	yyjson_mut_obj_add_strcpy(doc, row, "since", gw_time_format(mine->taken_us, text));
	if (mine->refused_us != 0) {
		yyjson_mut_obj_add_strcpy(doc, row, "refused_at", gw_time_format(mine->refused_us, text));
		yyjson_mut_obj_add_strcpy(doc, row, "refused", mine->refused.text);
	}
	pthread_mutex_unlock(&mine->lock);
}

// ---- A session's ----

static bool
is_subject(void *arg, struct gw_span name)
{
	return gw_snapshot_by_subject(gw_coap_snapshot(arg), name) != NULL;
}

// Mbed TLS's callback, from the authority down to the peer's own.
static int
verify(void *arg, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
	struct gw_coap_held *held = arg;
	int rc;

	if (held->looked) {
		held->looked = false;
		held->flags = 0;
		memset(&held->check.proof, 0, sizeof(held->check.proof));
	}
	rc = gw_trust_verify(&held->check, crt, depth, flags);
	held->flags |= *flags;
	if (depth > 0)
		return rc;
	held->looked = true;
	held->serial_len = crt->serial.len <= sizeof(held->serial) ? (uint8_t)crt->serial.len : 0;
	memcpy(held->serial, crt->serial.p, held->serial_len);
	gw_trust_identify(held->trust, crt, is_subject, held->coap, &held->identity);
	gw_coap_claim(held->session, GW_AUTH_CERTIFICATE, gw_span_text(held->identity.name), gw_trust_refused(held->flags));
	return rc;
}

// libcoap's callback (coap_dtls_configure_t).
static int
configure(void *config, coap_session_t *session, void *arg, void **out)
{
	struct gw_coap_session *state = coap_session_get_app_data(session);
	struct gw_coap *coap = arg;
	struct gw_coap_held *held;
	struct gw_trust_shown shown;

	if (state == NULL || (held = calloc(1, sizeof(*held))) == NULL)
		return 0;
	*held = (struct gw_coap_held){ .coap = coap, .session = session, .trust = hold(coap) };
	held->check.trust = held->trust;
	*out = state->held = held;
	if (!gw_trust_shows(held->trust, &shown) || mbedtls_ssl_conf_own_cert(config, shown.chain, shown.key) != 0)
		return 0;
	mbedtls_ssl_conf_ca_chain(config, gw_trust_authorities(held->trust), gw_trust_lists(held->trust));
	mbedtls_ssl_conf_authmode(config, MBEDTLS_SSL_VERIFY_REQUIRED);
	mbedtls_ssl_conf_verify(config, verify, held);
	mbedtls_ssl_conf_session_tickets(config, coap->tickets != NULL ? MBEDTLS_SSL_SESSION_TICKETS_ENABLED : MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
	if (coap->tickets != NULL)
		mbedtls_ssl_conf_session_tickets_cb(config, gw_coap_ticket_write, gw_coap_ticket_parse, held);
	return 1;
}

// libcoap's callback: the session is still there.
static void
release(void *arg)
{
	struct gw_coap_held *held = arg;
	struct gw_coap_session *state = coap_session_get_app_data(held->session);

	if (state != NULL)
		state->held = NULL;
	gw_trust_drop(held->trust);
	free(held);
}

enum gw_error
gw_coap_credentials_open(struct gw_coap *coap, struct gw_why *why)
{
	struct gw_trust *trust;
	enum gw_error error;

	coap->credentials.look_s = INT64_MAX;
	if (!wanted(coap->config))
		return GW_OK;
	// Devices with a pre-shared key do not look at it.
	if ((error = load(coap->config, true, &trust, why)) != GW_OK)
		return error;
	take(coap, trust);
	if ((error = gw_coap_tickets_open(coap, why)) != GW_OK)
		return error;
	if (!coap_context_set_dtls_configure(coap->context, configure, release, coap))
		return gw_fail(why, GW_E_SYSTEM, "coap: no certificates over DTLS");
	return GW_OK;
}

void
gw_coap_credentials_close(struct gw_coap *coap)
{
	gw_trust_drop(coap->credentials.trust);
	coap->credentials.trust = NULL;
	gw_ticket_keys_close(coap->tickets);
	coap->tickets = NULL;
}

// ---- Who it is ----

const struct gw_device *
gw_coap_by_certificate(struct gw_coap *coap, struct gw_coap_session *state, const mbedtls_x509_crt *certificate, struct gw_tls_identity *identity,
    enum gw_refused *why)
{
	struct gw_coap_held *held = state->held;
	struct gw_trust *trust = hold(coap);
	const struct gw_device *device = NULL;
	struct gw_span serial;

	*why = GW_REFUSED_CERTIFICATE_BAD;
	if (held != NULL && trust != NULL && held->check.proof.proved) {
		*identity = held->identity;
		if (certificate != NULL)
			gw_trust_identify(trust, certificate, is_subject, coap, identity);
		serial = certificate != NULL ? gw_span(certificate->serial.p, certificate->serial.len) : gw_span(held->serial, held->serial_len);
		*why = held->flags != 0 ? gw_trust_refused(held->flags) : gw_trust_lapsed(trust, &held->check.proof, gw_clock_wall_us() / 1000000);
		if (*why == GW_REFUSED_NONE && gw_certificate_is_revoked(coap->core->journal, serial))
			*why = GW_REFUSED_CERTIFICATE_REVOKED;
		if (*why == GW_REFUSED_NONE && identity->known)
			device = gw_snapshot_by_subject(gw_coap_snapshot(coap), gw_span_text(identity->name));
		if (*why == GW_REFUSED_NONE && held->check.proof.until_s < coap->credentials.look_s)
			coap->credentials.look_s = held->check.proof.until_s;
	}
	gw_trust_drop(trust);
	return device;
}

bool
gw_coap_credentials_look(struct gw_coap *coap)
{
	struct gw_coap_credentials *mine = &coap->credentials;
	uint64_t generation = atomic_load_explicit(&mine->generation, memory_order_acquire);

	if (mine->looked == generation && gw_clock_wall_us() / 1000000 <= mine->look_s)
		return false;
	mine->looked = generation;
	mine->look_s = INT64_MAX; // whoever is found good says until when
	return true;
}
