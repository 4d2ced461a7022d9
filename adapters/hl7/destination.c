// SPDX-License-Identifier: Apache-2.0
// A destination's life: open, the thread's loop, status and commands. Commands only leave a wish, which the thread fulfils.
#include "adapters/hl7/destination_impl.h"
#include "adapters/hl7/erase.h"

#include "gateway/clock.h"
#include "gateway/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define IDLE_MS 200
#define ERASE_S_MAX 20     // for what is being sent to be settled, or to have had no answer
#define FIRST_PARKED 20 // in the status; the list has all

// ---- Wishes ----

// A message whose readings turned out to be another patient's meanwhile must not go out now.
static bool
is_refuted(struct gw_hl7_destination *d, const struct gw_hl7_message *message)
{
	enum gw_hl7_filed_state state;

	return gw_hl7_filed_state(d->options.core->journal, d->outbox.prefix, message->device, message->least_us, message->control_id, &state) == GW_OK &&
	    (state == GW_HL7_FILED_WRONG || state == GW_HL7_FILED_CORRECTED);
}

static enum gw_error
unpark(struct gw_hl7_destination *d, struct gw_ticket *ticket, struct gw_hl7_message *message)
{
	if (is_refuted(d, message)) {
		gw_diag(GW_WARNING, "hl7.retry", "destination=%s message=%s: not sent again, its readings turned out to be of another patient", d->settings->name,
		    message->control_id);
		return gw_hl7_outbox_del(&d->outbox, ticket, message);
	}
	return gw_hl7_filed_settle(d->options.core->journal, d->outbox.prefix, ticket, message->device, message->least_us, message->control_id,
	    GW_HL7_FILED_MADE, "", 0);
}

static enum gw_error
retry_one(struct gw_hl7_destination *d, bool exact, uint64_t *parked)
{
	struct gw_ticket *ticket = gw_ticket_get(&d->source);
	struct gw_hl7_message *message = NULL;
	enum gw_error error;

	if (ticket == NULL)
		return GW_E_BUSY;
	ticket->essential = true;
	error = gw_hl7_outbox_unpark(&d->outbox, ticket, d->retry_from, exact, &message, parked);
	if (error == GW_OK)
		error = unpark(d, ticket, message);
	if (error == GW_OK && (error = gw_intake_commit(ticket)) == GW_OK) {
		d->outbox.parked--;
		if (is_refuted(d, message))
			free(message);
		else
			gw_hl7_outbox_append(&d->outbox, message);
	} else {
		free(message);
	}
	gw_ticket_release(ticket);
	return error;
}

// As many as there is room for; the rest the next time round.
static void
fulfil_retry(struct gw_hl7_destination *d, uint64_t number)
{
	uint64_t parked = 0;
	enum gw_error error = GW_OK;

	if (d->retry_until == 0) { // those that are parked now; not those that come back meanwhile
		d->retry_from = number;
		d->retry_until = number != 0 ? number : d->outbox.number;
	}
	while (d->outbox.count < d->settings->outbox_max + 1 && (error = retry_one(d, number != 0, &parked)) == GW_OK) {
		d->retry_from = parked + 1;
		d->next_us = 0;
		if (parked >= d->retry_until)
			break;
	}
	if (error == GW_OK && parked < d->retry_until)
		return; // there was no more room
	d->retry_from = d->retry_until = 0;
	pthread_mutex_lock(&d->lock);
	d->wanted.retry = false;
	pthread_mutex_unlock(&d->lock);
}

struct dropping {
	struct gw_hl7_destination *d;
	struct gw_ticket *ticket;
	uint64_t number;
	enum gw_error error;
};

