// SPDX-License-Identifier: Apache-2.0
// From the configuration to settings: one small check per rule, in a table; the first that fails speaks. Any thread; keeps nothing.
#include "adapters/hl7/settings.h"

#include "adapters/hl7/oru.h"
#include "adapters/tls/tls_client.h"
#include "gateway/nearest.h"
#include "gateway/nomenclature.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

// One destination being made.
struct maker {
	const struct gw_config *config;
	const struct gw_config_destination *from;
	struct gw_hl7_settings *to;
	struct gw_why *why;
};

static enum gw_error
wrong(const struct maker *m, size_t line, const char *format, ...) __attribute__((format(printf, 3, 4)));

static enum gw_error
wrong(const struct maker *m, size_t line, const char *format, ...)
{
	char words[160];
	va_list list;

	va_start(list, format);
	vsnprintf(words, sizeof(words), format, list);
	va_end(list);
	return gw_fail(m->why, GW_E_CONFIG, "line %zu: destination \"%.32s\": %s", line, m->from->name, words);
}

// ---- Who it is, and where ----

// The name becomes part of the store's keys.
static enum gw_error
check_name(const struct maker *m)
{
	const struct gw_config_destination *all = m->config->hl7_destinations.at;
	const char *name = m->from->name;
	size_t len = strlen(name);

	if (len == 0)
		return wrong(m, m->from->line, "it has no name: say name: pdms");
	if (len > GW_HL7_NAME_MAX || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != len)
		return wrong(m, m->from->line, "name is 1 to %d letters, digits, '-', '_' or '.'", GW_HL7_NAME_MAX);
	for (const struct gw_config_destination *other = all; other < m->from; other++)
		if (strcmp(other->name, name) == 0)
			return wrong(m, m->from->line, "line %zu has this name too; each needs its own", other->line);
	return GW_OK;
}

static enum gw_error
check_host(const struct maker *m)
{
	const char *host = m->from->host;

	if (host[0] == '\0')
		return wrong(m, m->from->line, "it has no host: name its host or address");
	if (strlen(host) > 253 || strpbrk(host, " \t/@[]") != NULL)
		return wrong(m, m->from->line, "host is a name or an address, not \"%.60s\"", host);
	return GW_OK;
}

static enum gw_error
check_tls(const struct maker *m)
{
	const struct gw_config_destination *d = m->from;
	struct gw_why why;

	if (!d->tls && (d->ca[0] != '\0' || d->certificate[0] != '\0' || d->key[0] != '\0' || d->server_name[0] != '\0'))
		return wrong(m, d->line, "ca, certificate, key and server_name are for TLS: say tls: true, or leave them out");
	if (!d->tls)
		return GW_OK;
	if (d->ca[0] == '\0')
		return wrong(m, d->line, "tls needs ca: the file of the authorities that its certificate must come from");
	if ((d->certificate[0] != '\0') != (d->key[0] != '\0'))
		return wrong(m, d->line, "certificate and key belong together: %s is missing", d->key[0] != '\0' ? "certificate" : "key");
	if (gw_tls_client_check(&(struct gw_tls_client_options){ .ca = d->ca, .certificate = d->certificate, .key = d->key }, &why) != GW_OK)
		return wrong(m, d->line, "%s", why.text);
	return GW_OK;
}

// ---- The message ----

static enum gw_error
set_processing_id(const struct maker *m)
{
	const char *id = m->from->processing_id;
	bool production = m->from->production;

	if (strcmp(id, "usual") == 0)
		id = production ? "P" : "D";
	if (production && strcmp(id, "P") != 0)
		return wrong(m, m->from->line, "processing_id %s is for tests: with production: true it is P (or say production: false)", id);
	if (!production && strcmp(id, "P") == 0)
		return wrong(m, m->from->line, "processing_id P would have tests charted: with production: false it is D or T");
	m->to->processing_id = id;
	return GW_OK;
}

static enum gw_error
set_acknowledgement(const struct maker *m)
{
	static const struct { const char *name, *accept, *application; } modes[] = {
		{ "AL/NE", "AL", "NE" }, { "original", "", "" }, { "NE/AL", "NE", "AL" }, { "AL/AL", "AL", "AL" }, { "NE/NE", "NE", "NE" },
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(modes[i].name, m->from->acknowledgement) != 0)
			continue;
		m->to->accept_ack = modes[i].accept;
		m->to->application_ack = modes[i].application;
		return GW_OK;
	}
	return wrong(m, m->from->line, "acknowledgement is not known");
}

