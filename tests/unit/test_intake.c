// SPDX-License-Identifier: Apache-2.0
// Intake: order, groups, refusals, followers, a full store and its recovery, trimming under a constant load.
#include "store_help.h"

#include "gateway/clock.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

static struct gw_journal *journal;
static struct gw_intake *intake;
static _Atomic int failures;

static void
failed(void *arg, enum gw_error error)
{
	(void)arg, (void)error;
	atomic_fetch_add(&failures, 1);
}

static void
start(void)
{
	struct gw_intake_options options = { .failed = failed };
	struct gw_why why = { "" };

	options.journal = journal = store_open();
	if (gw_intake_open(&options, &intake, &why) != GW_OK)
		fail_msg("%s", why.text);
}

static void
end(void)
{
	gw_intake_close(intake);
	gw_journal_close(journal);
}

static void
wait_for(struct gw_source *source)
{
	struct pollfd wait = { .fd = source->event_fd, .events = POLLIN };
	poll(&wait, 1, -1);
}

// ---- Order ----

#define SOURCES 4
#define WINDOW 64
#define EACH 4000

struct thread {
	pthread_t id;
	int number;
	uint64_t sent, back, bad;
};

static void
submit_next(struct thread *thread, struct gw_source *source)
{
	struct gw_ticket *ticket = gw_ticket_get(source);
	struct gw_reading reading = reading_of(1, T0 + (int64_t)thread->sent, (int64_t)thread->sent);
	struct gw_batch_head head = { .received_us = T0, .device = gw_span_text("a") };
	char device[16];

	snprintf(device, sizeof(device), "device-%d", thread->number);
	head.device = gw_span_text(device);
	ticket->tag[0] = thread->sent++;
	thread->bad += gw_ticket_readings(ticket, &head, &reading, 1) != GW_OK;
	gw_intake_submit(ticket);
}

static void *
run_source(void *arg)
{
	struct thread *thread = arg;
	struct gw_source source;

	if (gw_source_init(&source, intake, WINDOW) != GW_OK)
		return NULL;
	while (thread->back < EACH) {
		struct gw_ticket *back;
		while (thread->sent < EACH && thread->sent - thread->back < WINDOW)
			submit_next(thread, &source);
		for (back = gw_source_take(&source); back != NULL;) {
			struct gw_ticket *next = back->next;
			thread->bad += back->result != GW_OK || back->tag[0] != thread->back || back->stored != 1;
			thread->back++;
			gw_ticket_release(back);
			back = next;
		}
		if (thread->back < EACH && thread->sent - thread->back == WINDOW)
			wait_for(&source);
	}
	gw_source_fini(&source);
	return NULL;
}

// An outlet that keeps up, and everything else that reads: what has been told is there, whole and in order.
static void *
follow(void *arg)
{
	uint64_t *seen = arg, last = 0, next = 1, read = 0;
	uint64_t series = gw_series_hash(gw_name_hash(gw_span_text("device-0")), 1, 0);
	static uint8_t buf[GW_RECORD_MAX + 16];
	struct gw_journal_stats stats;
	struct gw_record record;
	int64_t time_us;
	size_t used;

	while (last < SOURCES * EACH) {
		uint64_t now = gw_intake_wait(intake, last, -1);
		if (now < last || gw_journal_newest(journal, series, &time_us) > gw_journal_last(journal))
			return NULL;
		last = now;
		(*seen)++;
		while (next <= last) {
			if (gw_journal_read(journal, next, buf, sizeof(buf), &used, &next) != GW_OK || used == 0)
				return NULL;
			for (struct gw_span rest = gw_span(buf, used); gw_journal_step(&rest, &record);)
				if (record.position != ++read || record.type != GW_RECORD_READINGS)
					return NULL;
		}
		gw_journal_stats(journal, &stats);
	}
	return arg;
}