static bool
settle_dropped(void *arg, const struct gw_hl7_parked *parked)
{
	struct dropping *dropping = arg;
	char device[GW_ID_MAX + 1], control_id[GW_HL7_ID_LEN + 1];

	if (parked->device.len == 0 || (dropping->number != 0 && parked->number != dropping->number))
		return true;
	snprintf(device, sizeof(device), "%.*s", GW_SPAN_FMT(parked->device));
	snprintf(control_id, sizeof(control_id), "%.*s", GW_SPAN_FMT(parked->control_id));
	dropping->error = gw_hl7_filed_settle(dropping->d->options.core->journal, dropping->d->outbox.prefix, dropping->ticket, device, parked->least_us,
	    control_id, GW_HL7_FILED_DROPPED, "", 0);
	return dropping->error == GW_OK;
}

static enum gw_error
drop(struct gw_hl7_destination *d, struct gw_ticket *ticket, uint64_t number)
{
	struct dropping dropping = { .d = d, .ticket = ticket, .number = number };
	enum gw_error error = gw_hl7_outbox_parked(&d->outbox, settle_dropped, &dropping);

	if (error != GW_OK || (error = dropping.error) != GW_OK)
		return error;
	return gw_hl7_outbox_drop(&d->outbox, ticket, number);
}

static void
fulfil_drop(struct gw_hl7_destination *d, uint64_t number)
{
	struct gw_ticket *ticket = gw_ticket_get(&d->source);
	enum gw_error error = GW_E_BUSY;

	if (ticket != NULL) {
		ticket->essential = true;
		if ((error = drop(d, ticket, number)) == GW_OK)
			error = gw_intake_commit(ticket);
		gw_ticket_release(ticket);
	}
	if (error != GW_OK || gw_hl7_outbox_recount(&d->outbox) != GW_OK)
		gw_diag(GW_WARNING, "hl7.drop", "destination=%s: %s", d->settings->name, gw_error_text(error));
	pthread_mutex_lock(&d->lock);
	d->wanted.drop = false;
	pthread_mutex_unlock(&d->lock);
}

// Nothing of what was read, made or is being sent stays in memory: all is read again from the rows and from the journal, which have it no more. A late answer to what
// was being sent must not be taken for another's.
static enum gw_error
forget(struct gw_hl7_destination *d, struct gw_erasure *erasure)
{
	struct gw_why why = { "" };
	bool gone = false;
	enum gw_error error;

	gw_hl7_commit_made(d);
	gw_hl7_submit_removals(d);
	gw_hl7_reap_removals(d, true);
	if (d->broken)
		return GW_E_BUSY;
	error = gw_hl7_erase_rows(d->settings->name, erasure, &gone);
	if (gone)
		gw_hl7_connection_close(&d->connection);
	d->under_way = 0;
	pthread_mutex_lock(&d->lock);
	d->answer_text[0] = '\0';
	pthread_mutex_unlock(&d->lock);
	if (gw_hl7_reload(d, &why) != GW_OK)
		gw_hl7_broken(d, GW_E_BUSY);
	return error;
}

static void
fulfil_erase(struct gw_hl7_destination *d)
{
	struct gw_erasure *erasure;
	enum gw_error error;

	pthread_mutex_lock(&d->lock);
	erasure = d->wanted.erase;
	d->erasing = erasure != NULL;
	pthread_mutex_unlock(&d->lock);
	if (erasure == NULL)
		return;
	error = forget(d, erasure);
	pthread_mutex_lock(&d->lock);
	d->erasing = false;
	d->wanted.erase = NULL;
	d->wanted.erased = error;
	pthread_cond_broadcast(&d->fulfilled);
	pthread_mutex_unlock(&d->lock);
}

