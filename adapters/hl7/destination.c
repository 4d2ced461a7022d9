// SPDX-License-Identifier: Apache-2.0
// A destination's life: open, the thread's loop, status and commands. Commands only leave a wish, which the thread fulfils.
#include "adapters/hl7/destination_impl.h"

#include "gateway/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define IDLE_MS 200
#define REMOVALS_MAX 16

// ---- Wishes ----

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
	if (error == GW_OK && (error = gw_intake_commit(ticket)) == GW_OK) {
		gw_hl7_outbox_append(&d->outbox, message);
		d->outbox.parked--;
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
	while (d->outbox.count < d->options.outbox_max + 1 && (error = retry_one(d, number != 0, &parked)) == GW_OK) {
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

static void
fulfil_drop(struct gw_hl7_destination *d, uint64_t number)
{
	struct gw_ticket *ticket = gw_ticket_get(&d->source);
	enum gw_error error = GW_E_BUSY;

	if (ticket != NULL) {
		ticket->essential = true;
		if ((error = gw_hl7_outbox_drop(&d->outbox, ticket, number)) == GW_OK)
			error = gw_intake_commit(ticket);
		gw_ticket_release(ticket);
	}
	if (error != GW_OK || gw_hl7_outbox_recount(&d->outbox) != GW_OK)
		gw_diag(GW_WARNING, "hl7.drop", "destination=%s: %s", d->options.sender.destination, gw_error_text(error));
	pthread_mutex_lock(&d->lock);
	d->wanted.drop = false;
	pthread_mutex_unlock(&d->lock);
}

static void
fulfil(struct gw_hl7_destination *d)
{
	bool retry, drop;
	uint64_t number;

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

// Nothing to wait for but records: as long as that. A message that is due is not kept waiting.
static int
wait_ms(const struct gw_hl7_destination *d)
{
	int64_t left_us;

	if (d->outbox.first == NULL)
		return IDLE_MS;
	left_us = d->next_us - gw_clock_mono_us();
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
	return NULL;
}

// ---- Open, stop, close ----

static void
free_destination(struct gw_hl7_destination *d)
{
	gw_hl7_grouper_free(d->grouper);
	gw_hl7_outbox_fini(&d->outbox);
	gw_hl7_out_fini(&d->out);
	gw_follow_close(d->follow);
	pthread_mutex_destroy(&d->lock);
	if (d->stop_fd >= 0)
		close(d->stop_fd);
	free(d);
}

static enum gw_error
open_follow(struct gw_hl7_destination *d, struct gw_why *why)
{
	const struct gw_follow_options options = {
		.journal = d->options.core->journal,
		.intake = d->options.core->intake,
		.name = d->follow_name,
		.backlog_us_max = d->options.backlog_us_max,
		.backlog_bytes_max = d->options.backlog_bytes_max,
	};

	snprintf(d->follow_name, sizeof(d->follow_name), "hl7/%s", d->options.sender.destination);
	return gw_follow_open(&options, &d->follow, why);
}

static enum gw_error
open_sources(struct gw_hl7_destination *d)
{
	enum gw_error error = gw_source_init(&d->source, d->options.core->intake, 2);

	if (error == GW_OK && (error = gw_source_init(&d->removals, d->options.core->intake, REMOVALS_MAX)) != GW_OK)
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
	d->made_last = &d->made;
	gw_hl7_outbox_init(&d->outbox, options->core->journal, options->sender.destination);
	pthread_mutex_init(&d->lock, NULL);
	if ((d->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
		error = gw_fail(why, GW_E_SYSTEM, "HL7 destination %s: eventfd", options->sender.destination);
		goto err;
	}
	gw_hl7_connection_init(&d->connection, d->stop_fd);
	if ((error = open_follow(d, why)) != GW_OK)
		goto err;
	if ((error = open_sources(d)) != GW_OK) {
		error = gw_fail(why, error, "HL7 destination %s: %s", options->sender.destination, gw_error_text(error));
		goto err;
	}
	if ((error = gw_hl7_reload(d, why)) != GW_OK)
		goto err_sources;
	if (pthread_create(&d->thread, NULL, run, d) != 0) {
		error = gw_fail(why, GW_E_SYSTEM, "HL7 destination %s: no thread", options->sender.destination);
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
		gw_diag(GW_ERROR, "hl7.stop", "destination=%s: eventfd", d->options.sender.destination);
	gw_follow_stop(d->follow);
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

static bool
add_parked(void *arg, const struct gw_hl7_parked *parked)
{
	struct { yyjson_mut_doc *doc; yyjson_mut_val *list; int left; } *add = arg;
	yyjson_mut_val *object = yyjson_mut_arr_add_obj(add->doc, add->list);
	char made[40];

	yyjson_mut_obj_add_uint(add->doc, object, "number", parked->number);
	yyjson_mut_obj_add_strncpy(add->doc, object, "message", (const char *)parked->control_id.at, parked->control_id.len);
	yyjson_mut_obj_add_strcpy(add->doc, object, "made", gw_time_format(parked->made_us, made));
	yyjson_mut_obj_add_strncpy(add->doc, object, "reason", (const char *)parked->reason.at, parked->reason.len);
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
	if (d->answer_us != 0) {
		yyjson_mut_val *answer = yyjson_mut_obj_add_obj(doc, object, "last_answer");

		yyjson_mut_obj_add_strcpy(doc, answer, "code", d->answer_code);
		yyjson_mut_obj_add_strcpy(doc, answer, "text", d->answer_text);
		yyjson_mut_obj_add_strcpy(doc, answer, "at", gw_time_format(d->answer_us, at));
	}
	if (d->last_error[0] != '\0')
		yyjson_mut_obj_add_strcpy(doc, object, "last_error", d->last_error);
	pthread_mutex_unlock(&d->lock);
}

void
gw_hl7_destination_status(struct gw_hl7_destination *d, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct { yyjson_mut_doc *doc; yyjson_mut_val *list; int left; } add = { .doc = doc, .left = 20 };
	int64_t lag_us;
	uint64_t lag = gw_follow_lag(d->follow, &lag_us);

	yyjson_mut_obj_add_strcpy(doc, object, "name", d->options.sender.destination);
	yyjson_mut_obj_add_strcpy(doc, object, "host", d->options.host);
	yyjson_mut_obj_add_int(doc, object, "port", d->options.port);
	yyjson_mut_obj_add_bool(doc, object, "production", d->options.sender.production);
	yyjson_mut_obj_add_uint(doc, object, "cursor", gw_follow_cursor(d->follow));
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

static bool
say_parked(void *arg, const struct gw_hl7_parked *parked)
{
	struct gw_why *reply = arg;
	size_t len = strlen(reply->text);

	snprintf(reply->text + len, sizeof(reply->text) - len, "%s%llu %.*s (%.*s)", len > 0 ? "; " : "", (unsigned long long)parked->number,
	    GW_SPAN_FMT(parked->control_id), parked->reason.len < 40 ? (int)parked->reason.len : 40, (const char *)parked->reason.at);
	return len + 80 < sizeof(reply->text);
}

enum gw_error
gw_hl7_destination_parked(struct gw_hl7_destination *d, struct gw_why *reply)
{
	enum gw_error error;

	reply->text[0] = '\0';
	error = gw_hl7_outbox_parked(&d->outbox, say_parked, reply);
	if (error != GW_OK)
		return gw_fail(reply, error, "%s", gw_error_text(error));
	if (reply->text[0] == '\0')
		snprintf(reply->text, sizeof(reply->text), "nothing is parked");
	return GW_OK;
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
