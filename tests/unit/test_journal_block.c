// SPDX-License-Identifier: Apache-2.0
// Records lie in blocks, and the index follows them at a distance: neither may be seen from outside, not after a crash and not where a block is damaged.
#include "store_help.h"

#include "gateway/bytes.h"

#include <lmdb.h>
#include <sys/wait.h>
#include <unistd.h>

static struct gw_source spare = { .tickets_max = 100000, .event_fd = -1 };

static void
commit(struct gw_journal *journal, struct gw_ticket *const *tickets, size_t count)
{
	assert_int_equal(gw_journal_begin(journal), GW_OK);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(gw_journal_apply(journal, tickets[i]), GW_OK);
	assert_int_equal(gw_journal_commit(journal), GW_OK);
}

// `count` records of one reading each, in one commit: device "a" or "b", time T0 + from, T0 + from + 1...
static void
add(struct gw_journal *journal, int from, int count)
{
	struct gw_ticket *tickets[512] = { NULL };

	for (int i = 0; i < count; i++) {
		struct gw_reading reading = reading_of(1, T0 + from + i, from + i);
		assert_non_null(tickets[i] = gw_ticket_get(&spare));
		add_readings(tickets[i], (from + i) % 2 == 0 ? "a" : "b", T0, &reading, 1);
	}
	commit(journal, tickets, (size_t)count);
	for (int i = 0; i < count; i++)
		gw_ticket_release(tickets[i]);
}

struct seen {
	int64_t next, step;
	int count;
};

static void
in_order(void *arg, const struct gw_record *record, const struct gw_batch_head *head, const struct gw_reading *reading)
{
	struct seen *seen = arg;

	(void)record, (void)head;
	assert_int_equal(reading->time_us, T0 + seen->next);
	seen->next += seen->step;
	seen->count++;
}

static bool
in_range(void *arg, int64_t time_us, const struct gw_record *record)
{
	struct seen *seen = arg;

	(void)record;
	if (seen->step > 0)
		assert_int_equal(time_us, T0 + seen->next);
	seen->next += seen->step;
	seen->count++;
	return true;
}

static int
range(struct gw_journal *journal, int64_t from, int64_t to)
{
	struct seen seen = { .next = from, .step = 2 };

	assert_int_equal(gw_journal_range(journal, gw_span_text("a"), T0 + from, T0 + to, in_range, &seen), GW_OK);
	return seen.count;
}

// Groups of every size, with records larger than a block among them.
static void
every_record_is_found(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_reading many[500];
	struct seen seen = { .step = 1 };
	int at = 0;

	(void)state;
	for (int size = 1; size < 300; size += 7, at += size - 7)
		add(journal, at, size);
	store_each(journal, in_order, &seen);
	assert_int_equal(seen.count, at);
	assert_int_equal(range(journal, 0, at), (at + 1) / 2);
	assert_int_equal(range(journal, 100, 102), 1);
	for (int i = 0; i < 500; i++)
		many[i] = reading_of(2, T0 + at + i, at + i);
	struct gw_ticket *large = gw_ticket_get(&spare);
	add_readings(large, "b", T0, many, 500);
	commit(journal, &large, 1);
	gw_ticket_release(large);
	add(journal, at + 500, 10);
	gw_journal_close(journal);
	journal = store_open();
	seen = (struct seen){ .step = 1 };
	store_each(journal, in_order, &seen);
	assert_int_equal(seen.count, at + 510);
	gw_journal_close(journal);
}

// Reading begins at any position, also within a block.
static void
reading_begins_anywhere(void **state)
{
	static uint8_t buf[GW_RECORD_MAX + 16];
	struct gw_journal *journal = store_open();
	struct gw_record record;
	size_t used;
	uint64_t next;

	(void)state;
	add(journal, 0, 100);
	add(journal, 100, 1);
	for (uint64_t from = 1; from <= 101; from++) {
		assert_int_equal(gw_journal_read(journal, from, buf, sizeof(buf), &used, &next), GW_OK);
		struct gw_span rest = gw_span(buf, used);
		assert_true(gw_journal_step(&rest, &record));
		assert_int_equal(record.position, from);
		assert_int_equal(next, 102);
		assert_int_equal(gw_journal_one(journal, from, buf, sizeof(buf), &record), GW_OK);
		assert_int_equal(record.position, from);
		assert_int_equal(gw_journal_one(journal, from, buf, 20, &record), GW_E_TOO_LARGE);
	}
	assert_int_equal(gw_journal_one(journal, 102, buf, sizeof(buf), &record), GW_E_NOT_FOUND);
	gw_journal_close(journal);
}