// Once it is taken up it is waited for: the erasure is the caller's.
enum gw_error
gw_hl7_destination_erase(struct gw_hl7_destination *d, struct gw_erasure *erasure, struct gw_why *why)
{
	struct timespec until;
	enum gw_error error = GW_E_BUSY;

	pthread_mutex_lock(&d->lock);
	if (d->wanted.erase == NULL && !d->ended) {
		d->wanted.erase = erasure;
		atomic_store(&d->hurry, true);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += ERASE_S_MAX;
		while (d->wanted.erase != NULL && !d->ended && pthread_cond_timedwait(&d->fulfilled, &d->lock, &until) == 0) {}
		while (d->wanted.erase != NULL && d->erasing)
			pthread_cond_wait(&d->fulfilled, &d->lock);
		if (d->wanted.erase == NULL)
			error = d->wanted.erased;
		d->wanted.erase = NULL;
		atomic_store(&d->hurry, false);
	}
	pthread_mutex_unlock(&d->lock);
	return error == GW_OK ? GW_OK : gw_fail(why, error, "HL7 destination %s: %s", d->settings->name, error == GW_E_BUSY ? "it waits for its peer" : gw_error_text(error));
}

static void
fulfil(struct gw_hl7_destination *d)
{
	bool retry, drop;
	uint64_t number;

	fulfil_erase(d);
	pthread_mutex_lock(&d->lock);
	retry = d->wanted.retry;
	drop = d->wanted.drop;
	number = d->wanted.number;
	pthread_mutex_unlock(&d->lock);
	if (drop)
		fulfil_drop(d, number);
	if (retry)
		fulfil_retry(d, number);
}

// ---- The thread ----

// Nothing to wait for but records: as long as that. A message or a deletion that is due is not kept waiting.
static int
wait_ms(const struct gw_hl7_destination *d)
{
	int64_t left_us = gw_hl7_removals_left_us(d), message_us;

	if (d->outbox.first != NULL && (message_us = d->next_us - gw_clock_mono_us()) < left_us)
		left_us = message_us;
	return left_us <= 0 ? 0 : left_us < IDLE_MS * 1000 ? (int)(left_us / 1000) + 1 : IDLE_MS;
}

static void *
run(void *arg)
{
	struct gw_hl7_destination *d = arg;

	pthread_setname_np(pthread_self(), "hl7");
	while (!d->stopping) {
		gw_hl7_make(d, wait_ms(d));
		if (d->broken)
			continue;
		fulfil(d);
		gw_hl7_deliver(d);
	}
	gw_hl7_reap_removals(d, true);
	gw_hl7_connection_close(&d->connection);
	pthread_mutex_lock(&d->lock);
	d->ended = true;
	pthread_cond_broadcast(&d->fulfilled);
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

// ---- Open, stop, close ----

static void
set_peer(struct gw_hl7_destination *d)
{
	const struct gw_hl7_settings *s = d->settings;

	d->peer = (struct gw_hl7_peer){ s->host, s->port, s->tls, { s->ca, s->certificate, s->key, s->server_name } };
	d->pick.backlog_per_s = s->backlog_per_s;
}

static void
free_destination(struct gw_hl7_destination *d)
{
	gw_hl7_connection_fini(&d->connection);
	gw_hl7_lane_close(&d->live);
	gw_hl7_lane_close(&d->backlog);
	gw_hl7_outbox_fini(&d->outbox);
	gw_hl7_out_fini(&d->out);
	free(d->record);
	free(d->holding);
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->fulfilled);
	if (d->stop_fd >= 0)
		close(d->stop_fd);
	free(d);
}

static enum gw_error
open_sources(struct gw_hl7_destination *d)
{
	enum gw_error error = gw_source_init(&d->source, d->options.core->intake, 2);

	if (error == GW_OK && (error = gw_source_init(&d->removals, d->options.core->intake, GW_HL7_REMOVALS_MAX)) != GW_OK)
		gw_source_fini(&d->source);
	return error;
}

