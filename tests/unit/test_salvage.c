// SPDX-License-Identifier: Apache-2.0
// Damage anywhere in the journal's file, opened as the gateway does and salvaged: no process ends by it, nothing wrong is served, and every record that did not
// lie on the damaged page is there afterwards. DAMAGES=n makes it longer, SEED=n takes others.
#include "store_help.h"

#include "gateway/bytes.h"
#include "gateway/hash.h"
#include "gateway/journal_copy.h"
#include "gateway/pages.h"
#include "gateway/salvage.h"
#include "gateway/ticket.h"

#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDS 2400
#define ROWS 300
#define PAGE 4096
#define BLOCK_MAX 20 // records of one

static uint64_t seed;

static uint64_t
draw(uint64_t below)
{
	return gw_hash_mix(seed++) % below;
}

static int64_t
value_of(int64_t i, uint32_t k)
{
	return (int64_t)(gw_hash_mix((uint64_t)i * 4 + k) % 50000);
}

// ---- What is there ----

static size_t
row_key(uint32_t i, char key[80])
{
	static const char *const prefixes[] = { "device/monitor-", "outlet/bus/parked/", "outlet/hl7/pdms/outbox/", "patient-device/m1/" };

	return (size_t)snprintf(key, 80, "%s%016x", prefixes[i % 4], i);
}

static size_t
row_value(uint32_t i, uint8_t value[400])
{
	size_t len = 20 + gw_hash_mix(i) % 200;

	for (size_t k = 0; k < len; k++)
		value[k] = (uint8_t)(gw_hash_mix(i * 400u + k) >> 8);
	gw_put32(value, i);
	return len;
}

static void
put_row(struct gw_ticket *ticket, uint32_t i)
{
	char key[80];
	uint8_t value[400];
	size_t key_len = row_key(i, key), len = row_value(i, value);

	assert_int_equal(gw_ticket_put(ticket, gw_span(key, key_len), gw_span(value, len)), GW_OK);
}

static void
commit(struct gw_journal *journal, struct gw_ticket *ticket)
{
	assert_int_equal(gw_journal_apply(journal, ticket), GW_OK);
	gw_ticket_release(ticket);
}

// Commits of one record, which lie in a leaf, and of some together.
static void
fill(void)
{
	struct gw_journal *journal = store_open();
	struct gw_source source;
	struct gw_ticket *ticket;
	struct gw_reading readings[4];

	assert_int_equal(gw_source_init(&source, NULL, 1), GW_OK);
	for (int64_t i = 0; i < RECORDS;) {
		assert_int_equal(gw_journal_begin(journal), GW_OK);
		for (int64_t end = i + (i % 100 == 0 ? 1 : 3 + i % 17); i < end && i < RECORDS; i++) {
			assert_non_null(ticket = gw_ticket_get(&source));
			for (uint32_t k = 0; k < 4; k++)
				readings[k] = reading_of(100 + k, T0 + i * 1000000, value_of(i, k));
			add_readings(ticket, i % 2 == 0 ? "a" : "b", T0 + i * 1000000, readings, 4);
			if (i % (RECORDS / ROWS) == 0)
				put_row(ticket, (uint32_t)(i / (RECORDS / ROWS)));
			if (i == RECORDS / 2) {
				add_cursor(ticket, "bus", 700);
				add_cursor(ticket, "hl7/pdms", 900);
			}
			commit(journal, ticket);
		}
		assert_int_equal(gw_journal_commit(journal), GW_OK);
	}
	gw_source_fini(&source);
	gw_journal_close(journal);
}

// ---- What is served ----

struct seen { uint64_t at[RECORDS]; uint32_t rows; uint64_t cursors; bool wrong; char words[120]; };

static void
see_record(struct seen *seen, const struct gw_record *record)
{
	struct gw_batch batch;
	struct gw_reading reading;
	int64_t i = (record->received_us - T0) / 1000000;

	if (record->type != GW_RECORD_READINGS)
		return;
	seen->wrong |= i < 0 || i >= RECORDS || seen->at[i] != 0 || gw_batch_open(record, &batch, NULL) != GW_OK;
	for (uint32_t k = 0; !seen->wrong && gw_batch_next(&batch, &reading); k++)
		seen->wrong |= reading.time_us != T0 + i * 1000000 || reading.decimal.mantissa != value_of(i, k);
	if (!seen->wrong)
		seen->at[i] = record->position;
	else if (seen->words[0] == '\0')
		snprintf(seen->words, sizeof(seen->words), "record %lld at %llu", (long long)i, (unsigned long long)record->position);
}

