// SPDX-License-Identifier: Apache-2.0
// The syslog outlet: one thread follows the journal and sends events to a collector. Syslog has no acknowledgement: the cursor moves when the other side's TCP has
// what was sent (nothing unacknowledged is left in the socket); after a connection that broke, what was not is sent again, under the same ids.
#include "adapters/syslog/syslog.h"

#include "adapters/hl7/connection.h"
#include "gateway/clock.h"
#include "gateway/core.h"
#include "gateway/diag.h"
#include "gateway/follow.h"
#include "gateway/ledger.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <poll.h>
#include <unistd.h>

#define BACKOFF_MS_MIN 500
#define BACKOFF_MS_MAX 30000
#define CONNECT_MS_MAX 15000
#define SEND_MS_MAX 15000
#define DEAD_MS_MAX 20000 // without an acknowledgement by the other side's TCP the connection is given up
#define LIMIT_US 5000000
#define LOOK_US 20000
#define STOP_MS_MAX 1500
#define REWIND_MS_MAX 10000

struct syslog {
	struct gw_core *core;
	const struct gw_config *config;
	struct gw_syslog_origin origin;
	struct gw_hl7_peer peer;
	struct gw_hl7_connection *connection;
	struct gw_follow *follow;
	struct gw_source source; // rewinding
	pthread_t thread;
	int stop_fd;
	uint64_t done, given;    // taken by the collector's TCP; looked at
	bool unsettled;          // something was sent since
	int backoff_ms;
	int64_t limit_us, looked_us; // when the limits of the backlog, and the socket, were looked at
	_Atomic bool stopping, connected;
	_Atomic uint64_t sent, connects;

	pthread_mutex_t lock; // guards all below
	pthread_cond_t rewound;
	struct { bool wanted; uint64_t position; enum gw_error result; } rewind;
	char last_error[192];
};

// ---- The connection ----

static void
note_error(struct syslog *syslog, const char *words)
{
	pthread_mutex_lock(&syslog->lock);
	snprintf(syslog->last_error, sizeof(syslog->last_error), "%s", words);
	pthread_mutex_unlock(&syslog->lock);
}

static void
hang_up(struct syslog *syslog, const char *words)
{
	if (words != NULL) {
		note_error(syslog, words);
		gw_diag(GW_WARNING, "syslog.lost", "collector=%s: %s", syslog->peer.host, words);
	}
	gw_hl7_connection_close(syslog->connection);
	syslog->connected = false;
	syslog->unsettled = false;
	syslog->given = syslog->done;
	gw_follow_seek(syslog->follow, syslog->done);
}

static bool
is_up(const struct syslog *syslog)
{
	return syslog->connection->fd >= 0;
}