enum gw_error
gw_hl7_destination_open(const struct gw_hl7_destination_options *options, struct gw_hl7_destination **out, struct gw_why *why)
{
	struct gw_hl7_destination *d = calloc(1, sizeof(*d));
	enum gw_error error;

	if (d == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	d->options = *options;
	d->settings = options->settings;
	set_peer(d);
	d->made_last = &d->made;
	d->tended_us = gw_clock_mono_us();
	gw_hl7_outbox_init(&d->outbox, options->core->journal, options->settings->name);
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->fulfilled, NULL);
	gw_hl7_connection_init(&d->connection, -1);
	if ((d->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
		error = gw_fail(why, GW_E_SYSTEM, "HL7 destination %s: eventfd", options->settings->name);
		goto err;
	}
	gw_hl7_connection_init(&d->connection, d->stop_fd);
	d->connection.hurry = &d->hurry;
	if ((d->record = malloc(GW_RECORD_MAX)) == NULL) {
		error = gw_fail(why, GW_E_MEMORY, "out of memory");
		goto err;
	}
	if ((error = gw_hl7_lane_open(d, &d->live, why)) != GW_OK)
		goto err;
	if ((error = open_sources(d)) != GW_OK) {
		error = gw_fail(why, error, "HL7 destination %s: %s", options->settings->name, gw_error_text(error));
		goto err;
	}
	if ((error = gw_hl7_reload(d, why)) != GW_OK)
		goto err_sources;
	if ((error = gw_ledger_last_gap(options->core->journal, d->live.name, &d->gap_us)) != GW_OK) {
		error = gw_fail(why, error, "HL7 destination %s: its gaps: %s", options->settings->name, gw_error_text(error));
		goto err_sources;
	}
	if (pthread_create(&d->thread, NULL, run, d) != 0) {
		error = gw_fail(why, GW_E_SYSTEM, "HL7 destination %s: no thread", options->settings->name);
		goto err_sources;
	}
	*out = d;
	return GW_OK;
err_sources:
	gw_source_fini(&d->removals);
	gw_source_fini(&d->source);
err:
	free_destination(d);
	return error;
}

void
gw_hl7_destination_stop(struct gw_hl7_destination *d)
{
	uint64_t one = 1;

	d->stopping = true;
	if (write(d->stop_fd, &one, sizeof(one)) != sizeof(one))
		gw_diag(GW_ERROR, "hl7.stop", "destination=%s: eventfd", d->settings->name);
	gw_follow_stop(d->live.follow);
}

void
gw_hl7_destination_close(struct gw_hl7_destination *d)
{
	if (d == NULL)
		return;
	pthread_join(d->thread, NULL);
	if (d->making != NULL)
		gw_ticket_release(d->making);
	for (struct gw_hl7_message *next; d->made != NULL; d->made = next) {
		next = d->made->next;
		free(d->made);
	}
	gw_source_fini(&d->removals);
	gw_source_fini(&d->source);
	free_destination(d);
}

// ---- Status ----

static void
describe_parked(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct gw_hl7_parked *parked)
{
	char made[40];

	yyjson_mut_obj_add_uint(doc, object, "number", parked->number);
	yyjson_mut_obj_add_strncpy(doc, object, "message", (const char *)parked->control_id.at, parked->control_id.len);
	yyjson_mut_obj_add_strncpy(doc, object, "device", (const char *)parked->device.at, parked->device.len);
	yyjson_mut_obj_add_strcpy(doc, object, "made", gw_time_format(parked->made_us, made));
	yyjson_mut_obj_add_strncpy(doc, object, "reason", (const char *)parked->reason.at, parked->reason.len);
}

static bool
add_parked(void *arg, const struct gw_hl7_parked *parked)
{
	struct { yyjson_mut_doc *doc; yyjson_mut_val *list; int left; } *add = arg;

	describe_parked(add->doc, yyjson_mut_arr_add_obj(add->doc, add->list), parked);
	return --add->left > 0;
}

static void
add_counts(struct gw_hl7_destination *d, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	static const char *const states[] = {
		[GW_HL7_IDLE] = "nothing sent yet", [GW_HL7_CONNECTED] = "connected", [GW_HL7_AWAY] = "waiting for the peer",
		[GW_HL7_REFUSING] = "the peer refuses messages", [GW_HL7_HELD] = "held: too many messages are parked",
	};
	char at[40];

	pthread_mutex_lock(&d->lock);
	yyjson_mut_obj_add_str(doc, object, "state", states[d->state]);
	if (d->connected_us != 0)
		yyjson_mut_obj_add_strcpy(doc, object, "connected_since", gw_time_format(d->connected_us, at));
	if (d->gaps != 0)
		yyjson_mut_obj_add_uint(doc, object, "gaps", d->gaps);
	if (d->gap_us != 0)
		yyjson_mut_obj_add_strcpy(doc, object, "last_gap", gw_time_format(d->gap_us, at));
	yyjson_mut_obj_add_uint(doc, object, "made", d->made_count);
	yyjson_mut_obj_add_uint(doc, object, "sent", d->sent);
	yyjson_mut_obj_add_uint(doc, object, "acknowledged", d->acknowledged);
	yyjson_mut_obj_add_uint(doc, object, "errors", d->errors);
	yyjson_mut_obj_add_uint(doc, object, "rejects", d->rejects);
	yyjson_mut_obj_add_uint(doc, object, "unanswered", d->unanswered);
	yyjson_mut_obj_add_uint(doc, object, "not_understood", d->foreign);
	yyjson_mut_obj_add_uint(doc, object, "readings", d->grouped.readings);
	yyjson_mut_obj_add_uint(doc, object, "left_out_reduced", d->grouped.reduced);
	yyjson_mut_obj_add_uint(doc, object, "left_out_test", d->grouped.test);
	yyjson_mut_obj_add_uint(doc, object, "left_out_samples", d->grouped.samples);
	yyjson_mut_obj_add_uint(doc, object, "left_out_unknown", d->grouped.unknown);
	yyjson_mut_obj_add_uint(doc, object, "left_out_too_long", d->grouped.too_long);
	yyjson_mut_obj_add_uint(doc, object, "open_groups", d->open);
	yyjson_mut_obj_add_uint(doc, object, "held", d->held_now);
	yyjson_mut_obj_add_uint(doc, object, "held_unsure", d->held_unsure);
	yyjson_mut_obj_add_uint(doc, object, "misfiled", d->misfiled);
	yyjson_mut_obj_add_uint(doc, object, "corrections", d->corrections);
	yyjson_mut_obj_add_uint(doc, object, "backlog_records", d->backlog_records);
	if (d->answer_us != 0) {
		yyjson_mut_val *answer = yyjson_mut_obj_add_obj(doc, object, "last_answer");

		yyjson_mut_obj_add_strcpy(doc, answer, "code", d->answer_code);
		yyjson_mut_obj_add_strcpy(doc, answer, "text", d->answer_text);
		yyjson_mut_obj_add_strcpy(doc, answer, "at", gw_time_format(d->answer_us, at));
	}
	if (d->last_error[0] != '\0') {
		yyjson_mut_obj_add_strcpy(doc, object, "last_error", d->last_error);
		yyjson_mut_obj_add_strcpy(doc, object, "last_error_at", gw_time_format(d->error_us, at));
	}
	pthread_mutex_unlock(&d->lock);
}

void
gw_hl7_destination_status(struct gw_hl7_destination *d, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct { yyjson_mut_doc *doc; yyjson_mut_val *list; int left; } add = { .doc = doc, .left = FIRST_PARKED };
	int64_t lag_us;
	uint64_t lag = gw_follow_lag(d->live.follow, &lag_us);

	yyjson_mut_obj_add_strcpy(doc, object, "name", d->settings->name);
	yyjson_mut_obj_add_strcpy(doc, object, "host", d->settings->host);
	yyjson_mut_obj_add_int(doc, object, "port", d->settings->port);
	yyjson_mut_obj_add_bool(doc, object, "tls", d->settings->tls);
	yyjson_mut_obj_add_bool(doc, object, "production", d->settings->production);
	yyjson_mut_obj_add_uint(doc, object, "cursor", gw_follow_cursor(d->live.follow));
	yyjson_mut_obj_add_uint(doc, object, "lag_records", lag);
	yyjson_mut_obj_add_real(doc, object, "lag_s", (double)lag_us / 1e6);
	yyjson_mut_obj_add_uint(doc, object, "outbox", d->outbox.count);
	yyjson_mut_obj_add_uint(doc, object, "parked", d->outbox.parked);
	add_counts(d, doc, object);
	if (d->outbox.parked > 0) {
		add.list = yyjson_mut_obj_add_arr(doc, object, "first_parked");
		if (gw_hl7_outbox_parked(&d->outbox, add_parked, &add) != GW_OK)
			yyjson_mut_obj_add_str(doc, object, "parked_error", "cannot be read");
	}
}

// ---- Commands ----

struct report {
	const struct gw_hl7_destination *destination;
	gw_report_fn *line;
	void *arg;
	uint64_t number; // 0: all, without their text
	bool found, failed, misfiled;
};

// A text of a document: of 8859/1 and the like the characters above 7F become \\xNN.
static void
add_text(yyjson_mut_doc *doc, yyjson_mut_val *list, struct gw_span text)
{
	char *copy;
	size_t len = 0;

	if (gw_hl7_utf8_valid(text, NULL)) {
		yyjson_mut_arr_add_strncpy(doc, list, (const char *)text.at, text.len);
		return;
	}
	if ((copy = malloc(4 * text.len + 1)) == NULL)
		return;
	for (size_t i = 0; i < text.len; i++)
		len += (size_t)sprintf(copy + len, text.at[i] < 0x80 ? "%c" : "\\x%02X", text.at[i]);
	yyjson_mut_arr_add_strncpy(doc, list, copy, len);
	free(copy);
}

// A message's segments, one text each.
static void
add_segments(yyjson_mut_doc *doc, yyjson_mut_val *list, struct gw_span message)
{
	while (message.len > 0) {
		const uint8_t *end = memchr(message.at, '\r', message.len);
		size_t len = end != NULL ? (size_t)(end - message.at) : message.len;

		add_text(doc, list, gw_span(message.at, len));
		message = end != NULL ? gw_span(end + 1, message.len - len - 1) : gw_span(NULL, 0);
	}
}

static bool
report_parked(void *arg, const struct gw_hl7_parked *parked)
{
	struct report *report = arg;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;

	if (report->number != 0 && parked->number != report->number)
		return parked->number < report->number;
	report->found = true;
	if ((doc = yyjson_mut_doc_new(NULL)) == NULL) {
		report->failed = true;
		return false;
	}
	object = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, object);
	yyjson_mut_obj_add_strcpy(doc, object, "destination", report->destination->settings->name);
	describe_parked(doc, object, parked);
	yyjson_mut_obj_add_uint(doc, object, "errors", parked->errors);
	if (report->number != 0)
		add_segments(doc, yyjson_mut_obj_add_arr(doc, object, "segments"), parked->message);
	return report->line(report->arg, doc) && report->number == 0;
}

