// SPDX-License-Identifier: Apache-2.0
// Following the journal from a durable cursor. The outlet's thread runs it, except where the header says any thread.
//
// Records are read in chunks into a buffer of its own, so that no transaction is open while the outlet works. `done` is what the outlet says is
// taken; `cursor` is what a commit has made durable; between them lies at most one ticket, a second apart.
#include "gateway/follow.h"

#include "gateway/bytes.h"
#include "gateway/clock.h"
#include "gateway/diag.h"
#include "gateway/ledger.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_BYTES (256u << 10)
#define CHUNK_BYTES_MAX (GW_RECORD_MAX + 16)
#define TICKET_US 1000000
#define SWEEP_EVERY 16 // of the cursor's tickets one sweeps,
#define SWEEP_ROWS 64  // so many rows: more than have come since
#define SWEEP_ROWS_ABSENT 1000 // and of outlets that do not run, every hour or so

struct gw_follow {
	struct gw_journal *journal;
	struct gw_intake *intake;
	char name[GW_ID_MAX + 1], gap_name[GW_ID_MAX + 1];
	char key[GW_ID_MAX + 32];
	int64_t backlog_us_max;
	uint64_t backlog_bytes_max;
	int64_t passed_keep_us;
	unsigned sweep;      // tickets since the last one that swept
	struct gw_source source;

	uint8_t *buf;
	size_t cap;
	struct gw_span rest; // of buf: records read and not yet given
	uint64_t next;       // where the chunk after it begins
	uint64_t given;      // last position given (or skipped)
	uint64_t again;      // up to here a rewind gives what had been delivered: the limits do not apply to it

	_Atomic uint64_t done, cursor;
	bool under_way;      // a cursor's ticket
	int64_t ticket_us;   // when the last one was submitted, monotonic
	_Atomic bool stopped;
	struct gw_diag_limit read_failed, move_failed;
};

// ---- The cursor's row ----

static enum gw_error
load(struct gw_follow *follow, bool *found, struct gw_why *why)
{
	uint8_t value[8];
	size_t len = 0;
	enum gw_error error = gw_journal_get(follow->journal, gw_span_text(follow->key), value, sizeof(value), &len);

	*found = error == GW_OK;
	if (error == GW_E_NOT_FOUND)
		return GW_OK;
	if (error == GW_OK && len != sizeof(value))
		error = GW_E_CORRUPT;
	if (error == GW_E_CORRUPT) { // rather once more than not at all: receivers know what they have by its identifiers
		gw_diag(GW_ERROR, "outlet.cursor", "outlet=%s: the cursor is damaged: all that the journal holds is taken again", follow->name);
		gw_put64(value, gw_journal_first(follow->journal) - (gw_journal_first(follow->journal) > 0));
		*found = true;
		error = GW_OK;
	}
	if (error != GW_OK)
		return gw_fail(why, error, "cursor of outlet %s: %s", follow->name, gw_error_text(error));
	follow->cursor = gw_get64(value);
	return GW_OK;
}

static enum gw_error
put(struct gw_follow *follow, struct gw_ticket *ticket, uint64_t position)
{
	uint8_t value[8];

	gw_put64(value, position);
	ticket->essential = true;
	ticket->tag[0] = position;
	return gw_ticket_put(ticket, gw_span_text(follow->key), gw_span(value, sizeof(value)));
}

// What the move tells the ledger, in the same ticket.
static enum gw_error
put_passed(struct gw_follow *follow, struct gw_ticket *ticket, uint64_t position)
{
	int64_t now_us = gw_clock_wall_us();
	int64_t before_us = follow->passed_keep_us > 0 ? now_us - follow->passed_keep_us : INT64_MIN;
	enum gw_error error = GW_OK;

	if (follow->passed_keep_us > 0 && position > follow->cursor)
		error = gw_ledger_passed(ticket, follow->name, position, now_us);
	if (error != GW_OK || ++follow->sweep < SWEEP_EVERY)
		return error;
	follow->sweep = 0;
	return gw_ledger_sweep(follow->journal, ticket, follow->name, before_us, now_us, SWEEP_ROWS);
}

// ---- The ticket under way ----