// A collector says nothing; but its end, and what belongs to TLS, is seen.
static void
look(struct syslog *syslog)
{
	struct pollfd fd = { .fd = syslog->connection->fd, .events = POLLIN };
	enum gw_tls_step step;
	char bytes[512];
	size_t len;
	ssize_t n;

	if (poll(&fd, 1, 0) <= 0)
		return;
	if (syslog->connection->tls == NULL) {
		n = recv(fd.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			hang_up(syslog, n == 0 ? "closed by the collector" : strerror(errno));
		return;
	}
	while ((step = gw_tls_link_read(syslog->connection->tls, bytes, sizeof(bytes), &len)) == GW_TLS_DONE)
		;
	if (step == GW_TLS_CLOSED || step == GW_TLS_FAILED)
		hang_up(syslog, gw_tls_link_reason(syslog->connection->tls));
}

// Nothing of what was sent is unacknowledged any more: the cursor may follow. Whether the connection was reset is looked at last: the queue tells nothing then.
static void
settle(struct syslog *syslog)
{
	int left = 0;

	if (syslog->unsettled) {
		int failed = ioctl(syslog->connection->fd, SIOCOUTQ, &left);

		look(syslog);
		if (!is_up(syslog) || failed != 0 || left > 0)
			return;
	}
	syslog->unsettled = false;
	if (syslog->given > syslog->done) {
		gw_follow_done(syslog->follow, syslog->done = syslog->given);
		syslog->backoff_ms = BACKOFF_MS_MIN;
	}
}

// Twice as long each time, plus or minus a quarter.
static int
next_backoff_ms(struct syslog *syslog)
{
	uint32_t random = 0;
	int ms = syslog->backoff_ms;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = (uint32_t)gw_clock_mono_us();
	syslog->backoff_ms = ms * 2 < BACKOFF_MS_MAX ? ms * 2 : BACKOFF_MS_MAX;
	return ms - ms / 4 + (int)(random % (uint32_t)(ms / 2 + 1));
}

static void
limit_backlog(struct syslog *syslog)
{
	int64_t now = gw_clock_mono_us();
	uint64_t left_out;

	if (syslog->limit_us != 0 && now - syslog->limit_us < LIMIT_US)
		return;
	syslog->limit_us = now;
	if ((left_out = gw_follow_limit(syslog->follow)) == 0)
		return;
	syslog->given = left_out;
	if (!syslog->unsettled)
		gw_follow_done(syslog->follow, syslog->done = left_out);
}

static void rewind_if_wanted(struct syslog *syslog);

static void
pause_a_while(struct syslog *syslog)
{
	int64_t until = gw_clock_mono_us() + next_backoff_ms(syslog) * 1000LL, left;
	struct pollfd stop = { .fd = syslog->stop_fd, .events = POLLIN };

	while (!syslog->stopping && (left = until - gw_clock_mono_us()) > 0) {
		(void)poll(&stop, 1, left < 200000 ? (int)(left / 1000) + 1 : 200);
		rewind_if_wanted(syslog);
		gw_follow_tend(syslog->follow);
	}
}

static void
dial(struct syslog *syslog)
{
	struct gw_why why = { "" };
	int dead_ms = DEAD_MS_MAX;

	hang_up(syslog, NULL);
	syslog->limit_us = 0;
	limit_backlog(syslog);
	if (gw_hl7_connection_open(syslog->connection, &syslog->peer, CONNECT_MS_MAX, &why) != GW_OK) {
		if (syslog->stopping)
			return;
		gw_diag(syslog->backoff_ms == BACKOFF_MS_MIN ? GW_WARNING : GW_DEBUG, "syslog.away", "%s", why.text);
		note_error(syslog, why.text);
		pause_a_while(syslog);
		return;
	}
	(void)setsockopt(syslog->connection->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms));
	gw_diag(GW_NOTICE, "syslog.connected", "collector=%s port=%d from=%llu", syslog->peer.host, syslog->peer.port, (unsigned long long)syslog->done + 1);
	syslog->connected = true;
	syslog->connects++;
}

// ---- Records ----

static bool
is_wanted(const struct syslog *syslog, const struct gw_event *event)
{
	enum gw_syslog_class class = gw_syslog_class_of(event);

	return class == GW_SYSLOG_SECURITY || (class == GW_SYSLOG_OPERATIONAL && syslog->config->syslog_operational);
}

static void
take(struct syslog *syslog, const struct gw_record *record)
{
	char message[GW_SYSLOG_MESSAGE_MAX + 8];
	struct gw_event event;
	enum gw_error error;
	size_t len;

	if (record->type == GW_RECORD_DEVICE_EVENT && gw_event_open(record, &event, NULL) == GW_OK && is_wanted(syslog, &event)) {
		len = gw_syslog_format(&syslog->origin, &event, message, sizeof(message));
		error = gw_hl7_connection_write(syslog->connection, gw_span(message, len), SEND_MS_MAX);
		if (error != GW_OK) {
			hang_up(syslog, error == GW_E_TIMEOUT ? "the collector takes nothing" : error == GW_E_STOPPING ? NULL : "the connection broke");
			return;
		}
		syslog->sent++;
		syslog->unsettled = true;
	}
	syslog->given = record->position;
	if (!syslog->unsettled)
		settle(syslog);
}