static enum gw_error
report_all(struct gw_hl7_destination *d, struct report *report, struct gw_why *why)
{
	enum gw_error error = gw_hl7_outbox_parked(&d->outbox, report_parked, report);

	if (error == GW_OK && report->failed)
		error = GW_E_MEMORY;
	return error == GW_OK ? GW_OK : gw_fail(why, error, "%s", gw_error_text(error));
}

enum gw_error
gw_hl7_destination_list(struct gw_hl7_destination *d, gw_report_fn *line, void *arg, struct gw_why *why)
{
	return report_all(d, &(struct report){ .destination = d, .line = line, .arg = arg }, why);
}

enum gw_error
gw_hl7_destination_show(struct gw_hl7_destination *d, uint64_t number, gw_report_fn *line, void *arg, struct gw_why *why)
{
	struct report report = { .destination = d, .line = line, .arg = arg, .number = number };
	enum gw_error error;

	if (number == 0)
		return gw_fail(why, GW_E_ARGUMENT, "which message? See `vitalgate hl7 list`");
	if ((error = report_all(d, &report, why)) == GW_OK && !report.found)
		return gw_fail(why, GW_E_NOT_FOUND, "no message with the number %llu is parked for %s", (unsigned long long)number, d->settings->name);
	return error;
}

static int64_t
most_of(const struct gw_hl7_filed *filed)
{
	int64_t most_us = filed->least_us;

	for (size_t i = 0; i < filed->count; i++)
		if (filed->items[i].effective_us > most_us)
			most_us = filed->items[i].effective_us;
	return most_us;
}