static void
many_sources_one_writer(void **state)
{
	struct thread threads[SOURCES] = { 0 };
	struct gw_intake_stats stats;
	uint64_t woken = 0;
	pthread_t follower;
	void *followed;

	(void)state;
	start();
	pthread_create(&follower, NULL, follow, &woken);
	for (int i = 0; i < SOURCES; i++) {
		threads[i].number = i;
		pthread_create(&threads[i].id, NULL, run_source, &threads[i]);
	}
	for (int i = 0; i < SOURCES; i++) {
		pthread_join(threads[i].id, NULL);
		assert_int_equal(threads[i].back, EACH);
		assert_int_equal(threads[i].bad, 0);
	}
	pthread_join(follower, &followed);
	assert_non_null(followed);
	gw_intake_stats(intake, &stats);
	assert_int_equal(stats.submitted, SOURCES * EACH);
	assert_int_equal(stats.committed, SOURCES * EACH);
	assert_int_equal(stats.refused, 0);
	assert_int_equal(stats.waiting, 0);
	assert_true(stats.groups < SOURCES * EACH / 4); // one commit answers for many
	assert_true(woken <= stats.groups);
	assert_int_equal(gw_journal_last(journal), SOURCES * EACH);
	end();
}

// ---- Small things ----

static struct gw_ticket *
one_reading(struct gw_source *source, const char *device, int64_t time_us)
{
	struct gw_ticket *ticket = gw_ticket_get(source);
	struct gw_reading reading = reading_of(1, time_us, 1);

	assert_non_null(ticket);
	add_readings(ticket, device, time_us, &reading, 1);
	return ticket;
}

static enum gw_error
commit_one(struct gw_ticket *ticket)
{
	enum gw_error result = gw_intake_commit(ticket);
	gw_ticket_release(ticket);
	return result;
}

static void
tickets_are_limited(void **state)
{
	struct gw_source source;
	struct gw_ticket *a, *b;

	(void)state;
	start();
	assert_int_equal(gw_source_init(&source, intake, 2), GW_OK);
	a = gw_ticket_get(&source);
	b = gw_ticket_get(&source);
	assert_non_null(a);
	assert_non_null(b);
	assert_null(gw_ticket_get(&source));
	gw_ticket_release(a);
	assert_ptr_equal(gw_ticket_get(&source), a);
	gw_ticket_release(a);
	gw_ticket_release(b);
	gw_source_fini(&source);
	end();
}

static void
stopping(void **state)
{
	struct gw_source source;
	struct gw_ticket *ticket;

	(void)state;
	start();
	assert_int_equal(gw_source_init(&source, intake, 2), GW_OK);
	assert_int_equal(commit_one(one_reading(&source, "a", T0)), GW_OK);
	gw_intake_stop(intake);
	assert_int_equal(gw_intake_wait(intake, 1, -1), 1); // nobody waits any more
	assert_int_equal(commit_one(one_reading(&source, "a", T0 + 1)), GW_E_STOPPING);
	ticket = gw_ticket_get(&source);
	add_cursor(ticket, "bus", 1);
	assert_int_equal(commit_one(ticket), GW_OK);
	gw_source_fini(&source);
	assert_int_equal(gw_journal_last(journal), 1);
	end();
}

static void
what_was_submitted_is_committed_at_the_end(void **state)
{
	struct gw_source source;
	struct gw_ticket *back;
	int count = 0;

	(void)state;
	start();
	assert_int_equal(gw_source_init(&source, intake, 1000), GW_OK);
	for (int i = 0; i < 1000; i++)
		gw_intake_submit(one_reading(&source, "a", T0 + i));
	gw_intake_close(intake);
	for (back = gw_source_take(&source); back != NULL; count++) {
		struct gw_ticket *next = back->next;
		assert_int_equal(back->result, GW_OK);
		gw_ticket_release(back);
		back = next;
	}
	assert_int_equal(count, 1000);
	gw_source_fini(&source);
	gw_journal_close(journal);
}

// A refusal of one ticket, and one with nothing to store, leave the others of their group alone.
static void
refused_alone(void **state)
{
	static uint8_t payload[600000];
	struct gw_quarantined entry = { .error = GW_E_FORMAT, .principal = gw_span_text("a"), .payload = gw_span(payload, sizeof(payload)) };
	struct gw_source source;
	struct gw_ticket *back, *bad;
	enum gw_error results[6];
	int count = 0;

	(void)state;
	start();
	assert_int_equal(gw_source_init(&source, intake, 10), GW_OK);
	gw_intake_submit(one_reading(&source, "a", T0));
	bad = gw_ticket_get(&source);
	assert_int_equal(gw_ticket_quarantine(bad, &entry), GW_OK);
	gw_intake_submit(bad);
	gw_intake_submit(gw_ticket_get(&source));
	gw_intake_submit(one_reading(&source, "a", T0 + 2));
	while (count < 4) {
		wait_for(&source);
		for (back = gw_source_take(&source); back != NULL;) {
			struct gw_ticket *next = back->next;
			results[count++] = back->result;
			gw_ticket_release(back);
			back = next;
		}
	}
	assert_int_equal(results[0], GW_OK);
	assert_int_equal(results[1], GW_E_QUOTA);
	assert_int_equal(results[2], GW_OK);
	assert_int_equal(results[3], GW_OK);
	assert_int_equal(gw_journal_last(journal), 2);
	gw_source_fini(&source);
	end();
}

