// SPDX-License-Identifier: Apache-2.0
// Peers: what verifying their certificates proved, whether that still holds, and which device their names mean. Read-only; any thread.
#include "adapters/tls/trust_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mbedtls/oid.h>
#include <mbedtls/sha256.h>

// ---- Hashes ----

static void
hash_parts(const mbedtls_x509_buf *const parts[], size_t count, uint8_t hash[GW_TRUST_HASH_BYTES])
{
	mbedtls_sha256_context sha;
	uint8_t whole[32];

	mbedtls_sha256_init(&sha);
	(void)mbedtls_sha256_starts(&sha, 0);
	for (size_t i = 0; i < count; i++) {
		uint64_t len = parts[i]->len; // so that no two lists of parts are the same bytes

		(void)mbedtls_sha256_update(&sha, (const unsigned char *)&len, sizeof(len));
		(void)mbedtls_sha256_update(&sha, parts[i]->p, parts[i]->len);
	}
	(void)mbedtls_sha256_finish(&sha, whole);
	mbedtls_sha256_free(&sha);
	memcpy(hash, whole, GW_TRUST_HASH_BYTES);
}

void
gw_trust_hash_anchor(const mbedtls_x509_crt *crt, uint8_t hash[GW_TRUST_HASH_BYTES])
{
	hash_parts((const mbedtls_x509_buf *const[]){ &crt->subject_raw, &crt->pk_raw }, 2, hash);
}

void
gw_trust_hash_serial(const mbedtls_x509_buf *issuer, const mbedtls_x509_buf *serial, uint8_t hash[GW_TRUST_HASH_BYTES])
{
	hash_parts((const mbedtls_x509_buf *const[]){ issuer, serial }, 2, hash);
}

int
gw_trust_compare(const void *a, const void *b)
{
	return memcmp(a, b, GW_TRUST_HASH_BYTES);
}

static bool
has(uint8_t (*sorted)[GW_TRUST_HASH_BYTES], size_t count, const uint8_t *hash)
{
	return count > 0 && bsearch(hash, sorted, count, GW_TRUST_HASH_BYTES, gw_trust_compare) != NULL;
}

int64_t
gw_trust_seconds(const mbedtls_x509_time *time)
{
	struct tm tm = { .tm_year = time->year - 1900, .tm_mon = time->mon - 1, .tm_mday = time->day, .tm_hour = time->hour, .tm_min = time->min,
		.tm_sec = time->sec };

	return timegm(&tm);
}

// ---- Proof ----

// Called from the authority down to the peer's own certificate.
int
gw_trust_verify(void *arg, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
	struct gw_trust_check *check = arg;
	struct gw_trust_proof *proof = &check->proof;
	int64_t until_s = gw_trust_seconds(&crt->valid_to);

	if (!check->trust->crl_expired_refused)
		*flags &= ~(uint32_t)(MBEDTLS_X509_BADCRL_EXPIRED | MBEDTLS_X509_BADCRL_FUTURE);
	if (depth > GW_TRUST_LINKS_MAX) {
		*flags |= MBEDTLS_X509_BADCERT_OTHER;
		return 0;
	}
	if (!proof->proved) {
		*proof = (struct gw_trust_proof){ .proved = 1, .links = (uint8_t)depth, .until_s = until_s };
		gw_trust_hash_anchor(crt, proof->anchor);
	} else {
		gw_trust_hash_serial(&crt->issuer_raw, &crt->serial, proof->link[depth < GW_TRUST_LINKS_MAX ? depth : 0]);
	}
	if (until_s < proof->until_s)
		proof->until_s = until_s;
	return 0;
}