static bool
see_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct seen *seen = arg;
	char expected_key[80];
	uint8_t expected[400];
	uint32_t i = value.len >= 4 ? gw_get32(value.at) : 0;

	if (gw_cursor_name(key).len > 0) {
		seen->wrong |= value.len != 8 || gw_get64(value.at) > 900;
		seen->cursors++;
		return true;
	}
	if (memmem(key.at, key.len, "/gap/", 5) != NULL || gw_span_is(key, "patient-next") || (key.len > 8 && memcmp(key.at, "salvage/", 8) == 0))
		return true;
	if (i >= ROWS || key.len != row_key(i, expected_key) || memcmp(key.at, expected_key, key.len) != 0 || value.len != row_value(i, expected) ||
	    memcmp(value.at, expected, value.len) != 0) {
		seen->wrong = true;
		snprintf(seen->words, sizeof(seen->words), "row %.*s", GW_SPAN_FMT(key));
	}
	seen->rows++;
	return true;
}

// Everything through the calls that the gateway uses.
static void
see(struct gw_journal *journal, struct seen *seen)
{
	static uint8_t buf[GW_RECORD_MAX + 16];
	uint64_t from = gw_journal_first(journal);
	size_t used = 1;

	*seen = (struct seen){ .rows = 0 };
	while (used > 0 && gw_journal_read(journal, from, buf, sizeof(buf), &used, &from) == GW_OK) {
		struct gw_span rest = gw_span(buf, used);
		struct gw_record record;

		while (gw_journal_step(&rest, &record))
			see_record(seen, &record);
	}
	(void)!gw_journal_each(journal, gw_span("", 0), gw_span("", 0), see_row, seen);
}

// ---- Damage ----

static uint8_t *whole;      // the file
static size_t whole_len;
static uint8_t *lies;       // of each record, a byte for each page: whether some of it lies there

// Every place where a record lies: a leaf is copied with each change.
static void
find_records(void)
{
	struct { uint64_t head; uint32_t i, len; } *heads = calloc(1 << 14, sizeof(*heads));
	struct gw_journal *journal = store_open();
	static uint8_t buf[GW_RECORD_MAX + 16];
	uint64_t from = 1;
	size_t used = 1;

	lies = calloc(RECORDS, whole_len / PAGE);
	while (used > 0 && gw_journal_read(journal, from, buf, sizeof(buf), &used, &from) == GW_OK) {
		struct gw_span rest = gw_span(buf, used);
		struct gw_record record;

		while (gw_journal_step(&rest, &record)) {
			uint64_t head = gw_get64(record.bytes.at);
			size_t slot = gw_hash_mix(head) % (1 << 14);

			while (heads[slot].head != 0)
				slot = (slot + 1) % (1 << 14);
			heads[slot].head = head;
			heads[slot].i = (uint32_t)((record.received_us - T0) / 1000000);
			heads[slot].len = (uint32_t)record.bytes.len;
		}
	}
	gw_journal_close(journal);
	for (size_t at = 0; at + 8 <= whole_len; at++) {
		uint64_t head = gw_get64(whole + at);

		for (size_t slot = gw_hash_mix(head) % (1 << 14); head != 0 && heads[slot].head != 0; slot = (slot + 1) % (1 << 14))
			if (heads[slot].head == head) {
				for (size_t page = at / PAGE; page <= (at + heads[slot].len - 1) / PAGE; page++)
					lies[heads[slot].i * (whole_len / PAGE) + page] = 1;
			}
	}
	free(heads);
}

static bool
lies_on(size_t i, size_t page)
{
	return lies[i * (whole_len / PAGE) + page] != 0;
}

// The length of a block stands in a leaf: where that is damaged the block's end cannot be told, and it is lost.
static bool
is_leaf(size_t page)
{
	return gw_get16(whole + page * PAGE + 10) == 2;
}

enum { FINE = 3, REFUSED, LOST_RECORDS };