static void
reap(struct gw_follow *follow)
{
	struct gw_ticket *ticket = gw_source_take(&follow->source), *next;

	for (; ticket != NULL; ticket = next) {
		next = ticket->next;
		if (ticket->result == GW_OK)
			follow->cursor = ticket->tag[0];
		else if (ticket->result != GW_E_STOPPING)
			gw_diag_limited(&follow->move_failed, 60, GW_WARNING, "outlet.cursor", "outlet=%s: %s", follow->name, gw_error_text(ticket->result));
		follow->under_way = false;
		gw_ticket_release(ticket);
	}
}

static void
reap_all(struct gw_follow *follow)
{
	while (follow->under_way) {
		struct pollfd fd = { .fd = follow->source.event_fd, .events = POLLIN };

		poll(&fd, 1, 1000);
		reap(follow);
	}
}

void
gw_follow_tend(struct gw_follow *follow)
{
	uint64_t done = follow->done;
	struct gw_ticket *ticket;
	int64_t now;

	if (follow->under_way)
		reap(follow);
	if (follow->under_way || done == follow->cursor)
		return;
	if ((now = gw_clock_mono_us()) - follow->ticket_us < TICKET_US)
		return;
	if ((ticket = gw_ticket_get(&follow->source)) == NULL)
		return;
	if (put(follow, ticket, done) != GW_OK || put_passed(follow, ticket, done) != GW_OK) {
		gw_ticket_release(ticket);
		return;
	}
	follow->under_way = true;
	follow->ticket_us = now;
	gw_intake_submit(ticket);
}

// Moves the cursor and waits for it. Where the outlet is new, what is there already is not for it.
static enum gw_error
move_now(struct gw_follow *follow, uint64_t position, bool new)
{
	struct gw_ticket *ticket;
	enum gw_error error;

	reap_all(follow);
	if ((ticket = gw_ticket_get(&follow->source)) == NULL)
		return GW_E_MEMORY;
	error = put(follow, ticket, position);
	if (error == GW_OK && !new)
		error = put_passed(follow, ticket, position);
	else if (error == GW_OK && position > 0)
		error = gw_ledger_gap(follow->journal, ticket, follow->name, 1, position, GW_GAP_BEFORE, gw_clock_wall_us());
	if (error == GW_OK && (error = gw_intake_commit(ticket)) == GW_OK)
		follow->cursor = position;
	gw_ticket_release(ticket);
	return error;
}

// ---- Open, close ----

enum gw_error
gw_follow_open(const struct gw_follow_options *options, struct gw_follow **out, struct gw_why *why)
{
	struct gw_follow *follow = calloc(1, sizeof(*follow));
	enum gw_error error;
	bool found;

	if (follow == NULL || (follow->buf = malloc(CHUNK_BYTES)) == NULL) {
		free(follow);
		return gw_fail(why, GW_E_MEMORY, "outlet %s: out of memory", options->name);
	}
	follow->cap = CHUNK_BYTES;
	follow->journal = options->journal;
	follow->intake = options->intake;
	follow->backlog_us_max = options->backlog_us_max;
	follow->backlog_bytes_max = options->backlog_bytes_max;
	follow->passed_keep_us = options->passed_keep_us;
	snprintf(follow->name, sizeof(follow->name), "%s", options->name);
	snprintf(follow->gap_name, sizeof(follow->gap_name), "%s", options->gap_name != NULL ? options->gap_name : options->name);
	snprintf(follow->key, sizeof(follow->key), GW_CURSOR_KEY_FMT, follow->name);
	if ((error = gw_source_init(&follow->source, options->intake, 2)) != GW_OK)
		goto err_buf;
	if ((error = load(follow, &found, why)) != GW_OK)
		goto err_source;
	if (!found && (error = move_now(follow, gw_journal_last(follow->journal), true)) != GW_OK) {
		error = gw_fail(why, error, "outlet %s: the first cursor could not be stored: %s", follow->name, gw_error_text(error));
		goto err_source;
	}
	follow->done = follow->cursor;
	gw_follow_seek(follow, follow->cursor);
	*out = follow;
	return GW_OK;
err_source:
	gw_source_fini(&follow->source);
err_buf:
	free(follow->buf);
	free(follow);
	return error;
}

