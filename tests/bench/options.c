// SPDX-License-Identifier: Apache-2.0
// The generator's command line, from one table: a row yields the parser and the help.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

enum type { FLAG, UNSIGNED, INTEGER, COUNT, REAL, TEXT };

#define AT(member) offsetof(struct load_options, member)

static const struct row {
	const char *name;
	enum type type;
	size_t at;
	const char *argument, *help;
} rows[] = {
	{ "mqtt",            FLAG,     AT(mqtt),            "",      "publish over MQTT" },
	{ "coap",            FLAG,     AT(coap),            "",      "send requests over CoAP" },
	{ "host",            TEXT,     AT(host),            "ADDR",  "numeric address of the server (127.0.0.1)" },
	{ "port",            UNSIGNED, AT(port),            "N",     "its port" },
	{ "connections",     UNSIGNED, AT(connections),     "N",     "connections or sessions (1)" },
	{ "window",          UNSIGNED, AT(window),          "N",     "messages in flight per connection (1)" },
	{ "refill",          UNSIGNED, AT(refill),          "N",     "send when at least so many of the window are free (half of it)" },
	{ "active",          UNSIGNED, AT(active),          "N",     "messages in flight over all connections, taken in turn (0: no limit)" },
	{ "handshakes",      UNSIGNED, AT(handshakes),      "N",     "handshakes under way at a time (32)" },
	{ "seconds",         REAL,     AT(seconds),         "S",     "length of the measured window (5)" },
	{ "warmup",          REAL,     AT(warmup),          "S",     "load before the window (0.5)" },
	{ "idle",            REAL,     AT(idle),            "S",     "pause with all connections idle, before its memory is read (0.3)" },
	{ "connect-timeout", REAL,     AT(connect_timeout), "S",     "give up connecting after (60)" },
	{ "keep-alive",      REAL,     AT(keep_alive),      "S",     "MQTT keep-alive (600)" },
	{ "count",           COUNT,    AT(count),           "N",     "send exactly so many instead of --seconds" },
	{ "rate",            COUNT,    AT(rate),            "N",     "messages per second over all connections (0: as fast as answered)" },
	{ "ca",              TEXT,     AT(ca),              "FILE",  "CA certificate; without it the server is not verified" },
	{ "cert",            TEXT,     AT(cert),            "FILE",  "client certificate (PEM) for all connections" },
	{ "key",             TEXT,     AT(key),             "FILE",  "its key" },
	{ "ca-key",          TEXT,     AT(ca_key),          "FILE",  "key of --ca: every connection gets a certificate of its own, named like its device" },
	{ "psk-identity",    TEXT,     AT(psk_identity),    "P",     "PSK identity; %05d is the connection's number" },
	{ "psk-keys",        TEXT,     AT(psk_keys),        "FILE",  "lines of identity,key in hexadecimal" },
	{ "psk-key",         TEXT,     AT(psk_key),         "HEX",   "one key for all identities" },
	{ "user",            TEXT,     AT(user),            "P",     "MQTT user name; %05d as above" },
	{ "password",        TEXT,     AT(password),        "TEXT",  "MQTT password" },
	{ "device",          TEXT,     AT(device),          "P",     "device name (bench-%05d)" },
	{ "device-first",    UNSIGNED, AT(device_first),    "N",     "number of the first connection (0)" },
	{ "tls-min",         TEXT,     AT(tls_min),         "V",     "1.2 or 1.3" },
	{ "tls-max",         TEXT,     AT(tls_max),         "V",     "1.2 or 1.3" },
	{ "suite",           TEXT,     AT(suite),           "NAME",  "the only cipher suite offered, Mbed TLS's name" },
	{ "cid",             FLAG,     AT(cid),             "",      "offer a DTLS Connection ID" },
	{ "quick-ack",       FLAG,     AT(quick_ack),       "",      "acknowledge TCP segments at once, for a server that has Nagle's algorithm on" },
	{ "plain",           FLAG,     AT(plain),           "",      "no TLS or DTLS" },
	{ "payload",         TEXT,     AT(payload),         "FILE",  "payload template" },
	{ "topic",           TEXT,     AT(topic),           "T",     "topic or path; {device} is replaced" },
	{ "method",          TEXT,     AT(method),          "M",     "CoAP: POST or PUT (POST)" },
	{ "content-format",  INTEGER,  AT(content_format),  "N",     "CoAP Content-Format (110; -1: none)" },
	{ "qos",             UNSIGNED, AT(qos),             "N",     "MQTT QoS (1)" },
	{ "mqtt-version",    UNSIGNED, AT(mqtt_version),    "N",     "4: 3.1.1, 5: 5.0 (4)" },
	{ "persistent",      FLAG,     AT(persistent),      "",      "MQTT: keep the session" },
	{ "base-ms",         COUNT,    AT(base_ms),         "N",     "device time of the first message (ten minutes ago)" },
	{ "step-ms",         UNSIGNED, AT(step_ms),         "N",     "device time between messages of a connection (1)" },
	{ "seq-first",       UNSIGNED, AT(seq_first),       "N",     "sequence number of each connection's first message (0)" },
	{ "ledger",          TEXT,     AT(ledger),          "FILE",  "append a line for each message: S device seq when it is sent, A device seq when it is acknowledged" },
	{ "server-pid",      INTEGER,  AT(server_pid),      "PID",   "measure this process's CPU and memory" },
	{ "wait",            FLAG,     AT(wait),            "",      "say \"ready\" when connected, begin at a line on standard input" },
	{ "poll",            FLAG,     AT(poll),            "",      "never sleep while sending: the server does not pay for waking us" },
	{ "quiet",           FLAG,     AT(quiet),           "",      "no progress lines" },
};