enum gw_refused
gw_trust_refused(uint32_t flags)
{
	static const struct { uint32_t flag; enum gw_refused reason; } reasons[] = { { MBEDTLS_X509_BADCERT_NOT_TRUSTED, GW_REFUSED_CERTIFICATE_FOREIGN },
		{ MBEDTLS_X509_BADCERT_REVOKED, GW_REFUSED_CERTIFICATE_REVOKED }, { MBEDTLS_X509_BADCERT_EXPIRED, GW_REFUSED_CERTIFICATE_EXPIRED },
		{ MBEDTLS_X509_BADCERT_FUTURE, GW_REFUSED_CERTIFICATE_FUTURE }, { MBEDTLS_X509_BADCRL_EXPIRED, GW_REFUSED_CRL_EXPIRED } };

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if ((flags & reasons[i].flag) != 0)
			return reasons[i].reason;
	return GW_REFUSED_CERTIFICATE_BAD;
}

enum gw_refused
gw_trust_lapsed(const struct gw_trust *trust, const struct gw_trust_proof *proof, int64_t now_s)
{
	if (!proof->proved)
		return GW_REFUSED_NONE;
	if (now_s > proof->until_s)
		return GW_REFUSED_CERTIFICATE_EXPIRED;
	for (size_t i = 0; i < proof->links && i < GW_TRUST_LINKS_MAX; i++)
		if (has(trust->revoked, trust->revoked_count, proof->link[i]))
			return GW_REFUSED_CERTIFICATE_REVOKED;
	if (!has(trust->anchors, trust->anchor_count, proof->anchor))
		return GW_REFUSED_CERTIFICATE_FOREIGN;
	return GW_REFUSED_NONE;
}

bool
gw_trust_stale(const struct gw_trust *trust, int64_t now_s)
{
	return trust->crl_expired_refused && trust->list_count > 0 && now_s > trust->lists_until_s;
}

// ---- Rules ----

static const char *const sources[] = { [GW_TRUST_CN] = "cn", [GW_TRUST_DNS] = "dns", [GW_TRUST_URI] = "uri", [GW_TRUST_IP] = "ip", [GW_TRUST_EMAIL] = "email" };

static bool
source_of(const char *text, enum gw_trust_source *source)
{
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		if (strcmp(sources[i], text) == 0) {
			*source = (enum gw_trust_source)i;
			return true;
		}
	}
	return false;
}

// \1 is no part of POSIX extended expressions, and matching it may take for ever.
static bool
refers_back(const char *pattern)
{
	for (; *pattern != '\0'; pattern++) {
		if (pattern[0] == '\\' && pattern[1] >= '1' && pattern[1] <= '9')
			return true;
		pattern += pattern[0] == '\\' && pattern[1] != '\0';
	}
	return false;
}

static enum gw_error
rule_failed(struct gw_why *why, const struct gw_config_mapping *given, const char *words)
{
	return gw_fail(why, GW_E_CONFIG, "tls.identities: from %s, match \"%.60s\": %.80s", given->from, given->match, words);
}

// The pattern by itself first: what is put around it must not make a right one of a wrong one.
static enum gw_error
compile(struct gw_trust_rule *rule, const struct gw_config_mapping *given, struct gw_why *why)
{
	char *whole = NULL, words[80];
	enum gw_error error = GW_OK;
	size_t groups;
	int rc;

	if (refers_back(given->match))
		return rule_failed(why, given, "a pattern cannot refer back (\\1)");
	if ((rc = regcomp(&rule->match, given->match, REG_EXTENDED)) != 0) {
		regerror(rc, &rule->match, words, sizeof(words));
		return rule_failed(why, given, words);
	}
	groups = rule->match.re_nsub;
	regfree(&rule->match);
	if (groups != 1)
		return rule_failed(why, given, "it needs exactly one group in parentheses: the device's cert_subject");
	if (asprintf(&whole, "^(%s)$", given->match) < 0)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if (regcomp(&rule->match, whole, REG_EXTENDED) != 0)
		error = rule_failed(why, given, "it cannot be used");
	free(whole);
	return error;
}

