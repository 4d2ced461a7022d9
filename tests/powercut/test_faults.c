// SPDX-License-Identifier: Apache-2.0
// A disk that fails: whatever write or sync it is, everybody is answered with the truth, nothing is written any more where nobody can
// know what the disk holds, and after opening again all that had been acknowledged is there once.
#include "faults.h"
#include "gateway/clock.h"
#include "store_help.h"

#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#define TICKETS 400

static struct gw_journal *journal;
static struct gw_intake *intake;
static struct gw_source source;
static _Atomic int deaths;
static bool acknowledged[TICKETS];
static char killed_dir[600];

static void
failed(void *arg, enum gw_error error)
{
	(void)arg;
	assert_int_equal(error, GW_E_SYNC);
	atomic_fetch_add(&deaths, 1);
}

static void
start(void)
{
	struct gw_intake_options options = { .failed = failed, .group_tickets_max = 16 };

	options.journal = journal = store_open();
	assert_int_equal(gw_intake_open(&options, &intake, NULL), GW_OK);
	assert_int_equal(gw_source_init(&source, intake, 64), GW_OK);
}

static void
end(void)
{
	gw_intake_close(intake);
	gw_source_fini(&source);
	gw_journal_close(journal);
}

// Goes on with a copy of the data file as it is now, as if the process had been killed.
static void
store_copy(void)
{
	static char buf[1 << 20];
	char from[600], to[600];
	FILE *in, *out;
	size_t n;

	snprintf(from, sizeof(from), "%s/data.mdb", store_dir);
	snprintf(to, sizeof(to), "%s/killed", store_dir);
	assert_int_equal(mkdir(to, 0700), 0);
	snprintf(to, sizeof(to), "%s/killed/data.mdb", store_dir);
	in = fopen(from, "r");
	out = fopen(to, "w");
	assert_true(in != NULL && out != NULL);
	while ((n = fread(buf, 1, sizeof(buf), in)) > 0)
		assert_int_equal(fwrite(buf, 1, n, out), n);
	fclose(in);
	assert_int_equal(fclose(out), 0);
	snprintf(to, sizeof(to), "%s/killed", store_dir);
	store_options.dir = strcpy(killed_dir, to);
}

static struct gw_ticket *
numbered(uint64_t n)
{
	static const uint8_t samples[4000];
	struct gw_ticket *ticket = gw_ticket_get(&source);
	struct gw_reading readings[] = { reading_of(1 + n % 9, T0 + (int64_t)n, (int64_t)n),
		{ .signal = 100, .time_us = T0 + (int64_t)n, .type = GW_VALUE_SAMPLES, .samples = { 1, 1000, 0, samples } } };

	ticket->tag[0] = n;
	add_readings(ticket, "a", T0, readings, n % 10 == 9 ? 2 : 1);
	return ticket;
}

// Submits tickets [from, to) with many under way; gives the first result that is not GW_OK, and how many there were of such.
static enum gw_error
submit_all(uint64_t from, uint64_t to, uint64_t *refused)
{
	enum gw_error first = GW_OK;
	uint64_t sent = from, back = from;

	*refused = 0;
	while (back < to) {
		struct pollfd wait = { .fd = source.event_fd, .events = POLLIN };
		while (sent < to && sent - back < 48)
			gw_intake_submit(numbered(sent++));
		poll(&wait, 1, -1);
		for (struct gw_ticket *ticket = gw_source_take(&source), *next; ticket != NULL; ticket = next, back++) {
			next = ticket->next;
			acknowledged[ticket->tag[0]] |= ticket->result == GW_OK;
			*refused += ticket->result != GW_OK;
			if (first == GW_OK)
				first = ticket->result;
			gw_ticket_release(ticket);
		}
	}
	return first;
}

static void
count_number(void *arg, const struct gw_record *record, const struct gw_batch_head *head, const struct gw_reading *reading)
{
	int *counts = arg;

	(void)record, (void)head;
	if (reading->signal != 100)
		counts[reading->decimal.mantissa]++;
}

static void
check_store(bool all)
{
	int counts[TICKETS] = { 0 };

	store_each(journal, count_number, counts);
	for (int n = 0; n < TICKETS; n++) {
		assert_true(counts[n] <= 1);
		if (all || acknowledged[n])
			assert_int_equal(counts[n], 1);
	}
}