static int
look_and_salvage(const char *dir, size_t page)
{
	static const char *const outlets[] = { "bus", "hl7/pdms" };
	struct gw_salvage_options options = { .outlets = outlets, .outlet_count = 2 };
	static struct seen before, after;
	struct gw_salvaged salvaged;
	struct gw_journal *journal;
	struct gw_why why = { "" };
	enum gw_error opened;
	size_t beside = 0;
	int code = FINE;

	store_options.dir = dir;
	if ((opened = gw_journal_open(&store_options, &journal, &why)) == GW_OK) {
		see(journal, &before);
		gw_journal_close(journal);
		if (before.wrong) {
			fprintf(stderr, "served: %s\n", before.words);
			return 20;
		}
	} else if (opened != GW_E_CORRUPT || why.text[0] == '\0') {
		fprintf(stderr, "open: %d %s\n", opened, why.text);
		return 21;
	}
	if (gw_salvage(dir, "test", &options, &salvaged, &why) != GW_OK || gw_journal_open(&store_options, &journal, &why) != GW_OK) {
		fprintf(stderr, "salvage: %s\n", why.text);
		return 22;
	}
	see(journal, &after);
	for (size_t i = 0; i < RECORDS; i++)
		if (after.at[i] == 0 && !lies_on(i, page) && (!is_leaf(page) || ++beside > BLOCK_MAX || salvaged.missing + salvaged.tail_lost == 0)) {
			fprintf(stderr, "record %zu is gone; the one before it at %llu, after it at %llu\n", i, i > 0 ? (unsigned long long)after.at[i - 1] : 0,
			    i + 1 < RECORDS ? (unsigned long long)after.at[i + 1] : 0);
			return 23;
		} else if (after.at[i] == 0)
			code = LOST_RECORDS;
		else if (after.at[i] != i + 1 && after.at[i] <= RECORDS) {
			fprintf(stderr, "record %zu is at %llu\n", i, (unsigned long long)after.at[i]);
			return 24;
		}
	if (after.wrong || after.cursors < 2 || (opened == GW_OK && after.rows < before.rows)) {
		fprintf(stderr, "after: %s, %llu cursors, %u rows (before: %u)\n", after.words, (unsigned long long)after.cursors, after.rows, before.rows);
		return 25;
	}
	if (code == LOST_RECORDS && salvaged.incarnation == salvaged.before)  {
		for (size_t i = 0; i < RECORDS; i++)
			if (after.at[i] == 0)
				fprintf(stderr, "lost without a word: record %zu (%llu missing)\n", i, (unsigned long long)salvaged.missing);
		return 26;
	}
	if (after.rows < ROWS && !salvaged.rows_lost && salvaged.rows_damaged == 0)
		return 27;
	gw_journal_close(journal);
	return code == FINE && opened != GW_OK ? REFUSED : code;
}