static enum gw_error
add_rule(struct gw_trust *trust, const struct gw_config_mapping *given, struct gw_why *why)
{
	struct gw_trust_rule *rule = &trust->rules[trust->rule_count];
	enum gw_error error = GW_OK;

	if (!source_of(given->from, &rule->from))
		return rule_failed(why, given, "there is no such name in a certificate");
	rule->whole = given->match[0] == '\0';
	if (!rule->whole)
		error = compile(rule, given, why);
	trust->rule_count += error == GW_OK;
	return error;
}

static void
hash_rules(struct gw_trust *trust, const struct gw_config_list *identities)
{
	const struct gw_config_mapping *given = identities != NULL ? identities->at : NULL;
	mbedtls_x509_buf parts[2 * GW_TRUST_RULES_MAX + 1];
	const mbedtls_x509_buf *list[2 * GW_TRUST_RULES_MAX + 1];
	size_t count = 0;

	parts[count++] = (mbedtls_x509_buf){ .p = (unsigned char *)&trust->crl_expired_refused, .len = sizeof(trust->crl_expired_refused) };
	for (size_t i = 0; i < trust->rule_count; i++) {
		parts[count++] = (mbedtls_x509_buf){ .p = (unsigned char *)given[i].from, .len = strlen(given[i].from) };
		parts[count++] = (mbedtls_x509_buf){ .p = (unsigned char *)given[i].match, .len = strlen(given[i].match) };
	}
	for (size_t i = 0; i < count; i++)
		list[i] = &parts[i];
	hash_parts(list, count, trust->rules_hash);
}

enum gw_error
gw_trust_make_rules(struct gw_trust *trust, const struct gw_config_list *identities, struct gw_why *why)
{
	const struct gw_config_mapping *given = identities != NULL ? identities->at : NULL;
	size_t count = identities != NULL ? identities->count : 0;
	enum gw_error error = GW_OK;

	if (count > GW_TRUST_RULES_MAX)
		return gw_fail(why, GW_E_CONFIG, "tls.identities: more than %d", GW_TRUST_RULES_MAX);
	for (size_t i = 0; i < count && error == GW_OK; i++)
		error = add_rule(trust, &given[i], why);
	if (error == GW_OK)
		hash_rules(trust, identities);
	return error;
}

void
gw_trust_free_rules(struct gw_trust *trust)
{
	for (size_t i = 0; i < trust->rule_count; i++)
		if (!trust->rules[i].whole)
			regfree(&trust->rules[i].match);
	trust->rule_count = 0;
}