// HL7 before 2.3 knows no MSH-18 that repeats and no enhanced mode's MSH-21; what it has is sent all the same, so nothing is refused for its age.
static enum gw_error
set_charset(const struct maker *m)
{
	const struct gw_hl7_charset *charset = gw_hl7_charset_find(gw_span_text(m->from->charset));

	if (charset == NULL || !gw_hl7_charset_writes(charset))
		return wrong(m, m->from->line, "charset is UNICODE UTF-8, 8859/1, 8859/15 or ASCII, not \"%.40s\"", m->from->charset);
	m->to->charset = charset;
	return GW_OK;
}

static bool
printable(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

static enum gw_error
check_names_in_header(const struct maker *m)
{
	const struct gw_config_destination *d = m->from;
	const struct { const char *option, *text; } texts[] = {
		{ "sending_application", d->sending_application }, { "sending_facility", d->sending_facility },
		{ "receiving_application", d->receiving_application }, { "receiving_facility", d->receiving_facility },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (!printable(texts[i].text) || strlen(texts[i].text) > 180)
			return wrong(m, d->line, "%s is a short text without control characters", texts[i].option);
	return GW_OK;
}

// ---- Overrides ----

static bool
is_segment(const char *name)
{
	static const char segments[][4] = { "MSH", "PID", "PV1", "OBR", "OBX" };

	for (size_t i = 0; i < sizeof(segments) / sizeof(segments[0]); i++)
		if (strcmp(segments[i], name) == 0)
			return true;
	return false;
}

// "MSH-5.1", "OBR-24"
static bool
parse_field(const char *text, struct gw_hl7_override *out)
{
	int end = 0, first;

	if (strlen(text) < 5 || text[3] != '-' || !isdigit((unsigned char)text[4]))
		return false;
	memcpy(out->segment, text, 3);
	out->segment[3] = '\0';
	if (sscanf(text + 4, "%3u%n", &out->field, &first) != 1 || out->field == 0 || out->field > 99)
		return false;
	text += 4 + first;
	if (text[0] == '\0')
		return true;
	return text[0] == '.' && isdigit((unsigned char)text[1]) && sscanf(text + 1, "%3u%n", &out->component, &end) == 1 && text[1 + end] == '\0' &&
	    out->component > 0 && out->component <= 30;
}

static enum gw_error
take_override(const struct maker *m, const struct gw_config_pair *pair, struct gw_hl7_override *out)
{
	if (!parse_field(pair->key, out))
		return wrong(m, pair->line, "overrides: a field is written MSH-5 or PV1-3.4, not \"%.24s\"", pair->key);
	if (!is_segment(out->segment))
		return wrong(m, pair->line, "overrides: the message has MSH, PID, PV1, OBR and OBX, and no \"%s\"", out->segment);
	if (gw_hl7_override_refused(out) != NULL)
		return wrong(m, pair->line, "overrides: %s-%u is no constant: %s", out->segment, out->field, gw_hl7_override_refused(out));
	if (!printable(pair->value) || strpbrk(pair->value, out->component != 0 ? "|~^" : "|") != NULL)
		return wrong(m, pair->line, "overrides: the value of %s has separators or control characters; write \\F\\ for |, \\S\\ for ^, \\R\\ for ~", pair->key);
	if (strlen(pair->value) > 1000)
		return wrong(m, pair->line, "overrides: the value of %s is longer than 1000 bytes", pair->key);
	out->value = pair->value;
	return GW_OK;
}

static enum gw_error
set_overrides(const struct maker *m)
{
	const struct gw_config_pairs *pairs = &m->from->overrides;
	struct gw_hl7_override *overrides;
	enum gw_error error = GW_OK;

	if (pairs->count == 0)
		return GW_OK;
	if ((overrides = calloc(pairs->count, sizeof(*overrides))) == NULL)
		return gw_fail(m->why, GW_E_MEMORY, "out of memory");
	m->to->overrides = overrides;
	m->to->override_count = pairs->count;
	for (size_t i = 0; i < pairs->count && error == GW_OK; i++)
		error = take_override(m, &pairs->at[i], &overrides[i]);
	return error;
}

// ---- What goes out ----

static enum gw_hl7_select
select_of(const char *name)
{
	return strcmp(name, "every") == 0 ? GW_HL7_EVERY : strcmp(name, "first") == 0 ? GW_HL7_FIRST : GW_HL7_LAST;
}

// A name, or a beginning and one '*' at its end.
static bool
is_pattern(const char *text)
{
	size_t plain = strcspn(text, "*");

	return text[0] != '\0' && printable(text) && strlen(text) <= 128 && (text[plain] == '\0' || text[plain + 1] == '\0');
}

static enum gw_error
check_signal(const struct maker *m, const char *name, size_t line)
{
	size_t plain = strcspn(name, "*");
	const struct gw_signal *signal;
	struct gw_nearest nearest;
	char hint[160];

	if (!is_pattern(name))
		return wrong(m, line, "\"%.40s\" is no name of a signal, nor a beginning and *", name);
	gw_nearest_init(&nearest, gw_span(name, plain));
	for (size_t i = 0; (signal = gw_signal_at(i)) != NULL; i++) {
		if (name[plain] == '*' ? strncmp(signal->name, name, plain) == 0 : strcmp(signal->name, name) == 0)
			return GW_OK;
		gw_nearest_try(&nearest, signal->name);
	}
	return wrong(m, line, "no signal is called \"%.40s\"%.80s", name, gw_nearest_words(&nearest, hint));
}

// An array of the texts; *out is NULL for none.
static enum gw_error
set_patterns(const struct maker *m, const char *option, const struct gw_config_texts *from, const char *const **out, size_t *count)
{
	const char **list;

	if (from->count == 0)
		return GW_OK;
	if ((list = calloc(from->count, sizeof(*list))) == NULL)
		return gw_fail(m->why, GW_E_MEMORY, "out of memory");
	*out = list;
	*count = from->count;
	for (size_t i = 0; i < from->count; i++) {
		list[i] = from->at[i].text;
		if (!is_pattern(list[i]))
			return wrong(m, from->at[i].line, "%s: \"%.40s\" is no name, nor a beginning and *", option, list[i]);
	}
	return GW_OK;
}

static enum gw_error
set_filter(const struct maker *m)
{
	enum gw_error error;

	if ((error = set_patterns(m, "wards", &m->from->wards, &m->to->wards, &m->to->ward_count)) != GW_OK ||
	    (error = set_patterns(m, "devices", &m->from->devices, &m->to->devices, &m->to->device_count)) != GW_OK ||
	    (error = set_patterns(m, "signals", &m->from->signals, &m->to->signals, &m->to->signal_count)) != GW_OK)
		return error;
	for (size_t i = 0; i < m->from->signals.count && error == GW_OK; i++)
		error = check_signal(m, m->from->signals.at[i].text, m->from->signals.at[i].line);
	return error;
}

static enum gw_error
take_rule(const struct maker *m, const struct gw_config_rule *from, struct gw_hl7_signal_rule *to)
{
	enum gw_error error;

	if (from->signal[0] == '\0')
		return wrong(m, from->line, "rules: a rule has no signal");
	if ((error = check_signal(m, from->signal, from->line)) != GW_OK)
		return error;
	for (const struct gw_config_rule *other = m->from->rules.at; other < from; other++)
		if (strcmp(other->signal, from->signal) == 0)
			return wrong(m, from->line, "rules: line %zu has a rule for %.40s too", other->line, from->signal);
	*to = (struct gw_hl7_signal_rule){
		.signal = from->signal,
		.has_select = strcmp(from->select, "same") != 0,
		.has_interval = from->interval_s >= 0,
		.select = select_of(from->select),
		.interval_us = from->interval_s * 1000000,
	};
	return to->has_select || to->has_interval ? GW_OK : wrong(m, from->line, "rules: the rule for %.40s says neither select nor interval_s", from->signal);
}

static enum gw_error
set_rules(const struct maker *m)
{
	const struct gw_config_rule *from = m->from->rules.at;
	size_t count = m->from->rules.count;
	struct gw_hl7_signal_rule *rules;
	enum gw_error error = GW_OK;

	if (count == 0)
		return GW_OK;
	if ((rules = calloc(count, sizeof(*rules))) == NULL)
		return gw_fail(m->why, GW_E_MEMORY, "out of memory");
	m->to->rules = rules;
	m->to->rule_count = count;
	for (size_t i = 0; i < count && error == GW_OK; i++)
		error = take_rule(m, &from[i], &rules[i]);
	return error == GW_OK ? gw_hl7_group_settings(m->to, m->why) : error;
}

static enum gw_error
check_values(const struct maker *m)
{
	if (m->from->decimals >= 0 && strcmp(m->from->values, "canonical") != 0)
		return wrong(m, m->from->line, "decimals is for values: canonical; values as received keep their digits");
	if (m->from->backoff_ms_min > m->from->backoff_ms_max)
		return wrong(m, m->from->line, "backoff_ms_min (%lld) is more than backoff_ms_max (%lld)", (long long)m->from->backoff_ms_min,
		    (long long)m->from->backoff_ms_max);
	return GW_OK;
}

// ---- All of it ----

// IEEE: without one that was assigned, an identifier of our own has the "local" bit set and the "group" bit not.
static uint64_t
eui64_of(const struct gw_config *config, uint64_t incarnation)
{
	if (config->hl7_gateway_eui64[0] != '\0')
		return strtoull(config->hl7_gateway_eui64, NULL, 16);
	return (incarnation | 0x0200000000000000u) & ~0x0100000000000000u;
}

static void
copy(const struct gw_config *config, const struct gw_config_destination *d, uint64_t incarnation, struct gw_hl7_settings *to)
{
	*to = (struct gw_hl7_settings){
		.name = d->name, .host = d->host, .port = (int)d->port,
		.tls = d->tls, .ca = d->ca, .certificate = d->certificate, .key = d->key,
		.server_name = d->server_name[0] != '\0' ? d->server_name : d->host,
		.production = d->production, .version = d->version,
		.sending_application = d->sending_application, .sending_facility = d->sending_facility,
		.receiving_application = d->receiving_application, .receiving_facility = d->receiving_facility,
		.eui64 = eui64_of(config, incarnation),
		.select = select_of(d->select), .interval_us = d->interval_s * 1000000,
		.values = strcmp(d->values, "canonical") == 0 ? GW_HL7_CANONICAL : GW_HL7_AS_RECEIVED, .decimals = (int)d->decimals, .waveforms = d->waveforms,
		.unassociated = strcmp(d->unassociated, "send") == 0 ? GW_HL7_SEND : GW_HL7_HOLD,
		.corrections = strcmp(d->corrections, "resend") == 0 ? GW_HL7_RESEND : GW_HL7_REPORT,
		.answer_ms_max = (int)d->answer_s_max * 1000, .backoff_ms_min = (int)d->backoff_ms_min, .backoff_ms_max = (int)d->backoff_ms_max,
		.errors_max = (unsigned)d->errors_max, .rejected = strcmp(d->rejected, "retry") == 0 ? GW_HL7_RETRY : GW_HL7_PARK,
		.backlog_per_s = (unsigned)d->backlog_per_s,
		.outbox_max = (uint64_t)d->outbox_max, .parked_max = (uint64_t)d->parked_max, .held_max = (uint64_t)d->held_max,
		.backlog_us_max = d->backlog_h_max * 3600 * 1000000,
		.backlog_bytes_max = (uint64_t)config->store_budget_mb * (1 << 20) / 100 * (uint64_t)d->backlog_percent_max,
	};
}

static enum gw_error
make(const struct maker *m)
{
	static enum gw_error (*const steps[])(const struct maker *) = {
		check_name, check_host, check_tls, set_processing_id, set_acknowledgement, set_charset, check_names_in_header, set_overrides, set_filter, set_rules,
		check_values,
	};
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && error == GW_OK; i++)
		error = steps[i](m);
	return error;
}

enum gw_error
gw_hl7_settings_make(const struct gw_config *config, uint64_t incarnation, struct gw_hl7_settings **settings, size_t *count, struct gw_why *why)
{
	const struct gw_config_destination *from = config->hl7_destinations.at;
	size_t wanted = config->hl7_destinations.count;
	struct gw_hl7_settings *list = calloc(wanted + 1, sizeof(*list));
	enum gw_error error = GW_OK;

	*settings = NULL;
	*count = 0;
	if (list == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	for (size_t i = 0; i < wanted && error == GW_OK; i++) {
		copy(config, &from[i], incarnation, &list[i]);
		error = make(&(struct maker){ .config = config, .from = &from[i], .to = &list[i], .why = why });
	}
	if (error != GW_OK) {
		gw_hl7_settings_free(list, wanted);
		return error;
	}
	*settings = list;
	*count = wanted;
	return GW_OK;
}

void
gw_hl7_settings_free(struct gw_hl7_settings *settings, size_t count)
{
	for (size_t i = 0; settings != NULL && i < count; i++) {
		free((void *)(uintptr_t)settings[i].wards); // made here; constant for everybody else
		free((void *)(uintptr_t)settings[i].devices);
		free((void *)(uintptr_t)settings[i].signals);
		free((void *)(uintptr_t)settings[i].rules);
		free((void *)(uintptr_t)settings[i].overrides);
	}
	free(settings);
}