static bool
report_filed(void *arg, const struct gw_hl7_filed *filed)
{
	struct report *report = arg;
	bool held = filed->state == GW_HL7_FILED_HELD;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;
	char at[40];

	if (report->misfiled && filed->state != GW_HL7_FILED_WRONG && filed->state != GW_HL7_FILED_CORRECTED)
		return true;
	if ((doc = yyjson_mut_doc_new(NULL)) == NULL) {
		report->failed = true;
		return false;
	}
	object = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, object);
	yyjson_mut_obj_add_strcpy(doc, object, "destination", report->destination->settings->name);
	yyjson_mut_obj_add_strcpy(doc, object, "device", filed->device);
	yyjson_mut_obj_add_strcpy(doc, object, "from", gw_time_format(filed->least_us, at));
	yyjson_mut_obj_add_strcpy(doc, object, "to", gw_time_format(most_of(filed), at));
	yyjson_mut_obj_add_uint(doc, object, "readings", filed->count);
	yyjson_mut_obj_add_strcpy(doc, object, "made", gw_time_format(filed->made_us, at));
	if (!held)
		yyjson_mut_obj_add_strcpy(doc, object, "message", filed->control_id);
	if (filed->owner.patient != 0)
		yyjson_mut_obj_add_uint(doc, object, "patient", filed->owner.patient);
	yyjson_mut_obj_add_str(doc, object, "why", held ? gw_hl7_whose_words(filed->owner.whose) :
	    filed->state == GW_HL7_FILED_WRONG ? "sent for another patient; nothing was sent to correct it" : "sent for another patient; corrected by messages of their own");
	return report->line(report->arg, doc);
}