// ---- A full store ----

static void
count_readings(void *arg, const struct gw_record *record, const struct gw_batch_head *head, const struct gw_reading *reading)
{
	(void)record, (void)head, (void)reading;
	++*(uint64_t *)arg;
}

static struct gw_ticket *
large(struct gw_source *source, int64_t time_us, int records)
{
	static struct gw_reading readings[2000];
	struct gw_ticket *ticket = gw_ticket_get(source);

	for (int n = 0; n < records; n++) {
		static const char *const devices[] = { "a", "b", "c", "d", "e", "f" }; // no series of any is beyond its share
		for (uint32_t i = 0; i < 2000; i++)
			readings[i] = reading_of(i, time_us + n, 1), readings[i].instance = (uint16_t)(time_us % 30);
		add_readings(ticket, devices[time_us % 6], time_us, readings, 2000);
	}
	return ticket;
}

static void
fill(struct gw_source *source, int64_t *time_us, uint64_t *taken)
{
	enum gw_error result;

	while ((result = commit_one(large(source, (*time_us)++, 1))) == GW_OK)
		*taken += 2000;
	assert_int_equal(result, GW_E_FULL);
}

// Where large requests are refused, little by little is too, soon: what is free is counted some times a second, and may turn out to be a little more.
static bool
refuses_soon(struct gw_source *source, int64_t *time_us, uint64_t *taken)
{
	enum gw_error result = GW_OK;

	for (int n = 0; n < 2000 && result == GW_OK; n++)
		if ((result = commit_one(one_reading(source, "b", (*time_us)++))) == GW_OK)
			++*taken;
	return result == GW_E_FULL;
}

static void
full_and_resumed(bool reopened)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	struct gw_journal_stats stats;
	uint64_t taken = 0, found = 0;
	int64_t time_us = T0;
	enum gw_error result;

	store_options.budget_bytes = 8 * MB;
	store_options.reserve_bytes = 2 * MB;
	gw_clock_fake_wall(T0);
	start();
	assert_int_equal(gw_source_init(&source, intake, 10), GW_OK);
	fill(&source, &time_us, &taken);
	assert_true(taken > 20000);
	gw_journal_stats(journal, &stats);
	assert_true(stats.full && stats.full_why[0] != '\0');
	assert_true(stats.used_bytes <= 8 * MB);
	assert_true(refuses_soon(&source, &time_us, &taken)); // truthfully, also of little
	for (uint64_t i = 0; i < (reopened ? 200 : 2); i++) { // what is essential goes on
		ticket = gw_ticket_get(&source);
		add_cursor(ticket, "bus", i % 2);
		assert_int_equal(commit_one(ticket), GW_OK);
	}
	if (reopened) {
		gw_source_fini(&source);
		end();
		start();
		assert_int_equal(gw_source_init(&source, intake, 10), GW_OK);
		fill(&source, &time_us, &taken); // closing may have made a little room
	}
	assert_true(refuses_soon(&source, &time_us, &taken)); // still full, and nothing acknowledged is lost
	store_each(journal, count_readings, &found);
	assert_int_equal(found, taken);
	ticket = gw_ticket_get(&source); // delivered, and old enough: room comes by itself
	add_cursor(ticket, "bus", gw_journal_last(journal));
	assert_int_equal(commit_one(ticket), GW_OK);
	gw_clock_fake_wall(T0 + 2 * store_options.retention_full_us);
	do { // refused, until something has been trimmed
		if ((result = commit_one(large(&source, time_us++, 1))) != GW_OK)
			usleep(1000);
	} while (result == GW_E_FULL || gw_journal_first(journal) == 1);
	assert_int_equal(result, GW_OK);
	gw_source_fini(&source);
	end();
	gw_clock_fake_wall(INT64_MIN);
	assert_int_equal(failures, 0);
}