static void
write_file(const char *path, const uint8_t *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

static void
spoil(uint8_t *spoilt, size_t page)
{
	uint8_t *at = spoilt + page * PAGE;

	memcpy(spoilt, whole, whole_len);
	switch (draw(4)) {
	case 0:
		memset(at, 0, PAGE);
		break;
	case 1:
		memcpy(at, whole + draw(whole_len / PAGE) * PAGE, PAGE);
		break;
	case 2:
		at[draw(64)] ^= (uint8_t)(1u << draw(8));
		break;
	default:
		at[draw(PAGE)] ^= (uint8_t)(1u << draw(8));
	}
}

static void
try(uint8_t *spoilt, size_t page, size_t counts[8])
{
	uint64_t before = seed;
	char dir[600], path[700];
	pid_t child;
	int status;

	snprintf(dir, sizeof(dir), "%s/copy", store_dir);
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(mkdir(dir, 0700), 0);
	spoil(spoilt, page);
	write_file(path, spoilt, whole_len);
	if ((child = fork()) == 0)
		_exit(look_and_salvage(dir, page));
	assert_true(child > 0 && waitpid(child, &status, 0) == child);
	if (getenv("PAGE") != NULL || !WIFEXITED(status) || WEXITSTATUS(status) < FINE || WEXITSTATUS(status) > LOST_RECORDS)
		for (size_t i = 0; i < PAGE; i++)
			if (spoilt[page * PAGE + i] != whole[page * PAGE + i]) {
				fprintf(stderr, "byte %zu of page %zu and maybe others: %02x instead of %02x\n", i, page, spoilt[page * PAGE + i], whole[page * PAGE + i]);
				break;
			}
	if (!WIFEXITED(status) || WEXITSTATUS(status) < FINE || WEXITSTATUS(status) > LOST_RECORDS)
		fail_msg("SEED=%llu page %zu: status 0x%x", (unsigned long long)before, page, (unsigned)status);
	counts[WEXITSTATUS(status)]++;
}

static void
read_whole(void)
{
	char path[600];
	struct stat at;
	int fd;

	snprintf(path, sizeof(path), "%s/data.mdb", store_dir);
	assert_true((fd = open(path, O_RDONLY)) >= 0 && fstat(fd, &at) == 0);
	assert_non_null(whole = malloc((size_t)at.st_size));
	assert_int_equal(read(fd, whole, (size_t)at.st_size), at.st_size);
	close(fd);
	// Up to the last page in use: blocks that were allocated ahead are nothing's.
	whole_len = (size_t)((gw_get64(whole + 136) > gw_get64(whole + PAGE + 136) ? gw_get64(whole + 136) : gw_get64(whole + PAGE + 136)) + 1) * PAGE;
}

static void
any_damage_is_survived_and_salvaged(void **state)
{
	size_t count = getenv("DAMAGES") != NULL ? strtoul(getenv("DAMAGES"), NULL, 10) : 60, counts[8] = { 0 };
	uint8_t *spoilt;

	(void)state;
	seed = getenv("SEED") != NULL ? strtoull(getenv("SEED"), NULL, 10) : 1;
	print_message("  SEED=%llu\n", (unsigned long long)seed);
	fill();
	gw_journal_close(store_open()); // what an opening writes
	read_whole();
	find_records();
	assert_non_null(spoilt = malloc(whole_len));
	if (getenv("PAGE") != NULL) {
		try(spoilt, strtoul(getenv("PAGE"), NULL, 10), counts);
		return;
	}
	for (size_t page = 0; page < whole_len / PAGE; page++) // all branches and heads, which are few
		if (page < 2 || (gw_get64(whole + page * PAGE) == page && gw_get16(whole + page * PAGE + 10) == 1))
			for (int i = 0; i < 4; i++)
				try(spoilt, page, counts);
	for (size_t i = 0; i < count; i++)
		try(spoilt, draw(whole_len / PAGE), counts);
	print_message("  %zu pages; nothing lost: %zu, and refused before: %zu; with records lost: %zu\n", whole_len / PAGE, counts[FINE], counts[REFUSED],
	    counts[LOST_RECORDS]);
	assert_true(counts[REFUSED] > 0);
	free(spoilt), free(whole), free(lies);
}

// Of two heads the newer one leads nowhere: the other one does, to all but the last commit.
static void
a_head_that_leads_nowhere(void **state)
{
	static const size_t at[] = { 88 + 4, 88 + 40, 136 + 6, 0 }; // flags and root of the table of tables; the last page; a root that is another leaf
	static const char *const outlets[] = { "bus", "hl7/pdms" };
	struct gw_salvage_options options = { .outlets = outlets, .outlet_count = 2 };
	static struct seen after;

	(void)state;
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		struct gw_salvaged salvaged;
		struct gw_journal *journal;
		struct gw_why why;
		char path[600];
		uint8_t *head;

		store_remove(NULL);
		store_make(NULL);
		fill();
		read_whole();
		head = whole + (gw_get64(whole + 144) > gw_get64(whole + PAGE + 144) ? 0 : PAGE);
		head[at[i]] ^= at[i] > 0 ? 0x10 : 0;
		if (at[i] == 0)
			memcpy(head + 88 + 40, head + 40 + 40, 8); // that of free pages
		snprintf(path, sizeof(path), "%s/data.mdb", store_dir);
		write_file(path, whole, whole_len);
		free(whole);
		assert_int_equal(gw_journal_open(&store_options, &journal, &why), GW_E_CORRUPT);
		assert_int_equal(gw_salvage(store_dir, "test", &options, &salvaged, &why), GW_OK);
		assert_true(salvaged.tail_lost);
		journal = store_open();
		see(journal, &after);
		gw_journal_close(journal);
		assert_false(after.wrong);
		assert_in_range(after.rows, ROWS - 5, ROWS);
		assert_int_equal(after.cursors, 2);
		assert_true(after.at[RECORDS / 2] == RECORDS / 2 + 1);
	}
}

// ---- Erased readings ----

#define FEW 600
#define ERASED_FIRST 200
#define ERASED 300

