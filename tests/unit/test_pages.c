// SPDX-License-Identifier: Apache-2.0
// LMDB's pages as LMDB writes them are never damage, wherever its long values lie: after each of many commits of rows that come, grow, shrink and go.
#include "gateway/pages.h"

#include <fcntl.h>
#include <lmdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define ROWS 12
#define VALUE_MAX 30000

static uint64_t seed = 1;

static size_t
draw(size_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (size_t)(seed >> 33) % below;
}

static void
change(MDB_env *env, MDB_dbi table)
{
	static uint8_t text[VALUE_MAX];
	MDB_txn *txn;

	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	for (size_t i = draw(6) + 1; i > 0; i--) {
		uint8_t row = (uint8_t)draw(ROWS);
		MDB_val key = { sizeof(row), &row }, value = { draw(VALUE_MAX), text };
		int rc = draw(5) == 0 ? mdb_del(txn, table, &key, NULL) : mdb_put(txn, table, &key, &value, 0);

		assert_true(rc == 0 || rc == MDB_NOTFOUND);
	}
	assert_int_equal(mdb_txn_commit(txn), 0);
}

static void
damage(void *arg, uint64_t page, const char *table, const char *words)
{
	fail_msg("seed %llu, after %d: page %llu of %s: %s", (unsigned long long)seed, *(int *)arg, (unsigned long long)page, table, words);
}

static void
check(const char *path, int i)
{
	struct gw_pages_walk walk = { .damage = damage, .arg = &i, .deep = true };
	struct gw_pages_seen seen;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(gw_pages_walk(fd, &walk, &seen, NULL), GW_OK);
	assert_int_equal(seen.damaged, 0);
	assert_int_equal(gw_pages_check(path, NULL), GW_OK);
	close(fd);
}

static void
lives(const char *dir)
{
	char path[300];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi table;

	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 1), 0);
	assert_int_equal(mdb_env_set_mapsize(env, 64 << 20), 0);
	assert_int_equal(mdb_env_open(env, dir, MDB_NOSYNC, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "rows", MDB_CREATE, &table), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	assert_int_equal(truncate(path, 64 << 20), 0); // the stores' files are allocated ahead, too: LMDB does not write a last page that it frees again
	for (int i = 0; i < 100; i++) {
		change(env, table);
		check(path, i);
	}
	mdb_env_close(env);
	unlink(path);
	snprintf(path, sizeof(path), "%s/lock.mdb", dir);
	unlink(path);
}

static void
test_what_lmdb_writes(void **state)
{
	char dir[] = "/tmp/vitalgate-pages-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(dir));
	for (int i = 0; i < 10; i++)
		lives(dir);
	assert_int_equal(rmdir(dir), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_what_lmdb_writes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