// One life with a fault in the middle, then one without.
static void
live_through(enum fault_op op, int nth, int error)
{
	uint64_t refused;
	enum gw_error result;

	store_make(NULL);
	memset(acknowledged, 0, sizeof(acknowledged));
	atomic_store(&deaths, 0);
	start();
	assert_int_equal(submit_all(0, 40, &refused), GW_OK);
	fault_arm(op, nth, error, false);
	result = submit_all(40, 300, &refused);
	assert_int_equal(fault_count(), 1);
	assert_int_equal(result, GW_E_SYNC);
	assert_int_equal(deaths, 1);
	assert_int_equal(submit_all(300, 310, &refused), GW_E_SYNC); // never again
	assert_int_equal(refused, 10);
	end();
	fault_disarm();
	start();
	check_store(false);
	assert_int_equal(submit_all(0, TICKETS, &refused), GW_OK); // the devices send again
	check_store(true);
	end();
	store_remove(NULL);
}

static void
writes_and_syncs(void **state)
{
	static const enum fault_op ops[] = { FAULT_WRITE, FAULT_SHORT, FAULT_META, FAULT_SYNC };
	static const int errors[] = { EIO, ENOSPC };

	(void)state;
	for (size_t op = 0; op < 4; op++)
		for (size_t error = 0; error < 2; error++)
			for (int nth = 1; nth < 8; nth++)
				live_through(ops[op], nth, errors[error]);
}

// No blocks to be had: "full", and back by itself when there are some.
static void
full_disk(void **state)
{
	struct gw_journal_stats stats;
	struct gw_ticket *ticket;
	uint64_t refused;

	(void)state;
	memset(acknowledged, 0, sizeof(acknowledged));
	atomic_store(&deaths, 0);
	start();
	assert_int_equal(submit_all(0, 40, &refused), GW_OK);
	end();
	start(); // what the last life had allocated is not known to this one before it asks
	fault_arm(FAULT_ALLOCATE, 1, ENOSPC, true);
	assert_int_equal(submit_all(40, 300, &refused), GW_E_FULL);
	assert_int_equal(refused, 260);
	assert_true(fault_count() > 0);
	gw_journal_stats(journal, &stats);
	assert_true(stats.full);
	assert_int_equal(deaths, 0);
	check_store(false);
	fault_disarm();
	for (ticket = numbered(300); gw_intake_commit(ticket) == GW_E_FULL; ticket->tag[0]++)
		usleep(1000);
	assert_int_equal(ticket->result, GW_OK);
	gw_ticket_release(ticket);
	assert_int_equal(submit_all(40, TICKETS, &refused), GW_OK);
	check_store(true);
	end();
}

// What was allocated ahead carries the essential when the disk has nothing more.
static void
essential_on_a_full_disk(void **state)
{
	struct gw_ticket *ticket;
	uint64_t refused;

	(void)state;
	memset(acknowledged, 0, sizeof(acknowledged));
	start();
	assert_int_equal(submit_all(0, 40, &refused), GW_OK);
	fault_arm(FAULT_ALLOCATE, 1, ENOSPC, true);
	for (uint64_t n = 0; n < 500; n++) { // until what is allocated is used up by large frames
		static uint8_t payload[100000];
		struct gw_quarantined entry = { .error = GW_E_FORMAT, .payload = gw_span(payload, sizeof(payload)) };
		ticket = gw_ticket_get(&source);
		assert_int_equal(gw_ticket_quarantine(ticket, &entry), GW_OK);
		enum gw_error result = gw_intake_commit(ticket);
		gw_ticket_release(ticket);
		if (result != GW_OK) {
			assert_int_equal(result, GW_E_FULL);
			break;
		}
	}
	assert_true(fault_count() > 0);
	assert_int_equal(submit_all(40, 41, &refused), GW_E_FULL);
	for (uint64_t n = 1; n <= 100; n++) {
		ticket = gw_ticket_get(&source);
		add_cursor(ticket, "bus", n % 40);
		assert_int_equal(gw_intake_commit(ticket), GW_OK);
		gw_ticket_release(ticket);
	}
	fault_disarm();
	end();
}