enum gw_error
gw_trust_check_rules(const struct gw_config_list *identities, struct gw_why *why)
{
	struct gw_trust *trust = calloc(1, sizeof(*trust));
	enum gw_error error;

	if (trust == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	error = gw_trust_make_rules(trust, identities, why);
	gw_trust_free_rules(trust);
	free(trust);
	return error;
}

const uint8_t *
gw_trust_rules_hash(const struct gw_trust *trust)
{
	return trust->rules_hash;
}

// ---- Names ----

// Names shorter than what we keep, without control characters: they go into the registry's look-up and into diagnostics.
static bool
is_fit(struct gw_span name)
{
	if (name.len == 0 || name.len > GW_TLS_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (name.at[i] < 0x20 || name.at[i] == 0x7F)
			return false;
	return true;
}

struct search {
	const struct gw_trust_rule *rule; // NULL: the name as it stands
	gw_trust_subject_fn *subject;
	void *arg;
	struct gw_tls_identity *identity;
};

// What the rule makes of it. False: it does not match.
static bool
apply_rule(const struct gw_trust_rule *rule, struct gw_span *name)
{
	char text[GW_TLS_NAME_MAX + 1];
	regmatch_t groups[3]; // the whole, the pattern, its group

	if (rule == NULL || rule->whole)
		return true;
	memcpy(text, name->at, name->len);
	text[name->len] = '\0';
	if (regexec(&rule->match, text, 3, groups, 0) != 0 || groups[2].rm_so < 0)
		return false;
	*name = gw_span(name->at + groups[2].rm_so, (size_t)(groups[2].rm_eo - groups[2].rm_so));
	return name->len > 0;
}

// True: it is somebody's, and the search is over.
static bool
try_name(const struct search *search, struct gw_span name)
{
	struct gw_tls_identity *id = search->identity;

	if (!is_fit(name) || !apply_rule(search->rule, &name))
		return false;
	if (search->subject != NULL && !search->subject(search->arg, name))
		return false;
	memcpy(id->name, name.at, name.len);
	id->name[name.len] = '\0';
	id->known = true;
	return true;
}

static bool
try_common_names(const struct search *search, const mbedtls_x509_crt *crt)
{
	for (const mbedtls_x509_name *part = &crt->subject; part != NULL; part = part->next)
		if (MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &part->oid) == 0 && try_name(search, gw_span(part->val.p, part->val.len)))
			return true;
	return false;
}

static bool
try_address(const struct search *search, const mbedtls_x509_buf *san)
{
	char text[INET6_ADDRSTRLEN];

	if (san->len != 4 && san->len != 16)
		return false;
	return inet_ntop(san->len == 4 ? AF_INET : AF_INET6, san->p, text, sizeof(text)) != NULL && try_name(search, gw_span_text(text));
}

// RFC 5280 section 4.2.1.6.
static bool
try_alternative_names(const struct search *search, const mbedtls_x509_crt *crt, enum gw_trust_source from)
{
	static const int tags[] = { [GW_TRUST_DNS] = MBEDTLS_X509_SAN_DNS_NAME, [GW_TRUST_URI] = MBEDTLS_X509_SAN_UNIFORM_RESOURCE_IDENTIFIER,
		[GW_TRUST_IP] = MBEDTLS_X509_SAN_IP_ADDRESS, [GW_TRUST_EMAIL] = MBEDTLS_X509_SAN_RFC822_NAME };

	for (const mbedtls_x509_sequence *san = &crt->subject_alt_names; san != NULL; san = san->next) {
		if ((san->buf.tag & (MBEDTLS_ASN1_TAG_CLASS_MASK | MBEDTLS_ASN1_TAG_VALUE_MASK)) != (MBEDTLS_ASN1_CONTEXT_SPECIFIC | tags[from]))
			continue;
		if (from == GW_TRUST_IP ? try_address(search, &san->buf) : try_name(search, gw_span(san->buf.p, san->buf.len)))
			return true;
	}
	return false;
}

static bool
try_source(const struct search *search, const mbedtls_x509_crt *crt, enum gw_trust_source from)
{
	return from == GW_TRUST_CN ? try_common_names(search, crt) : try_alternative_names(search, crt, from);
}

// For the record, where no name is anybody's.
static void
name_unknown(const mbedtls_x509_crt *crt, struct gw_tls_identity *identity)
{
	const struct search any = { .identity = identity };

	if (!try_common_names(&any, crt))
		(void)try_alternative_names(&any, crt, GW_TRUST_DNS);
	identity->known = false;
}

void
gw_trust_identify(const struct gw_trust *trust, const mbedtls_x509_crt *crt, gw_trust_subject_fn *subject, void *arg, struct gw_tls_identity *identity)
{
	static const enum gw_trust_source usual[] = { GW_TRUST_CN, GW_TRUST_DNS };
	struct search search = { .subject = subject, .arg = arg, .identity = identity };
	bool found = false;

	*identity = (struct gw_tls_identity){ .auth = GW_AUTH_CERTIFICATE };
	for (size_t i = 0; trust->rule_count == 0 && i < 2 && !found; i++)
		found = try_source(&search, crt, usual[i]);
	for (size_t i = 0; i < trust->rule_count && !found; i++) {
		search.rule = &trust->rules[i];
		found = try_source(&search, crt, trust->rules[i].from);
	}
	if (!found)
		name_unknown(crt, identity);
}