static void
full_and_resumed_at_once(void **state)
{
	(void)state;
	full_and_resumed(false);
}

static void
full_and_resumed_after_a_restart(void **state)
{
	(void)state;
	full_and_resumed(true);
}

// A transaction that the map cannot hold ends as "full": nothing of it is there, and the journal goes on.
static void
too_much_for_the_map(void **state)
{
	struct gw_source source;
	struct gw_ticket *ticket;

	(void)state;
	store_options.budget_bytes = 2 * MB;
	store_options.reserve_bytes = MB;
	start();
	assert_int_equal(gw_source_init(&source, intake, 10), GW_OK);
	assert_int_equal(commit_one(one_reading(&source, "a", T0)), GW_OK);
	ticket = large(&source, T0 + 1, 25);
	assert_int_equal(gw_intake_commit(ticket), GW_E_FULL);
	assert_int_equal(ticket->stored, 0);
	gw_ticket_release(ticket);
	assert_int_equal(gw_journal_last(journal), 1);
	assert_int_equal(commit_one(one_reading(&source, "a", T0 + 2)), GW_OK);
	assert_int_equal(gw_journal_last(journal), 2);
	assert_int_equal(gw_journal_newest(journal, gw_series_hash(gw_name_hash(gw_span_text("a")), 1999, 0), &(int64_t){ 0 }), 0);
	gw_source_fini(&source);
	end();
}

// With as much trimmed as comes in the file stops growing; nothing above a cursor goes.
static void
trimming_keeps_up(void **state)
{
	struct gw_source source;
	struct gw_journal_stats stats;
	uint64_t early = 0, late = 0;

	(void)state;
	store_options.budget_bytes = 64 * MB;
	store_options.retention_us = 2000000;
	start();
	assert_int_equal(gw_source_init(&source, intake, 600), GW_OK);
	for (int second = 0; second < 200; second++) {
		bool more = true;
		for (int i = 0; i < 500; i++)
			gw_intake_submit(one_reading(&source, i % 2 == 0 ? "a" : "b", T0 + second * INT64_C(1000000) + i));
		for (int back = 0; back < 500;) {
			wait_for(&source);
			for (struct gw_ticket *ticket = gw_source_take(&source), *next; ticket != NULL; ticket = next, back++) {
				next = ticket->next;
				assert_int_equal(ticket->result, GW_OK);
				gw_ticket_release(ticket);
			}
		}
		gw_intake_close(intake); // so that this thread is the writer
		gw_source_fini(&source);
		if (second % 10 == 9) { // the checkpoint of newest times goes on at closing
			gw_journal_close(journal);
			journal = store_open();
		}
		while (more)
			assert_int_equal(gw_journal_trim(journal, T0 + second * INT64_C(1000000), &more), GW_OK);
		gw_journal_stats(journal, &stats);
		if (second == 60)
			early = stats.used_bytes;
		late = stats.used_bytes;
		struct gw_intake_options options = { .journal = journal };
		assert_int_equal(gw_intake_open(&options, &intake, NULL), GW_OK);
		assert_int_equal(gw_source_init(&source, intake, 600), GW_OK);
	}
	assert_true(late <= early + early / 5);
	assert_true(gw_journal_last(journal) - gw_journal_first(journal) < 15 * 500);
	struct gw_ticket *ticket = gw_ticket_get(&source);
	uint64_t first = gw_journal_first(journal);
	add_cursor(ticket, "bus", first + 509);
	assert_int_equal(commit_one(ticket), GW_OK);
	gw_source_fini(&source);
	gw_intake_close(intake);
	gw_journal_close(journal);
	journal = store_open();
	for (bool more = true; more;)
		assert_int_equal(gw_journal_trim(journal, INT64_MAX / 2, &more), GW_OK);
	assert_in_range(gw_journal_first(journal), first + 510 - 200, first + 510); // whole blocks go
	gw_journal_close(journal);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_make, store_remove)

int
main(void)
{
	const struct CMUnitTest tests[] = { TEST(many_sources_one_writer), TEST(tickets_are_limited), TEST(stopping),
		TEST(what_was_submitted_is_committed_at_the_end), TEST(refused_alone), TEST(full_and_resumed_at_once),
		TEST(full_and_resumed_after_a_restart), TEST(too_much_for_the_map),
		TEST(trimming_keeps_up) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