void
gw_follow_close(struct gw_follow *follow)
{
	enum gw_error error;

	if (follow == NULL)
		return;
	reap_all(follow);
	if (follow->done != follow->cursor && (error = move_now(follow, follow->done, false)) != GW_OK && error != GW_E_STOPPING)
		gw_diag(GW_WARNING, "outlet.cursor", "outlet=%s: %s; what was sent last is sent again after the next start", follow->name, gw_error_text(error));
	gw_source_fini(&follow->source);
	free(follow->buf);
	free(follow);
}

// ---- What was left out ----

// Records the gap durably. A gap that could not be recorded is logged: nothing is left out silently.
static void
record_gap(struct gw_follow *follow, uint64_t from, uint64_t to, enum gw_gap_reason reason)
{
	struct gw_ticket *ticket;
	char text[160], route[GW_ID_MAX + 16];
	enum gw_error error;
	int64_t now_us = gw_clock_wall_us();

	snprintf(text, sizeof(text), "journal records %llu to %llu left out: %s", (unsigned long long)from, (unsigned long long)to, gw_gap_words(reason));
	snprintf(route, sizeof(route), "outlet/%s", follow->gap_name);
	gw_diag(GW_ERROR, "outlet.gap", "outlet=%s: %s", follow->gap_name, text);
	reap_all(follow);
	if ((ticket = gw_ticket_get(&follow->source)) == NULL)
		return;
	ticket->essential = true;
	error = gw_ticket_event(ticket, GW_RECORD_DEVICE_EVENT, &(struct gw_event){ .received_us = now_us, .code = GW_EVENT_GAP,
	    .route = gw_span_text(route), .text = gw_span_text(text) });
	if (error == GW_OK)
		error = gw_ledger_gap(follow->journal, ticket, follow->gap_name, from, to, reason, now_us);
	if (error == GW_OK)
		error = gw_intake_commit(ticket);
	if (error != GW_OK)
		gw_diag(GW_ERROR, "outlet.gap", "outlet=%s: the gap could not be recorded: %s", follow->gap_name, gw_error_text(error));
	gw_ticket_release(ticket);
}

// The first position that lies inside the limit of bytes. Records are taken as equally large.
static uint64_t
bytes_floor(struct gw_follow *follow, uint64_t last)
{
	struct gw_journal_stats stats;
	uint64_t each, keep;

	if (follow->backlog_bytes_max == 0 || last - follow->given < 1000)
		return 0;
	gw_journal_stats(follow->journal, &stats);
	if (stats.last < stats.first || stats.used_bytes == 0)
		return 0;
	each = stats.used_bytes / (stats.last - stats.first + 1) + 1;
	keep = follow->backlog_bytes_max / each;
	return last > keep ? last - keep + 1 : 0;
}

// Receive time of the first record from `from` on; 0 for none.
static int64_t
received_at(const struct gw_follow *follow, uint64_t from)
{
	size_t used = 0;
	uint64_t next;
	uint8_t *buf = malloc(CHUNK_BYTES_MAX);
	struct gw_record record;
	struct gw_span span;
	int64_t us = 0;

	if (buf == NULL)
		return 0;
	if (gw_journal_read(follow->journal, from, buf, 16384, &used, &next) == GW_E_TOO_LARGE &&
	    gw_journal_read(follow->journal, from, buf, CHUNK_BYTES_MAX, &used, &next) != GW_OK)
		used = 0;
	span = gw_span(buf, used);
	while (us == 0 && gw_journal_step(&span, &record))
		us = record.type != 0 ? record.received_us : 0;
	free(buf);
	return us;
}

// The first position from `from` on whose record came at or after us; `from` where they cannot be read. One after the other: a search would take
// receive times as rising, and a clock that stood wrong for a while would make what came before it look old.
static uint64_t
first_young(struct gw_follow *follow, uint64_t from, int64_t us)
{
	uint8_t *buf = malloc(CHUNK_BYTES_MAX);
	uint64_t at = from, next;
	struct gw_record record;
	size_t used;

	while (buf != NULL && !follow->stopped && gw_journal_read(follow->journal, at, buf, CHUNK_BYTES_MAX, &used, &next) == GW_OK && used > 0) {
		struct gw_span rest = gw_span(buf, used);

		while (gw_journal_step(&rest, &record))
			if (record.type != 0 && record.received_us >= us) {
				free(buf);
				return record.position;
			}
		at = next;
	}
	free(buf);
	return follow->stopped ? from : at;
}