// Each commit is a block with pages of its own.
static void
fill_few(struct gw_journal *journal)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	struct gw_reading readings[4];

	assert_int_equal(gw_source_init(&source, NULL, 1), GW_OK);
	for (int64_t i = 0; i < FEW; i++) {
		if (i % 15 == 0)
			assert_int_equal(gw_journal_begin(journal), GW_OK);
		assert_non_null(ticket = gw_ticket_get(&source));
		for (uint32_t k = 0; k < 4; k++)
			readings[k] = reading_of(100 + k, T0 + i * 1000000, value_of(i, k));
		add_readings(ticket, "a", T0 + i * 1000000, readings, 4);
		commit(journal, ticket);
		if (i % 15 == 14)
			assert_int_equal(gw_journal_commit(journal), GW_OK);
	}
	gw_source_fini(&source);
}

static void
erase_some(struct gw_journal *journal)
{
	static const uint16_t places[] = { 0, 1, 2, 3 };
	struct gw_source source;
	struct gw_ticket *ticket;

	assert_int_equal(gw_source_init(&source, NULL, 1), GW_OK);
	assert_int_equal(gw_journal_begin(journal), GW_OK);
	for (uint64_t position = ERASED_FIRST; position < ERASED_FIRST + ERASED; position++) {
		assert_non_null(ticket = gw_ticket_get(&source));
		assert_int_equal(gw_ticket_erase(ticket, position, places, 4), GW_OK);
		commit(journal, ticket);
	}
	assert_int_equal(gw_journal_commit(journal), GW_OK);
	gw_source_fini(&source);
}

// Readings that say their value: of those that were erased, of the others.
static void
count_values(struct gw_journal *journal, size_t counts[2])
{
	static uint8_t buf[GW_RECORD_MAX + 16];
	uint64_t from = gw_journal_first(journal);
	size_t used = 1;

	counts[0] = counts[1] = 0;
	while (used > 0 && gw_journal_read(journal, from, buf, sizeof(buf), &used, &from) == GW_OK) {
		struct gw_span rest = gw_span(buf, used);
		struct gw_record record;
		struct gw_batch batch;
		struct gw_reading reading;

		while (gw_journal_step(&rest, &record)) {
			int64_t at = (record.received_us - T0) / 1000000 + 1;

			if (record.type == GW_RECORD_READINGS && gw_batch_open(&record, &batch, NULL) == GW_OK)
				while (gw_batch_next(&batch, &reading))
					counts[at >= ERASED_FIRST && at < ERASED_FIRST + ERASED] += !gw_reading_is_erased(&reading);
		}
	}
}

static void
spoil_head(unsigned number)
{
	static const uint8_t nothing[4];
	char path[600];
	int fd;

	snprintf(path, sizeof(path), "%s/data.mdb", store_dir);
	assert_true((fd = open(path, O_WRONLY)) >= 0);
	assert_int_equal(pwrite(fd, nothing, sizeof(nothing), (off_t)number * PAGE + 16), 4);
	close(fd);
}

// As where the index is not told of the newest records yet.
static void
forget_index(void)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi index;

	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
	assert_int_equal(mdb_env_open(env, store_dir, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "index", 0, &index), 0);
	assert_int_equal(mdb_drop(txn, index, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

// What is free is not known without the newer head: bytes of readings that were erased lie in pages that may be in use.
static void
what_was_erased_stays_erased(void **state)
{
	struct gw_salvage_options options = { .outlet_count = 0 };

	(void)state;
	for (unsigned number = 0; number < 2; number++) {
		struct gw_journal *journal;
		struct gw_salvaged salvaged;
		struct gw_why why;
		size_t counts[2];

		store_remove(NULL);
		store_make(NULL);
		journal = store_open();
		fill_few(journal);
		erase_some(journal);
		gw_journal_close(journal);
		forget_index();
		spoil_head(number);
		assert_int_equal(gw_salvage(store_dir, "test", &options, &salvaged, &why), GW_OK);
		journal = store_open();
		count_values(journal, counts);
		assert_in_range(counts[0], (FEW - ERASED) * 4 - 60, (FEW - ERASED) * 4);
		assert_int_equal(counts[1], 0);
		gw_journal_close(journal);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(any_damage_is_survived_and_salvaged, store_make, store_remove),
		cmocka_unit_test_setup_teardown(a_head_that_leads_nowhere, store_make, store_remove),
		cmocka_unit_test_setup_teardown(what_was_erased_stays_erased, store_make, store_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