// Submits so many records of a kilobyte; gives how many were taken.
static uint64_t
submit_kilobytes(uint64_t count, int64_t *time_us)
{
	uint64_t sent = 0, back = 0, taken = 0;

	while (back < count) {
		struct pollfd wait = { .fd = source.event_fd, .events = POLLIN };
		for (; sent < count && sent - back < 48; sent++) {
			struct gw_reading readings[20];
			struct gw_ticket *ticket = gw_ticket_get(&source);
			for (uint32_t i = 0; i < 20; i++)
				readings[i] = reading_of(i, *time_us, 1);
			add_readings(ticket, "a", (*time_us)++, readings, 20);
			gw_intake_submit(ticket);
		}
		poll(&wait, 1, -1);
		for (struct gw_ticket *ticket = gw_source_take(&source), *next; ticket != NULL; ticket = next, back++) {
			next = ticket->next;
			taken += ticket->result == GW_OK;
			assert_true(ticket->result == GW_OK || ticket->result == GW_E_FULL);
			gw_ticket_release(ticket);
		}
	}
	return taken;
}

// A disk that stays full: what is trimmed makes room in the file itself.
static void
trimmed_on_a_full_disk(void **state)
{
	int64_t time_us = T0;

	(void)state;
	gw_clock_fake_wall(T0);
	atomic_store(&deaths, 0);
	start();
	assert_int_equal(submit_kilobytes(16000, &time_us), 16000);
	fault_arm(FAULT_ALLOCATE, 1, ENOSPC, true);
	while (submit_kilobytes(500, &time_us) > 0)
		;
	assert_true(fault_count() > 0);
	gw_clock_fake_wall(T0 + 2 * store_options.retention_full_us); // old enough to go, as nobody has a cursor
	while (submit_kilobytes(100, &time_us) == 0)
		usleep(1000);
	assert_true(gw_journal_first(journal) > 1);
	assert_int_equal(deaths, 0);
	end();
	fault_disarm();
	gw_clock_fake_wall(INT64_MIN);
}

enum { CLOCKS = 1500 };

// A record of each device in turn, whose clocks are minutes apart: neighbours in the journal lie on other pages of the index each.
static struct gw_ticket *
of_some_clock(uint64_t n)
{
	struct gw_reading reading = reading_of(1, T0 + (int64_t)(n % CLOCKS) * 600000000 + (int64_t)n, 1);
	struct gw_ticket *ticket = gw_ticket_get(&source);
	char device[16];

	snprintf(device, sizeof(device), "d%d", (int)(n % CLOCKS));
	add_readings(ticket, device, T0, &reading, 1);
	return ticket;
}

// Gives how many of the next 500 records were taken.
static int
submit_clocks(uint64_t *next)
{
	int sent = 0, back = 0, taken = 0;

	while (back < 500) {
		struct pollfd wait = { .fd = source.event_fd, .events = POLLIN };
		for (; sent < 500 && sent - back < 48; sent++)
			gw_intake_submit(of_some_clock((*next)++));
		poll(&wait, 1, -1);
		for (struct gw_ticket *ticket = gw_source_take(&source), *after; ticket != NULL; ticket = after, back++) {
			after = ticket->next;
			taken += ticket->result == GW_OK;
			assert_true(ticket->result == GW_OK || ticket->result == GW_E_FULL);
			gw_ticket_release(ticket);
		}
	}
	return taken;
}

static off_t
file_size(void)
{
	char path[600];
	struct stat stat_;

	snprintf(path, sizeof(path), "%s/data.mdb", store_dir);
	assert_int_equal(stat(path, &stat_), 0);
	return stat_.st_size;
}