uint64_t
gw_follow_limit(struct gw_follow *follow)
{
	uint64_t last = gw_journal_last(follow->journal), old = 0, many, resume, from = follow->given + 1;

	if (last < from || follow->given < follow->again)
		return 0;
	if (from < gw_journal_first(follow->journal))
		from = gw_journal_first(follow->journal);
	if (follow->backlog_us_max > 0 && received_at(follow, from) < gw_clock_wall_us() - follow->backlog_us_max)
		old = first_young(follow, from, gw_clock_wall_us() - follow->backlog_us_max);
	many = bytes_floor(follow, last);
	resume = old > many ? old : many;
	if (resume <= from)
		return 0;
	record_gap(follow, from, resume - 1, old >= many ? GW_GAP_AGE : GW_GAP_BYTES);
	gw_follow_seek(follow, resume - 1);
	return resume - 1;
}

// ---- Reading ----

// The next chunk into buf. False where there is none.
static bool
read_chunk(struct gw_follow *follow)
{
	size_t used = 0;
	enum gw_error error = gw_journal_read(follow->journal, follow->next, follow->buf, follow->cap, &used, &follow->next);
	uint8_t *larger;

	if (error == GW_E_TOO_LARGE && follow->cap < CHUNK_BYTES_MAX && (larger = realloc(follow->buf, CHUNK_BYTES_MAX)) != NULL) {
		follow->buf = larger;
		follow->cap = CHUNK_BYTES_MAX;
		error = gw_journal_read(follow->journal, follow->next, follow->buf, follow->cap, &used, &follow->next);
	}
	if (error != GW_OK) {
		gw_diag_limited(&follow->read_failed, 10, GW_ERROR, "outlet.read", "outlet=%s position=%llu: %s", follow->name,
		    (unsigned long long)follow->next, gw_error_text(error));
		return false;
	}
	follow->rest = gw_span(follow->buf, used);
	return used > 0;
}

// A record of the buffer; damaged ones are recorded and left out.
static bool
step(struct gw_follow *follow, struct gw_record *record)
{
	while (gw_journal_step(&follow->rest, record)) {
		if (record->position <= follow->given)
			continue;
		follow->given = record->position;
		if (record->type != 0)
			return true;
		record_gap(follow, record->position, record->position, GW_GAP_DAMAGED);
	}
	return false;
}

bool
gw_follow_next(struct gw_follow *follow, int timeout_ms, struct gw_record *record)
{
	int64_t until = 0;
	int left = timeout_ms;

	while (!follow->stopped) {
		gw_follow_tend(follow);
		if (step(follow, record))
			return true;
		if (read_chunk(follow))
			continue;
		if (timeout_ms > 0) {
			int64_t now = gw_clock_mono_us();

			until = until != 0 ? until : now + (int64_t)timeout_ms * 1000;
			left = (int)((until - now + 999) / 1000);
		}
		if (left <= 0)
			return false;
		if (gw_journal_last(follow->journal) < follow->next || gw_journal_last(follow->journal) <= follow->given)
			gw_intake_wait(follow->intake, follow->given, left < 1000 ? left : 1000);
		else
			poll(NULL, 0, left < 100 ? left : 100); // it could not be read: not at once again
	}
	return false;
}

void
gw_follow_done(struct gw_follow *follow, uint64_t position)
{
	if (position > follow->done)
		follow->done = position;
}

enum gw_error
gw_follow_move(struct gw_follow *follow, struct gw_ticket *ticket, uint64_t position)
{
	uint64_t tag = ticket->tag[0];
	enum gw_error error;

	reap_all(follow); // a move under way must not come after this one
	if (position < follow->done && follow->done > follow->again)
		follow->again = follow->done;
	error = put(follow, ticket, position);
	ticket->tag[0] = tag;
	if (error == GW_OK)
		follow->done = follow->cursor = position;
	return error;
}

void
gw_follow_seek(struct gw_follow *follow, uint64_t position)
{
	follow->rest = gw_span(follow->buf, 0);
	follow->given = position;
	follow->next = position + 1;
}

// ---- Any thread ----

