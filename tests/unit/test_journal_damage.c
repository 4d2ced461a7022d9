// SPDX-License-Identifier: Apache-2.0
// Damage anywhere in the journal's file: pages that LMDB would follow are found before it does, the rest is found by checksums, and looking ends no process.
// DAMAGES=n makes it longer, SEED=n repeats a run.
#include "store_help.h"

#include "gateway/bytes.h"
#include "gateway/hash.h"
#include "gateway/journal_copy.h"
#include "gateway/pages.h"
#include "gateway/ticket.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FOUND 3
#define NAMED 4
#define WHOLE 5
#define RECORDS 3000

static uint64_t seed;

static uint64_t
draw(uint64_t below)
{
	return gw_hash_mix(seed++) % below;
}

static void
fill(void)
{
	struct gw_journal *journal = store_open();
	struct gw_source source;
	struct gw_ticket *ticket;
	struct gw_reading readings[4];
	char key[40];

	assert_int_equal(gw_source_init(&source, NULL, 1), GW_OK);
	for (int64_t i = 0; i < RECORDS; i++) {
		assert_non_null(ticket = gw_ticket_get(&source));
		for (uint32_t k = 0; k < 4; k++)
			readings[k] = reading_of(100 + k, T0 + i * 1000000, (int64_t)(gw_hash_mix((uint64_t)i * 4 + k) % 500));
		add_readings(ticket, i % 2 == 0 ? "a" : "b", T0 + i * 1000000, readings, 4);
		snprintf(key, sizeof(key), "outlet/x/left/%016llx", (unsigned long long)i);
		assert_int_equal(gw_ticket_put(ticket, gw_span_text(key), gw_span(&i, sizeof(i))), GW_OK);
		assert_int_equal(gw_journal_begin(journal), GW_OK);
		assert_int_equal(gw_journal_apply(journal, ticket), GW_OK);
		assert_int_equal(gw_journal_commit(journal), GW_OK);
		gw_ticket_release(ticket);
	}
	gw_source_fini(&source);
	gw_journal_close(journal);
}

static void
count_damage(void *arg, const char *what)
{
	(void)what;
	++*(size_t *)arg;
}

// As `verify DIR` does with a backup.
static int
look(const char *path)
{
	size_t named = 0;
	struct gw_verify verify = { .damage = count_damage, .pages = true, .arg = &named };
	struct gw_journal *journal;
	struct gw_verified seen;
	uint8_t *buf = malloc(GW_RECORD_MAX + 16);
	uint64_t at = 1;
	size_t used = 1;

	if (gw_pages_check(path, NULL) != GW_OK || gw_journal_open_copy(path, &journal, NULL) != GW_OK)
		return FOUND;
	if (gw_journal_verify(journal, &verify, &seen) != GW_OK && named == 0)
		return 20;
	while (used > 0 && gw_journal_read(journal, at, buf, GW_RECORD_MAX + 16, &used, &at) == GW_OK) {}
	if (seen.readings != RECORDS * 4 && named == 0)
		return 21;
	gw_journal_close(journal);
	free(buf);
	return named > 0 ? NAMED : WHOLE;
}

static void
any_damage_is_found_and_survived(void **state)
{
	size_t count = getenv("DAMAGES") != NULL ? strtoul(getenv("DAMAGES"), NULL, 10) : 120, found = 0, named = 0, len;
	char path[600], copy[600];
	uint8_t *bytes, *spoilt;
	struct stat at;
	int fd, status;

	(void)state;
	seed = getenv("SEED") != NULL ? strtoull(getenv("SEED"), NULL, 10) : (uint64_t)getpid() << 20;
	print_message("  %zu damages, SEED=%llu\n", count, (unsigned long long)seed);
	fill();
	snprintf(path, sizeof(path), "%s/data.mdb", store_dir);
	snprintf(copy, sizeof(copy), "%s/copy.mdb", store_dir);
	assert_true((fd = open(path, O_RDONLY)) >= 0 && fstat(fd, &at) == 0);
	len = (size_t)at.st_size;
	assert_non_null(bytes = malloc(len));
	assert_non_null(spoilt = malloc(len));
	assert_int_equal(read(fd, bytes, len), (ssize_t)len);
	close(fd);
	// Up to the last page in use: blocks that were allocated ahead are nothing's.
	len = (size_t)((gw_get64(bytes + 136) > gw_get64(bytes + 4096 + 136) ? gw_get64(bytes + 136) : gw_get64(bytes + 4096 + 136)) + 1) * 4096;
	for (size_t i = 0; i < count; i++) {
		size_t page = draw(len / 4096);
		uint64_t before = seed;
		pid_t child;

		memcpy(spoilt, bytes, len);
		if (draw(4) == 0)
			memcpy(spoilt + page * 4096, bytes + draw(len / 4096) * 4096, 4096);
		else
			spoilt[page * 4096 + draw(draw(2) == 0 ? 64 : 4096)] ^= (uint8_t)(1u << draw(8));
		assert_true((fd = open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0600)) >= 0);
		assert_int_equal(write(fd, spoilt, len), (ssize_t)len);
		close(fd);
		if ((child = fork()) == 0)
			_exit(look(copy));
		assert_true(child > 0 && waitpid(child, &status, 0) == child);
		if (!WIFEXITED(status) || WEXITSTATUS(status) < FOUND || WEXITSTATUS(status) > WHOLE)
			fail_msg("SEED=%llu: status 0x%x", (unsigned long long)before, (unsigned)status);
		found += WEXITSTATUS(status) == FOUND;
		named += WEXITSTATUS(status) == NAMED;
	}
	print_message("  %zu in pages that LMDB follows, %zu named by record, row or entry\n", found, named);
	assert_true(found > 0 && named > 0);
	free(bytes), free(spoilt);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(any_damage_is_found_and_survived, store_make, store_remove) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