// More entries than the index is behind by at most; then a process that ends without closing.
static void
the_index_catches_up_after_a_crash(void **state)
{
	struct gw_journal *journal;
	struct gw_ticket *again;
	struct gw_reading reading = reading_of(1, T0 + 8, 8);
	pid_t child = fork();
	int status;

	(void)state;
	if (child == 0) {
		journal = store_open();
		for (int at = 0; at < 5000; at += 100)
			add(journal, at, 100);
		_exit(range(journal, 0, 5000) == 2500 && range(journal, 4998, 5000) == 1 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	journal = store_open();
	assert_int_equal(range(journal, 0, 5000), 2500);
	add(journal, 5000, 10);
	assert_int_equal(range(journal, 0, 5010), 2505);
	// What was not indexed yet is known all the same when it comes again.
	reading = reading_of(1, T0 + 4990, 4990);
	again = gw_ticket_get(&spare);
	add_readings(again, "a", T0, &reading, 1);
	commit(journal, &again, 1);
	assert_int_equal(again->duplicates, 1);
	assert_int_equal(again->stored, 0);
	gw_ticket_release(again);
	assert_int_equal(range(journal, 0, 5010), 2505);
	gw_journal_close(journal);
}

// A commit that is taken back takes back its entries and nothing else.
static void
an_abort_leaves_the_index_as_it_was(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_reading reading = reading_of(1, T0 + 1000, 1), old = reading_of(1, T0 + 2, 2);
	struct gw_ticket *ticket;

	(void)state;
	add(journal, 0, 100);
	for (int i = 0; i < 2; i++) { // the second time the index was flushed in what is taken back
		ticket = gw_ticket_get(&spare);
		add_readings(ticket, "a", T0, &reading, 1);
		if (i == 1)
			add_readings(ticket, "a", T0, &old, 1);
		assert_int_equal(gw_journal_begin(journal), GW_OK);
		assert_int_equal(gw_journal_apply(journal, ticket), GW_OK);
		gw_journal_abort(journal);
		gw_ticket_release(ticket);
		assert_int_equal(range(journal, 0, 2000), 50);
	}
	add(journal, 100, 2);
	assert_int_equal(range(journal, 0, 2000), 51);
	gw_journal_close(journal);
}

// ---- Behind the journal's back ----

struct store {
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi journal, meta;
};

static void
open_raw(struct store *store)
{
	assert_int_equal(mdb_env_create(&store->env), 0);
	assert_int_equal(mdb_env_set_maxdbs(store->env, 8), 0);
	assert_int_equal(mdb_env_set_mapsize(store->env, store_options.budget_bytes), 0);
	assert_int_equal(mdb_env_open(store->env, store_dir, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(store->env, NULL, 0, &store->txn), 0);
	assert_int_equal(mdb_dbi_open(store->txn, "journal", MDB_INTEGERKEY, &store->journal), 0);
	assert_int_equal(mdb_dbi_open(store->txn, "meta", 0, &store->meta), 0);
}

static void
close_raw(struct store *store)
{
	assert_int_equal(mdb_txn_commit(store->txn), 0);
	mdb_env_close(store->env);
}

// Overwrites bytes of the block whose last record has the position.
static void
damage(uint64_t last, size_t at, uint8_t value, size_t len)
{
	static uint8_t copy[GW_RECORD_MAX];
	struct store store;
	MDB_val key = { sizeof(last), &last }, data;

	open_raw(&store);
	assert_int_equal(mdb_get(store.txn, store.journal, &key, &data), 0);
	assert_true(at + len <= data.mv_size);
	memcpy(copy, data.mv_data, data.mv_size);
	memset(copy + at, value, len);
	data.mv_data = copy;
	assert_int_equal(mdb_put(store.txn, store.journal, &key, &data, 0), 0);
	close_raw(&store);
}

// Positions of good records, as text.
static void
good(struct gw_journal *journal, char out[200])
{
	static uint8_t buf[GW_RECORD_MAX + 16];
	uint64_t from = 1;
	size_t used;
	int len = 0;

	out[0] = '\0';
	for (;;) {
		struct gw_record record;
		assert_int_equal(gw_journal_read(journal, from, buf, sizeof(buf), &used, &from), GW_OK);
		if (used == 0)
			return;
		for (struct gw_span rest = gw_span(buf, used); gw_journal_step(&rest, &record);)
			if (record.type != 0)
				len += snprintf(out + len, 200 - (size_t)len, "%d ", (int)record.position);
	}
}

// Damage costs the record that it hit, also in its length; where two lengths are damaged it costs the block. What comes after has its own positions.
static void
damage_stays_where_it_is(void **state)
{
	struct gw_journal *journal = store_open();
	MDB_val data;
	struct store store;
	struct seen seen = { 0 };
	uint64_t last = 8;
	char text[200];
	bool more = true;

	(void)state;
	add(journal, 0, 4);
	add(journal, 4, 4);
	add(journal, 8, 2);
	gw_journal_close(journal);
	open_raw(&store);
	MDB_val key = { sizeof(last), &last };
	assert_int_equal(mdb_get(store.txn, store.journal, &key, &data), 0);
	size_t second = gw_get32((const uint8_t *)data.mv_data + 4); // offset of the block's second record
	size_t third = second + gw_get32((const uint8_t *)data.mv_data + second + 4);
	close_raw(&store);

	damage(8, second + 30, 0xEE, 1);
	journal = store_open();
	good(journal, text);
	assert_string_equal(text, "1 2 3 4 5 7 8 9 10 ");
	gw_journal_close(journal);
	damage(8, second + 4, 0xEE, 4);
	journal = store_open();
	good(journal, text);
	assert_string_equal(text, "1 2 3 4 5 7 8 9 10 ");
	gw_journal_close(journal);
	damage(8, third + 4, 0xEE, 4);
	journal = store_open();
	good(journal, text);
	assert_string_equal(text, "1 2 3 4 9 10 ");
	assert_int_equal(gw_journal_last(journal), 10);
	add(journal, 10, 1);
	good(journal, text);
	assert_string_equal(text, "1 2 3 4 9 10 11 ");
	assert_int_equal(gw_journal_range(journal, gw_span_text("a"), T0, T0 + 100, in_range, &seen), GW_OK);
	assert_int_equal(seen.count, 4); // 0, 2, 8, 10
	gw_journal_close(journal);
	journal = store_open();
	while (more)
		assert_int_equal(gw_journal_trim(journal, INT64_MAX / 2, &more), GW_OK);
	assert_int_equal(gw_journal_first(journal), 11);
	gw_journal_close(journal);
}

// What a disk that lost a write, or put it elsewhere, leaves: whole records, of other positions. The seal tells; its own damage costs nothing.
static void
another_block_is_not_taken(void **state)
{
	struct gw_journal *journal = store_open();
	uint8_t copy[8192];
	struct store store;
	uint64_t first = 4, second = 8;
	MDB_val data, from = { sizeof(first), &first }, to = { sizeof(second), &second };
	char text[200];

	(void)state;
	add(journal, 0, 4);
	add(journal, 4, 4);
	add(journal, 8, 2);
	gw_journal_close(journal);
	for (size_t i = 1; i <= 8; i++) { // each byte of the seal
		open_raw(&store);
		assert_int_equal(mdb_get(store.txn, store.journal, &to, &data), 0);
		size_t at = data.mv_size - i;
		uint8_t was = ((uint8_t *)data.mv_data)[at];
		close_raw(&store);
		damage(8, at, was ^ 4, 1);
		journal = store_open();
		good(journal, text);
		assert_string_equal(text, "1 2 3 4 5 6 7 8 9 10 ");
		gw_journal_close(journal);
		damage(8, at, was, 1);
	}
	open_raw(&store);
	assert_int_equal(mdb_get(store.txn, store.journal, &from, &data), 0);
	assert_true(data.mv_size <= sizeof(copy));
	size_t len = data.mv_size;
	memcpy(copy, data.mv_data, len);
	data = (MDB_val){ len, copy };
	assert_int_equal(mdb_put(store.txn, store.journal, &to, &data, 0), 0);
	close_raw(&store);
	journal = store_open();
	good(journal, text);
	assert_string_equal(text, "1 2 3 4 9 10 ");
	gw_journal_close(journal);
}

// The first block there is: nothing before it tells how many records it held.
static void
damage_at_the_beginning(void **state)
{
	struct gw_journal *journal = store_open();
	char text[200];

	(void)state;
	add(journal, 0, 4);
	add(journal, 4, 2);
	gw_journal_close(journal);
	damage(4, 0, 0xEE, 20);
	journal = store_open();
	good(journal, text);
	assert_string_equal(text, "5 6 ");
	assert_int_equal(range(journal, 0, 4), 0);
	add(journal, 6, 1);
	good(journal, text);
	assert_string_equal(text, "5 6 7 ");
	gw_journal_close(journal);
}

// Blocks from before format 3 end with their last record, whatever that ends with: here with what a seal would look like.
static void
older_blocks_have_no_seal(void **state)
{
	static const uint8_t like_a_seal[] = { 1, 2, 3, 4, 0xFE, 0xFD, 0xFC, 0xFB };
	const struct gw_event event = { .received_us = T0, .door = GW_DOOR_COMMAND, .data = gw_span(like_a_seal, sizeof(like_a_seal)) };
	struct gw_journal *journal = store_open();
	uint8_t block[1000];
	uint64_t last = 3;
	struct store store;
	MDB_val key = { sizeof(last), &last }, data;
	size_t two, third;
	char text[200];

	(void)state;
	add(journal, 0, 3);
	gw_journal_close(journal);
	open_raw(&store);
	assert_int_equal(mdb_get(store.txn, store.journal, &key, &data), 0);
	two = gw_get32((const uint8_t *)data.mv_data + 4);
	two += gw_get32((const uint8_t *)data.mv_data + two + 4);
	assert_in_range(two, 1, 500);
	memcpy(block, data.mv_data, two);
	assert_int_equal(gw_record_event(GW_RECORD_COMMAND, &event, block + two, sizeof(block) - two, &third), GW_OK);
	data = (MDB_val){ two + third, block };
	assert_int_equal(mdb_put(store.txn, store.journal, &key, &data, 0), 0);
	close_raw(&store);
	journal = store_open();
	good(journal, text);
	assert_string_equal(text, "1 2 3 ");
	gw_journal_close(journal);
}

// A store as the format before had it: a value for each record, all of them in the index, no word on how far.
static void
format_1_is_taken_over(void **state)
{
	struct gw_journal *journal = store_open();
	struct store store;
	MDB_val format = { 6, (void *)(uintptr_t)"format" }, indexed = { 7, (void *)(uintptr_t)"indexed" };
	uint64_t one = 1;
	MDB_val value = { 8, &one };
	struct seen seen = { .step = 1 };

	(void)state;
	for (int i = 0; i < 3000; i++)
		add(journal, i, 1);
	struct gw_ticket *old = gw_ticket_get(&spare);
	struct gw_reading reading = reading_of(1, T0, 0);
	add_readings(old, "a", T0, &reading, 1); // an old one: what waits goes into the index
	add(journal, 3000, 1);
	commit(journal, &old, 1);
	gw_ticket_release(old);
	gw_journal_close(journal);
	open_raw(&store);
	assert_int_equal(mdb_put(store.txn, store.meta, &format, &value, 0), 0);
	assert_int_equal(mdb_del(store.txn, store.meta, &indexed, NULL), 0);
	close_raw(&store);
	journal = store_open();
	store_each(journal, in_order, &seen);
	assert_int_equal(seen.count, 3001);
	assert_int_equal(range(journal, 0, 4000), 1501);
	add(journal, 3001, 10);
	gw_journal_close(journal);
	journal = store_open();
	assert_int_equal(range(journal, 0, 4000), 1506);
	gw_journal_close(journal);
}

struct given {
	int64_t times[8];
	int count;
};

static bool
note(void *arg, int64_t time_us, const struct gw_record *record)
{
	struct given *given = arg;

	(void)record;
	assert_in_range(given->count, 0, 7);
	given->times[given->count++] = time_us;
	return true;
}

// Once for each distinct time, whether the record is in the index or not, wherever its readings of one time stand.
static void
times_need_not_stand_side_by_side(void **state)
{
	const int64_t times[] = { 5, 3, 5, 4, 3 };
	struct gw_journal *journal = store_open();
	struct gw_ticket *ticket = gw_ticket_get(&spare);
	struct gw_reading readings[5];

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		readings[i] = reading_of(i + 1, T0 + times[i], i);
	add_readings(ticket, "a", T0, readings, 5);
	commit(journal, &ticket, 1);
	gw_ticket_release(ticket);
	for (int indexed = 0; indexed < 2; indexed++) {
		struct given given = { .count = 0 };
		assert_int_equal(gw_journal_range(journal, gw_span_text("a"), T0, T0 + 10, note, &given), GW_OK);
		assert_int_equal(given.count, 3);
		for (int i = 0; i < 3; i++)
			assert_int_equal(given.times[i], T0 + 3 + i);
		ticket = gw_ticket_get(&spare); // comes again: for that the index is looked into
		add_readings(ticket, "a", T0, readings, 5);
		commit(journal, &ticket, 1);
		assert_int_equal(ticket->duplicates, 5);
		gw_ticket_release(ticket);
	}
	gw_journal_close(journal);
}

struct writing {
	struct gw_journal *journal;
	int next, added, from; // the next time to come; times that were added, beginning with from
};

// Between two pieces of the range: more at its end, for which the index is brought up to date every now and then.
static bool
write_along(void *arg, int64_t time_us, const struct gw_record *record)
{
	struct writing *writing = arg;

	(void)record;
	assert_int_equal(time_us, T0 + writing->next);
	writing->next += 2;
	if (writing->added < 4000 && writing->next % 20 == 0) {
		add(writing->journal, writing->from + writing->added, 100);
		writing->added += 100;
	}
	if (writing->next % 140 == 0 && writing->next < writing->from + writing->added) {
		struct gw_reading again = reading_of(1, T0 + writing->next, writing->next);
		struct gw_ticket *ticket = gw_ticket_get(&spare);
		add_readings(ticket, "a", T0, &again, 1);
		commit(writing->journal, &ticket, 1);
		assert_int_equal(ticket->duplicates, 1);
		gw_ticket_release(ticket);
	}
	return true;
}

// A reader sees every reading once and in order, whatever moves from the journal's end into the index meanwhile.
static void
the_index_moves_under_a_reader(void **state)
{
	struct gw_journal *journal = store_open();
	struct writing writing = { .journal = journal, .from = 8000 };

	(void)state;
	for (int at = 0; at < 8000; at += 100)
		add(journal, at, 100);
	assert_int_equal(gw_journal_range(journal, gw_span_text("a"), T0, T0 + 100000, write_along, &writing), GW_OK);
	assert_int_equal(writing.added, 4000);
	assert_int_equal(writing.next, 12000);
	gw_journal_close(journal);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_make, store_remove)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_record_is_found), TEST(reading_begins_anywhere), TEST(the_index_catches_up_after_a_crash),
		TEST(an_abort_leaves_the_index_as_it_was), TEST(damage_stays_where_it_is), TEST(another_block_is_not_taken), TEST(damage_at_the_beginning), TEST(older_blocks_have_no_seal),
		TEST(format_1_is_taken_over), TEST(times_need_not_stand_side_by_side),
		TEST(the_index_moves_under_a_reader),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	gw_source_fini(&spare);
	return failed;
}