void
gw_follow_stop(struct gw_follow *follow)
{
	follow->stopped = true;
	gw_intake_wake(follow->intake);
}

uint64_t
gw_follow_cursor(const struct gw_follow *follow)
{
	return follow->cursor;
}

uint64_t
gw_follow_lag(const struct gw_follow *follow, int64_t *lag_us_max)
{
	uint64_t last = gw_journal_last(follow->journal), done = follow->done;
	int64_t us;

	*lag_us_max = 0;
	if (last <= done)
		return 0;
	if ((us = received_at(follow, done + 1)) != 0)
		*lag_us_max = gw_clock_wall_us() - us;
	return last - done;
}

// ---- Outlets that do not run ----

struct absent {
	struct gw_journal *journal;
	struct gw_ticket *ticket;
	const char *const *running;
	size_t count;
	uint64_t resume; // first record that is inside the limit
	enum gw_error error;
};

static bool
is_running(const struct absent *absent, const char *name)
{
	for (size_t i = 0; i < absent->count; i++)
		if (strncmp(absent->running[i], name, strcspn(name, "~")) == 0 && absent->running[i][strcspn(name, "~")] == '\0')
			return true;
	return false;
}

static enum gw_error
leave_out_absent(struct absent *absent, const char *name, uint64_t from)
{
	char route[GW_ID_MAX + 16], text[160], key[GW_ID_MAX + 32];
	int64_t now_us = gw_clock_wall_us();
	uint8_t row[8];
	enum gw_error error;

	snprintf(key, sizeof(key), GW_CURSOR_KEY_FMT, name);
	snprintf(route, sizeof(route), "outlet/%s", name);
	snprintf(text, sizeof(text), "journal records %llu to %llu left out: %s", (unsigned long long)from, (unsigned long long)absent->resume - 1,
	    gw_gap_words(GW_GAP_ABSENT));
	gw_diag(GW_WARNING, "outlet.gap", "outlet=%s: %s", name, text);
	gw_put64(row, absent->resume - 1);
	if ((error = gw_ticket_put(absent->ticket, gw_span_text(key), gw_span(row, sizeof(row)))) != GW_OK ||
	    (error = gw_ledger_gap(absent->journal, absent->ticket, name, from, absent->resume - 1, GW_GAP_ABSENT, now_us)) != GW_OK)
		return error;
	return gw_ticket_event(absent->ticket, GW_RECORD_DEVICE_EVENT, &(struct gw_event){ .received_us = now_us, .code = GW_EVENT_GAP,
	    .route = gw_span_text(route), .text = gw_span_text(text) });
}

static bool
move_absent(void *arg, const char *name, struct gw_span value)
{
	struct absent *absent = arg;

	if (is_running(absent, name))
		return true;
	// What its ledger says of trimmed records goes, a piece with each call.
	absent->error = gw_ledger_sweep(absent->journal, absent->ticket, name, INT64_MIN, gw_clock_wall_us(), SWEEP_ROWS_ABSENT);
	if (absent->error == GW_OK && value.len == 8 && gw_get64(value.at) + 1 < absent->resume)
		absent->error = leave_out_absent(absent, name, gw_get64(value.at) + 1);
	return absent->error == GW_OK;
}

enum gw_error
gw_follow_absent(struct gw_journal *journal, struct gw_intake *intake, const char *const *running, size_t count, int64_t backlog_us_max)
{
	struct absent absent = { .journal = journal, .running = running, .count = count };
	struct gw_source source;
	enum gw_error error;

	if ((error = gw_journal_seek(journal, gw_clock_wall_us() - backlog_us_max, &absent.resume)) != GW_OK ||
	    (error = gw_source_init(&source, intake, 1)) != GW_OK)
		return error;
	if ((absent.ticket = gw_ticket_get(&source)) == NULL) {
		gw_source_fini(&source);
		return GW_E_MEMORY;
	}
	absent.ticket->essential = true;
	error = gw_outlets_each(journal, move_absent, &absent);
	if (error == GW_OK && (error = absent.error) == GW_OK && absent.ticket->ops_len > 0)
		error = gw_intake_commit(absent.ticket);
	gw_ticket_release(absent.ticket);
	gw_source_fini(&source);
	return error;
}