// ---- Rewinding ----

static enum gw_error
rewind_to(struct syslog *syslog, uint64_t position)
{
	struct gw_ticket *ticket = gw_ticket_get(&syslog->source);
	enum gw_error error;

	if (ticket == NULL)
		return GW_E_BUSY;
	if (position > syslog->done)
		position = syslog->done;
	ticket->essential = true;
	if ((error = gw_follow_move(syslog->follow, ticket, position)) == GW_OK) {
		error = gw_intake_commit(ticket);
		syslog->done = syslog->given = position;
		syslog->unsettled = false;
		gw_follow_seek(syslog->follow, position);
	}
	gw_ticket_release(ticket);
	return error;
}

static void
rewind_if_wanted(struct syslog *syslog)
{
	uint64_t position;
	enum gw_error error;
	bool wanted;

	pthread_mutex_lock(&syslog->lock);
	wanted = syslog->rewind.wanted;
	position = syslog->rewind.position;
	pthread_mutex_unlock(&syslog->lock);
	if (!wanted)
		return;
	error = rewind_to(syslog, position);
	pthread_mutex_lock(&syslog->lock);
	syslog->rewind.wanted = false;
	syslog->rewind.result = error;
	pthread_cond_broadcast(&syslog->rewound);
	pthread_mutex_unlock(&syslog->lock);
}

// ---- The thread ----

// What is under way still gets a moment.
static void
finish(struct syslog *syslog)
{
	struct timespec pause = { .tv_nsec = 10000000 };

	for (int i = 0; is_up(syslog) && syslog->unsettled && i < STOP_MS_MAX / 10; i++) {
		settle(syslog);
		if (syslog->unsettled)
			nanosleep(&pause, NULL);
	}
	gw_hl7_connection_close(syslog->connection);
}

// Also while record follows record.
static void
tend(struct syslog *syslog)
{
	int64_t now = gw_clock_mono_us();

	if (now - syslog->looked_us < LOOK_US)
		return;
	syslog->looked_us = now;
	if (!syslog->unsettled)
		look(syslog);
	if (is_up(syslog))
		settle(syslog);
}

static void *
run(void *arg)
{
	struct syslog *syslog = arg;
	struct gw_record record;

	pthread_setname_np(pthread_self(), "vg-syslog");
	while (!syslog->stopping) {
		rewind_if_wanted(syslog);
		if (!is_up(syslog)) {
			dial(syslog);
			continue;
		}
		limit_backlog(syslog);
		if (gw_follow_next(syslog->follow, syslog->unsettled ? 20 : 500, &record))
			take(syslog, &record);
		if (is_up(syslog))
			tend(syslog);
	}
	finish(syslog);
	return NULL;
}

// ---- The part ----

static bool
enabled(const struct gw_config *config)
{
	return config->syslog_enabled;
}

static struct gw_hl7_peer
peer_of(const struct gw_config *config)
{
	return (struct gw_hl7_peer){ .host = config->syslog_host, .port = (int)config->syslog_port, .tls = config->syslog_tls, .files = {
	    .ca = config->syslog_ca, .certificate = config->syslog_certificate, .key = config->syslog_key,
	    .name = config->syslog_server_name[0] != '\0' ? config->syslog_server_name : config->syslog_host } };
}

static enum gw_error
check(const struct gw_config *config, struct gw_why *why)
{
	const struct gw_hl7_peer peer = peer_of(config);

	if (!config->syslog_enabled)
		return GW_OK;
	if (config->syslog_host[0] == '\0')
		return gw_fail(why, GW_E_CONFIG, "syslog.host is empty: name the collector");
	if (!gw_syslog_sd_id(config->syslog_sd_id))
		return gw_fail(why, GW_E_CONFIG, "syslog.sd_id: 1 to 32 printable characters without = ] \" and blanks, as in vitalgate@32473");
	if (!config->syslog_tls)
		return GW_OK;
	if (config->syslog_ca[0] == '\0')
		return gw_fail(why, GW_E_CONFIG, "syslog.ca is empty: name the PEM file of the authorities of the collector's certificate");
	if ((config->syslog_certificate[0] == '\0') != (config->syslog_key[0] == '\0'))
		return gw_fail(why, GW_E_CONFIG, "syslog.certificate and syslog.key belong together");
	return gw_tls_client_check(&peer.files, why);
}