static enum gw_error
report_rows(struct gw_hl7_destination *d, struct report *report, struct gw_why *why)
{
	struct gw_journal *journal = d->options.core->journal;
	enum gw_error error;

	if (report->misfiled)
		error = gw_hl7_filed_each(journal, d->outbox.prefix, gw_span(NULL, 0), INT64_MIN, INT64_MAX, report_filed, report);
	else
		error = gw_hl7_held_each(journal, d->outbox.prefix, gw_span(NULL, 0), INT64_MIN, INT64_MAX, report_filed, report);
	if (error == GW_OK && report->failed)
		error = GW_E_MEMORY;
	return error == GW_OK ? GW_OK : gw_fail(why, error, "%s", gw_error_text(error));
}

enum gw_error
gw_hl7_destination_held(struct gw_hl7_destination *d, gw_report_fn *line, void *arg, struct gw_why *why)
{
	return report_rows(d, &(struct report){ .destination = d, .line = line, .arg = arg }, why);
}

enum gw_error
gw_hl7_destination_misfiled(struct gw_hl7_destination *d, gw_report_fn *line, void *arg, struct gw_why *why)
{
	return report_rows(d, &(struct report){ .destination = d, .line = line, .arg = arg, .misfiled = true }, why);
}

struct of_patients {
	struct report report;
	yyjson_val *patients;
};