// The same where every record that is trimmed, and every entry that waits for the index, wants a page of its own: it goes on, and nothing is
// ever written where the file has no blocks.
static void
trimmed_where_pages_are_many(void **state)
{
	static uint8_t value[60000];
	uint64_t next = 0;
	int taken = 0;
	off_t size;

	(void)state;
	gw_clock_fake_wall(T0);
	atomic_store(&deaths, 0);
	start();
	for (int i = 0; i < 60; i++)
		assert_int_equal(submit_clocks(&next), 500);
	fault_arm(FAULT_ALLOCATE, 1, ENOSPC, true);
	while (submit_clocks(&next) > 0)
		;
	assert_true(fault_count() > 0);
	for (int i = 0; i < 10; i++) { // the essential has taken half of what is kept for it
		struct gw_ticket *ticket = gw_ticket_get(&source);
		char key[16];
		snprintf(key, sizeof(key), "row/%d", i);
		ticket->essential = true;
		assert_int_equal(gw_ticket_put(ticket, gw_span_text(key), gw_span(value, sizeof(value))), GW_OK);
		assert_int_equal(gw_intake_commit(ticket), GW_OK);
		gw_ticket_release(ticket);
	}
	size = file_size();
	gw_clock_fake_wall(T0 + 2 * store_options.retention_us);
	for (int i = 0; i < 60000 && gw_journal_first(journal) < next / 2; i++)
		usleep(1000);
	assert_true(gw_journal_first(journal) >= next / 2);
	for (int i = 0; i < 10000 && (taken = submit_clocks(&next)) == 0; i++)
		usleep(1000);
	assert_true(taken > 0);
	assert_int_equal(deaths, 0);
	assert_int_equal(file_size(), size);
	end();
	fault_disarm();
	gw_clock_fake_wall(INT64_MIN);
}

// A commit that fails as "full" takes its piece of the checkpoint with it: nothing of that is taken as written.
static void
checkpoint_after_refusals(void **state)
{
	enum { SERIES = 5000, GROUP = 1000 };
	static int64_t newest[SERIES];
	uint64_t device = gw_name_hash(gw_span_text("a"));
	struct gw_ticket *ticket;
	int64_t time_us = T0;
	int refusals = 0;

	(void)state;
	journal = store_open();
	assert_int_equal(gw_source_init(&source, NULL, 1), GW_OK);
	ticket = gw_ticket_get(&source);
	srand(9);
	for (int round = 0; round < 500; round++) {
		static uint32_t series[GROUP];
		static uint8_t large[900000];
		int64_t first = time_us;
		enum gw_error error = gw_journal_begin(journal);
		for (int i = 0; i < GROUP; i++) {
			struct gw_reading reading = reading_of(series[i] = (uint32_t)rand() % SERIES, time_us++, 1);
			ticket->ops_len = 0;
			add_readings(ticket, "a", T0, &reading, 1);
			if (error == GW_OK)
				error = gw_journal_apply(journal, ticket);
		}
		assert_int_equal(error, GW_OK);
		fault_arm(FAULT_ALLOCATE, 1, ENOSPC, true);
		error = gw_journal_commit(journal);
		fault_disarm();
		if (error == GW_OK) {
			for (int i = 0; i < GROUP; i++)
				newest[series[i]] = first + i;
			continue;
		}
		assert_int_equal(error, GW_E_FULL);
		refusals++;
		assert_int_equal(gw_journal_begin(journal), GW_OK); // some blocks, for the next ones
		fault_arm(FAULT_ALLOCATE, 1, ENOSPC, false); // but not many: the next refusal is to come soon
		ticket->ops_len = 0;
		assert_int_equal(gw_ticket_put(ticket, gw_span_text("large"), gw_span(large, sizeof(large))), GW_OK);
		assert_int_equal(gw_journal_apply(journal, ticket), GW_OK);
		assert_int_equal(gw_journal_commit(journal), GW_OK);
		fault_disarm();
	}
	assert_true(refusals > 20);
	gw_ticket_release(ticket);
	// As after a crash: what is newest comes from the checkpoint's rows and from the journal behind it.
	store_copy();
	gw_journal_close(journal);
	journal = store_open();
	for (uint32_t i = 0; i < SERIES; i++) {
		assert_true(gw_journal_newest(journal, gw_series_hash(device, i, 0), &time_us) != 0);
		assert_int_equal(time_us, newest[i]);
	}
	gw_journal_close(journal);
	gw_source_fini(&source);
}

static int
large_quarantine(void **state)
{
	int rc = store_make(state);

	store_options.quarantine_bytes = 64 * MB;
	store_options.quarantine_share_percent = 100;
	return rc;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_and_syncs),
		cmocka_unit_test_setup_teardown(full_disk, store_make, store_remove),
		cmocka_unit_test_setup_teardown(checkpoint_after_refusals, store_make, store_remove),
		cmocka_unit_test_setup_teardown(trimmed_on_a_full_disk, store_make, store_remove),
		cmocka_unit_test_setup_teardown(trimmed_where_pages_are_many, store_make, store_remove),
		cmocka_unit_test_setup_teardown(essential_on_a_full_disk, large_quarantine, store_remove),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