static void
free_syslog(struct syslog *syslog)
{
	if (syslog->connection != NULL)
		gw_hl7_connection_fini(syslog->connection);
	free(syslog->connection);
	gw_follow_close(syslog->follow);
	if (syslog->source.intake != NULL)
		gw_source_fini(&syslog->source);
	if (syslog->stop_fd >= 0)
		close(syslog->stop_fd);
	pthread_cond_destroy(&syslog->rewound);
	pthread_mutex_destroy(&syslog->lock);
	free(syslog);
}

static void
set_origin(struct syslog *syslog)
{
	char name[GW_SYSLOG_HOST_MAX + 1] = "";

	if (gethostname(name, sizeof(name) - 1) != 0)
		name[0] = '\0';
	syslog->origin.facility = (uint8_t)gw_syslog_facility(syslog->config->syslog_facility);
	syslog->origin.process = (long)getpid();
	syslog->origin.incarnation = gw_journal_incarnation(syslog->core->journal);
	gw_syslog_hostname(syslog->config->syslog_hostname[0] != '\0' ? syslog->config->syslog_hostname : name, syslog->origin.hostname);
	snprintf(syslog->origin.sd_id, sizeof(syslog->origin.sd_id), "%s", syslog->config->syslog_sd_id);
}

static enum gw_error
open_all(struct syslog *syslog, struct gw_why *why)
{
	const struct gw_config *config = syslog->config;
	const struct gw_follow_options options = {
		.journal = syslog->core->journal,
		.intake = syslog->core->intake,
		.name = "syslog",
		.backlog_us_max = config->syslog_backlog_h_max * 3600 * 1000000,
		.backlog_bytes_max = (uint64_t)config->store_budget_mb * (1 << 20) / 100 * (uint64_t)config->syslog_backlog_percent_max,
	};
	enum gw_error error;

	syslog->connection = calloc(1, sizeof(*syslog->connection));
	if (syslog->connection == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	syslog->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	gw_hl7_connection_init(syslog->connection, syslog->stop_fd);
	if (syslog->stop_fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "%s", strerror(errno));
	if ((error = gw_source_init(&syslog->source, syslog->core->intake, 1)) != GW_OK)
		return gw_fail(why, error, "%s", gw_error_text(error));
	return gw_follow_open(&options, &syslog->follow, why);
}

static enum gw_error
start(struct gw_core *core, void **part, struct gw_why *why)
{
	struct syslog *syslog = calloc(1, sizeof(*syslog));
	enum gw_error error;

	if (syslog == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	syslog->core = core;
	syslog->config = core->config;
	syslog->backoff_ms = BACKOFF_MS_MIN;
	syslog->stop_fd = -1;
	syslog->peer = peer_of(core->config);
	pthread_mutex_init(&syslog->lock, NULL);
	pthread_cond_init(&syslog->rewound, NULL);
	set_origin(syslog);
	if ((error = check(core->config, why)) == GW_OK && (error = open_all(syslog, why)) == GW_OK) {
		syslog->done = syslog->given = gw_follow_cursor(syslog->follow);
		if (pthread_create(&syslog->thread, NULL, run, syslog) == 0) {
			*part = syslog;
			return GW_OK;
		}
		error = gw_fail(why, GW_E_SYSTEM, "no thread");
	}
	free_syslog(syslog);
	return error;
}

static void
stop(void *part)
{
	struct syslog *syslog = part;
	uint64_t one = 1;

	pthread_mutex_lock(&syslog->lock);
	syslog->stopping = true;
	pthread_cond_broadcast(&syslog->rewound);
	pthread_mutex_unlock(&syslog->lock);
	(void)!write(syslog->stop_fd, &one, sizeof(one));
	gw_follow_stop(syslog->follow);
}

static void
close_part(void *part)
{
	struct syslog *syslog = part;

	pthread_join(syslog->thread, NULL);
	free_syslog(syslog);
}

static void
status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct syslog *syslog = part;
	char collector[300];
	int64_t lag_us;
	uint64_t lag = gw_follow_lag(syslog->follow, &lag_us);

	snprintf(collector, sizeof(collector), "%.255s port %d%s", syslog->peer.host, syslog->peer.port, syslog->peer.tls ? ", TLS" : "");
	yyjson_mut_obj_add_str(doc, object, "state", syslog->connected ? "connected" : "waiting for the collector");
	yyjson_mut_obj_add_strcpy(doc, object, "collector", collector);
	yyjson_mut_obj_add_uint(doc, object, "cursor", gw_follow_cursor(syslog->follow));
	yyjson_mut_obj_add_uint(doc, object, "lag_records", lag);
	yyjson_mut_obj_add_real(doc, object, "lag_s", (double)lag_us / 1e6);
	yyjson_mut_obj_add_uint(doc, object, "sent", syslog->sent);
	yyjson_mut_obj_add_uint(doc, object, "connects", syslog->connects);
	pthread_mutex_lock(&syslog->lock);
	if (syslog->last_error[0] != '\0')
		yyjson_mut_obj_add_strcpy(doc, object, "last_error", syslog->last_error);
	pthread_mutex_unlock(&syslog->lock);
}

static enum gw_error
ask_rewind(struct syslog *syslog, uint64_t position)
{
	struct timespec until;
	enum gw_error result = GW_E_TIMEOUT;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += REWIND_MS_MAX / 1000;
	pthread_mutex_lock(&syslog->lock);
	syslog->rewind.wanted = true;
	syslog->rewind.position = position;
	gw_intake_wake(syslog->core->intake);
	while (syslog->rewind.wanted && !syslog->stopping && pthread_cond_timedwait(&syslog->rewound, &syslog->lock, &until) == 0)
		;
	if (!syslog->rewind.wanted)
		result = syslog->rewind.result;
	else if (syslog->stopping)
		result = GW_E_STOPPING;
	pthread_mutex_unlock(&syslog->lock);
	return result;
}

static enum gw_error
command(void *part, yyjson_val *arguments, struct gw_why *reply)
{
	const char *action = yyjson_get_str(yyjson_obj_get(arguments, "action")), *to = yyjson_get_str(yyjson_obj_get(arguments, "to"));
	struct syslog *syslog = part;
	uint64_t position;
	char when[40];
	int64_t us;
	enum gw_error error;

	if (action == NULL || strcmp(action, "rewind") != 0)
		return gw_fail(reply, GW_E_ARGUMENT, "syslog knows rewind --to TIME; it parks nothing");
	if (to == NULL || gw_time_parse(to, &us) != 0)
		return gw_fail(reply, GW_E_ARGUMENT, "--to needs a time: 2026-11-20T08:00:00Z, or -15m");
	if ((error = gw_journal_seek(syslog->core->journal, us, &position)) != GW_OK)
		return gw_fail(reply, error, "%s", gw_error_text(error));
	if ((error = ask_rewind(syslog, position > 0 ? position - 1 : 0)) != GW_OK)
		return gw_fail(reply, error, "syslog could not be rewound: %s", gw_error_text(error));
	(void)gw_fail(reply, GW_OK, "syslog rewound to %s: events since then are sent again under the same ids", gw_time_format(us, when));
	return GW_OK;
}

const struct gw_part gw_syslog_part = {
	.name = "syslog",
	.outlet = true,
	.enabled = enabled,
	.sections = (const char *const[]){ "syslog", NULL },
	.check = check,
	.start = start,
	.stop = stop,
	.close = close_part,
	.status = status,
	.command = command,
};