static void
help(FILE *to)
{
	fputs("usage: load --mqtt|--coap --port N --payload FILE --topic T [options]\n", to);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		fprintf(to, "  --%-16s %-5s %s\n", rows[i].name, rows[i].argument, rows[i].help);
}

static _Noreturn void
refuse(const char *what, const char *detail)
{
	fprintf(stderr, "load: %s%s%s (load --help shows the options)\n", what,
	        *detail ? ": " : "", detail);
	exit(2);
}

static void
store(struct load_options *o, const struct row *row, const char *text)
{
	void *to = (char *)o + row->at;
	char *end = NULL;

	switch (row->type) {
	case FLAG:     *(bool *)to = true; return;
	case TEXT:     *(const char **)to = text; return;
	case UNSIGNED: *(unsigned *)to = (unsigned)strtoul(text, &end, 10); break;
	case INTEGER:  *(int *)to = (int)strtol(text, &end, 10); break;
	case COUNT:    *(uint64_t *)to = strtoull(text, &end, 10); break;
	case REAL:     *(double *)to = strtod(text, &end); break;
	}
	if (end == text || *end != 0)
		refuse("not a number", text);
}

static const struct row *
find(const char *argument)
{
	if (strncmp(argument, "--", 2) == 0)
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
			if (strcmp(argument + 2, rows[i].name) == 0)
				return &rows[i];
	refuse("unknown option", argument);
}

static void
defaults(struct load_options *o)
{
	*o = (struct load_options){
		.host = "127.0.0.1", .connections = 1, .window = 1, .handshakes = 32,
		.seconds = 5, .warmup = 0.5, .idle = 0.3, .connect_timeout = 60, .keep_alive = 600,
		.device = "bench-%05d", .method = "POST", .content_format = 110,
		.qos = 1, .mqtt_version = 4, .step_ms = 1,
	};
}

static void
check(const struct load_options *o)
{
	if (o->mqtt == o->coap)
		refuse("choose one of --mqtt and --coap", "");
	if (o->port == 0 || o->port > 65535)
		refuse("--port is missing or out of range", "");
	if (o->payload == NULL || o->topic == NULL)
		refuse("--payload and --topic are needed", "");
	if (o->window == 0 || o->window > (o->coap ? 255 : LOAD_WINDOW_MAX))
		refuse("--window is out of range", "");
	if (o->connections == 0 || o->connections > LOAD_CONNECTIONS_MAX)
		refuse("--connections is out of range", "");
	if (o->qos > 2 || (o->mqtt_version != 4 && o->mqtt_version != 5))
		refuse("--qos is 0, 1 or 2, --mqtt-version 4 or 5", "");
	if ((o->cert == NULL) != (o->key == NULL))
		refuse("--cert and --key belong together", "");
	if (o->ca_key != NULL && (o->ca == NULL || o->cert != NULL))
		refuse("--ca-key needs --ca and excludes --cert", "");
	if (o->psk_identity != NULL && (o->psk_keys == NULL) == (o->psk_key == NULL))
		refuse("--psk-identity needs one of --psk-keys and --psk-key", "");
	if (strcmp(o->method, "POST") != 0 && strcmp(o->method, "PUT") != 0)
		refuse("--method is POST or PUT", o->method);
	if (o->handshakes == 0 || o->refill > o->window)
		refuse("--handshakes is at least 1, --refill at most --window", "");
}

void
load_options_parse(struct load_options *o, int argc, char **argv)
{
	defaults(o);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			help(stdout);
			exit(0);
		}
		const struct row *row = find(argv[i]);
		if (row->type != FLAG && ++i == argc)
			refuse("a value is missing for", argv[i - 1]);
		store(o, row, argv[i]);
	}
	check(o);
	if (o->refill == 0)
		o->refill = o->rate > 0 ? 1 : (o->window + 1) / 2;
}

bool
load_pattern(char *to, size_t room, const char *pattern, unsigned number)
{
	const char *at = strchr(pattern, '%');
	char *end;

	if (at == NULL)
		return (size_t)snprintf(to, room, "%s", pattern) < room;
	unsigned long width = strtoul(at + 1, &end, 10);
	if (*end != 'd' || width > 20)
		return false;
	return (size_t)snprintf(to, room, "%.*s%0*u%s", (int)(at - pattern), pattern, (int)width,
	                        number, end + 1) < room;
}