static bool
report_of(void *arg, const struct gw_hl7_filed *filed)
{
	struct of_patients *of = arg;
	yyjson_val *number, *member = NULL;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;
	size_t i, max;
	char at[40];

	yyjson_arr_foreach(of->patients, i, max, number)
		if (filed->owner.patient != 0 && yyjson_get_uint(number) == filed->owner.patient)
			member = number;
	if (member == NULL)
		return true;
	if ((doc = yyjson_mut_doc_new(NULL)) == NULL) {
		of->report.failed = true;
		return false;
	}
	object = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, object);
	yyjson_mut_obj_add_strcpy(doc, object, "destination", of->report.destination->settings->name);
	yyjson_mut_obj_add_strcpy(doc, object, "message", filed->control_id);
	yyjson_mut_obj_add_str(doc, object, "state", gw_hl7_filed_state_name(filed->state));
	yyjson_mut_obj_add_strcpy(doc, object, "device", filed->device);
	yyjson_mut_obj_add_strcpy(doc, object, "from", gw_time_format(filed->least_us, at));
	yyjson_mut_obj_add_strcpy(doc, object, "to", gw_time_format(most_of(filed), at));
	yyjson_mut_obj_add_uint(doc, object, "readings", filed->count);
	yyjson_mut_obj_add_strcpy(doc, object, "made", gw_time_format(filed->made_us, at));
	if (filed->answered_us != 0)
		yyjson_mut_obj_add_strcpy(doc, object, "answered", gw_time_format(filed->answered_us, at));
	return of->report.line(of->report.arg, doc);
}

enum gw_error
gw_hl7_destination_of(struct gw_hl7_destination *d, yyjson_val *patients, gw_report_fn *line, void *arg, struct gw_why *why)
{
	struct of_patients of = { .report = { .destination = d, .line = line, .arg = arg }, .patients = patients };
	enum gw_error error = gw_hl7_filed_each(d->options.core->journal, d->outbox.prefix, gw_span(NULL, 0), INT64_MIN, INT64_MAX, report_of, &of);

	if (error == GW_OK && of.report.failed)
		error = GW_E_MEMORY;
	return error == GW_OK ? GW_OK : gw_fail(why, error, "%s", gw_error_text(error));
}

static enum gw_error
wish(struct gw_hl7_destination *d, bool retry, uint64_t number)
{
	bool busy;

	pthread_mutex_lock(&d->lock);
	busy = d->wanted.retry || d->wanted.drop;
	if (!busy) {
		d->wanted.retry = retry;
		d->wanted.drop = !retry;
		d->wanted.number = number;
	}
	pthread_mutex_unlock(&d->lock);
	return busy ? GW_E_BUSY : GW_OK;
}

struct look {
	uint64_t number;
	bool found;
};

static bool
look_for(void *arg, const struct gw_hl7_parked *parked)
{
	struct look *look = arg;

	look->found |= parked->number == look->number;
	return !look->found;
}

static enum gw_error
command(struct gw_hl7_destination *d, bool retry, uint64_t number, struct gw_why *reply, const char *words)
{
	struct look look = { .number = number };
	uint64_t parked = d->outbox.parked;
	enum gw_error error;

	if (number != 0 && gw_hl7_outbox_parked(&d->outbox, look_for, &look) == GW_OK && !look.found)
		return gw_fail(reply, GW_E_NOT_FOUND, "no message with the number %llu is parked", (unsigned long long)number);
	if ((error = wish(d, retry, number)) != GW_OK)
		return gw_fail(reply, error, "an earlier command is still at work");
	snprintf(reply->text, sizeof(reply->text), "%llu of %llu parked messages %s", number != 0 ? 1ull : (unsigned long long)parked,
	    (unsigned long long)parked, words);
	return GW_OK;
}

enum gw_error
gw_hl7_destination_retry(struct gw_hl7_destination *d, uint64_t number, struct gw_why *reply)
{
	return command(d, true, number, reply, "are sent again");
}

enum gw_error
gw_hl7_destination_drop(struct gw_hl7_destination *d, uint64_t number, struct gw_why *reply)
{
	return command(d, false, number, reply, "are dropped; the journal still has their readings");
}
