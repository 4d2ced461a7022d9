// SPDX-License-Identifier: Apache-2.0
// The syslog outlet's inside: what format.c (pure) and syslog.c (the outlet's thread, commands) share.
//
// What a collector gets: one message of RFC 5424 for each event, framed by its length (RFC 5425 over TLS; the same octet counting of RFC 6587 over plain TCP).
//
//   <PRI>1 TIME HOSTNAME vitalgate PROCID MSGID [SD-ID id="..." event="..." ...] words
//
// MSGID is the event's name ("refused-credential"). TIME is when it happened. Parameters, each where it is known: id (the same event again has the same: collectors
// may get one twice after a broken connection), event, reason, door, protocol, from, port, claimed, device, more. Never a topic, a payload, a measurement, a name or
// a number of a patient.
#ifndef GW_SYSLOG_H
#define GW_SYSLOG_H

#include "gateway/record.h"

#define GW_SYSLOG_MESSAGE_MAX 2048 // every receiver takes this much (RFC 5425 section 4.3.1)
#define GW_SYSLOG_HOST_MAX 255

struct gw_syslog_origin {
	uint8_t facility;         // 0..23
	char hostname[GW_SYSLOG_HOST_MAX + 1]; // printable ASCII; "-" where it is not known
	char sd_id[33];
	long process;
	uint64_t incarnation;     // of the store: for ids
};

enum gw_syslog_class { GW_SYSLOG_NONE, GW_SYSLOG_SECURITY, GW_SYSLOG_OPERATIONAL };
// What an event is to a collector; NONE: nothing.
enum gw_syslog_class gw_syslog_class_of(const struct gw_event *event);

// The facility's number by its name ("authpriv"); -1 for none.
int gw_syslog_facility(const char *name);
// A name that may stand in HOSTNAME: what is not printable ASCII becomes '?'; "" becomes "-".
void gw_syslog_hostname(const char *name, char out[GW_SYSLOG_HOST_MAX + 1]);
// Whether a text may be an SD-ID (RFC 5424 section 6.3.2): 1 to 32 printable ASCII characters without '=', ' ', ']' and '"'.
bool gw_syslog_sd_id(const char *text);

// The message with its frame ("83 <84>1 ..."). Returns its length: never more than cap, which is at least GW_SYSLOG_MESSAGE_MAX + 8.
size_t gw_syslog_format(const struct gw_syslog_origin *origin, const struct gw_event *event, char *out, size_t cap);

#endif
