// SPDX-License-Identifier: Apache-2.0
// Events as messages of RFC 5424. Pure: no I/O, no clock; any thread.
#include "adapters/syslog/syslog.h"

#include "gateway/clock.h"
#include "gateway/event_id.h"
#include "gateway/refusals.h"
#include "gateway/text_out.h"

#include <stdio.h>
#include <string.h>

enum { WARNING = 4, NOTICE = 5 }; // RFC 5424 section 6.2.1

// ---- What goes to a collector ----

static const struct kind {
	uint16_t code;
	uint8_t class, severity;
	const char *words; // where the event's own may tell of a patient's affairs
} kinds[] = {
	{ GW_EVENT_REFUSED_CLAIM, GW_SYSLOG_SECURITY, WARNING, NULL },
	{ GW_EVENT_REFUSED_CREDENTIAL, GW_SYSLOG_SECURITY, WARNING, NULL },
	{ GW_EVENT_REFUSED_MORE, GW_SYSLOG_SECURITY, WARNING, NULL },
	{ GW_EVENT_GAP, GW_SYSLOG_OPERATIONAL, WARNING, "an outlet left something out" },
	{ GW_EVENT_STORE, GW_SYSLOG_OPERATIONAL, WARNING, "the store's state has changed" },
	{ GW_EVENT_OUTLET, GW_SYSLOG_OPERATIONAL, NOTICE, "an outlet's state has changed" },
};

static const struct kind *
kind_of(uint16_t code)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].code == code)
			return &kinds[i];
	return NULL;
}

// What HL7 destinations say of their messages is a matter of patients.
enum gw_syslog_class
gw_syslog_class_of(const struct gw_event *event)
{
	const struct kind *kind = kind_of(event->code);

	if (kind == NULL || (event->code == GW_EVENT_OUTLET && event->door != GW_DOOR_NONE))
		return GW_SYSLOG_NONE;
	return (enum gw_syslog_class)kind->class;
}

// ---- Names ----

int
gw_syslog_facility(const char *name)
{
	static const char *const names[] = { "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit",
		"alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return (int)i;
	return -1;
}

void
gw_syslog_hostname(const char *name, char out[GW_SYSLOG_HOST_MAX + 1])
{
	size_t i;

	for (i = 0; i < GW_SYSLOG_HOST_MAX && name[i] != '\0'; i++)
		out[i] = name[i] > ' ' && name[i] < 0x7f ? name[i] : '?';
	out[i] = '\0';
	if (i == 0)
		strcpy(out, "-");
}

bool
gw_syslog_sd_id(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > 32)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] >= 0x7f || strchr("=]\"", text[i]) != NULL)
			return false;
	return true;
}

// ---- The message ----

// Section 6.3.3: '"', '\' and ']' are escaped; the value is UTF-8.
static void
put_param(struct gw_text_out *out, const char *name, struct gw_span value)
{
	char clean[GW_CLAIMED_MAX + 1];
	size_t len = gw_claimed_clean(value, clean, sizeof(clean));

	if (len == 0)
		return;
	gw_put_text(out, " ");
	gw_put_text(out, name);
	gw_put_text(out, "=\"");
	for (size_t i = 0; i < len; i++) {
		if (strchr("\"\\]", clean[i]) != NULL)
			gw_put_text(out, "\\");
		gw_put_span(out, gw_span(clean + i, 1));
	}
	gw_put_text(out, "\"");
}

static void
put_count(struct gw_text_out *out, const char *name, uint32_t count)
{
	char text[16];

	if (count == 0)
		return;
	snprintf(text, sizeof(text), "%u", (unsigned)count);
	put_param(out, name, gw_span_text(text));
}

static void
put_data(struct gw_text_out *out, const struct gw_syslog_origin *origin, const struct gw_event *event)
{
	char id[33], from[GW_PEER_TEXT];

	gw_event_id(origin->incarnation, event, id);
	gw_put_text(out, "[");
	gw_put_text(out, origin->sd_id);
	put_param(out, "id", gw_span_text(id));
	put_param(out, "event", gw_span_text(gw_event_name(event->code)));
	put_param(out, "reason", gw_span_text(gw_refused_name(event->reason)));
	if (event->door != GW_DOOR_NONE)
		put_param(out, "door", gw_span_text(gw_door_name(event->door)));
	put_param(out, "protocol", gw_span_text(gw_protocol_name(event->protocol)));
	put_param(out, "from", gw_span_text(gw_peer_text(&event->peer, from)));
	put_count(out, "port", event->peer.port);
	put_param(out, "claimed", event->claimed);
	put_param(out, "device", event->device);
	put_count(out, "more", event->more);
	if (event->code == GW_EVENT_GAP)
		put_param(out, "outlet", event->route);
	gw_put_text(out, "]");
}

// Section 6.4: UTF-8 that is more than ASCII begins with its mark.
static void
put_words(struct gw_text_out *out, const struct gw_event *event)
{
	const struct kind *kind = kind_of(event->code);
	char clean[256];
	size_t len = gw_claimed_clean(event->text, clean, sizeof(clean));

	if (kind != NULL && kind->words != NULL && event->door != GW_DOOR_NONE)
		len = (size_t)snprintf(clean, sizeof(clean), "%s", kind->words);
	if (len == 0)
		return;
	gw_put_text(out, " ");
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)clean[i] >= 0x80) {
			gw_put_text(out, "\xEF\xBB\xBF");
			break;
		}
	gw_put_span(out, gw_span(clean, len));
}

size_t
gw_syslog_format(const struct gw_syslog_origin *origin, const struct gw_event *event, char *out, size_t cap)
{
	const struct kind *kind = kind_of(event->code);
	char body[GW_SYSLOG_MESSAGE_MAX], head[GW_SYSLOG_HOST_MAX + 128], time[40];
	struct gw_text_out text = { body, sizeof(body), 0 };

	snprintf(head, sizeof(head), "<%d>1 %s %s vitalgate %ld %s ", origin->facility * 8 + (kind != NULL ? kind->severity : NOTICE),
	    gw_time_format(event->received_us, time), origin->hostname, origin->process, gw_event_name(event->code));
	gw_put_text(&text, head);
	put_data(&text, origin, event);
	put_words(&text, event);
	if (text.len > sizeof(body)) // cannot be: no piece is longer than its limit, and together they are some 1,600 bytes
		text.len = sizeof(body);
	return (size_t)snprintf(out, cap, "%zu %.*s", text.len, (int)text.len, body);
}
