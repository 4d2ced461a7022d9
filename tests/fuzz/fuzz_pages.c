// SPDX-License-Identifier: Apache-2.0
// LMDB's pages, damaged: the input is a list of edits of a small file that LMDB wrote (u16 page, u16 offset, u8 length, bytes; page 0xFFFF: a page's copy over
// another, u16 each). No walk reads or writes where it must not, whatever the pages say; and what a walk finds sound LMDB can read whole.
#include "gateway/bytes.h"
#include "gateway/pages.h"

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#undef NDEBUG // the assertions are the test
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAGE 4096

static uint8_t *template, *spoilt;
static size_t pages;
static int file = -1;
static char path[40];

static void
put(MDB_txn *txn, MDB_dbi table, uint64_t key, size_t key_len, size_t len)
{
	static uint8_t value[40000];
	MDB_val k = { key_len, &key }, v = { len, value };

	memset(value, (int)(key & 0xFF), len);
	assert(mdb_put(txn, table, &k, &v, 0) == 0);
}

// Two tables of which each has branches, long values, and pages that came free.
static void
write_file(MDB_env *env)
{
	MDB_dbi rows, numbers;
	MDB_txn *txn;

	for (uint64_t round = 0; round < 4; round++) {
		assert(mdb_txn_begin(env, NULL, 0, &txn) == 0);
		assert(mdb_dbi_open(txn, "rows", MDB_CREATE, &rows) == 0 && mdb_dbi_open(txn, "journal", MDB_CREATE | MDB_INTEGERKEY, &numbers) == 0);
		for (uint64_t i = 0; i < 12; i++) {
			put(txn, rows, htobe64(i * 5 + round), 8, i % 5 == 0 ? 9000 : 300 + i);
			put(txn, numbers, 1 + i + round * 12, 8, i % 4 == 0 ? 5000 : 700);
		}
		assert(mdb_txn_commit(txn) == 0);
	}
}

static void
make_template(void)
{
	char dir[] = "/tmp/vitalgate-fuzz-XXXXXX", name[80];
	MDB_envinfo info;
	MDB_env *env;
	FILE *in;

	assert(mkdtemp(dir) != NULL && mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, 2) == 0 && mdb_env_set_mapsize(env, 4 << 20) == 0);
	assert(mdb_env_open(env, dir, MDB_NOSYNC, 0600) == 0);
	write_file(env);
	assert(mdb_env_info(env, &info) == 0);
	mdb_env_close(env);
	pages = info.me_last_pgno + 1;
	assert((template = malloc(pages * PAGE)) != NULL && (spoilt = malloc(pages * PAGE)) != NULL);
	snprintf(name, sizeof(name), "%s/data.mdb", dir);
	assert((in = fopen(name, "rb")) != NULL && fread(template, PAGE, pages, in) == pages);
	fclose(in);
	unlink(name);
	snprintf(name, sizeof(name), "%s/lock.mdb", dir);
	unlink(name);
	rmdir(dir);
	assert((file = memfd_create("pages", MFD_CLOEXEC)) >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
}

static void
edit(const uint8_t *data, size_t size)
{
	memcpy(spoilt, template, pages * PAGE);
	while (size >= 5) {
		size_t page = gw_get16(data) % pages, at = gw_get16(data + 2) % PAGE, len = data[4];

		if (gw_get16(data) == 0xFFFF && size >= 6) {
			memmove(spoilt + gw_get16(data + 2) % pages * PAGE, spoilt + gw_get16(data + 4) % pages * PAGE, PAGE);
			data += 6, size -= 6;
			continue;
		}
		data += 5, size -= 5;
		len = len < size ? len : size;
		len = len < PAGE - at ? len : PAGE - at;
		memcpy(spoilt + page * PAGE + at, data, len);
		data += len, size -= len;
	}
}

static uint64_t read_bytes; // what is given lies where it may be read

static bool
entry(void *arg, const char *table, struct gw_span key, struct gw_span value)
{
	(void)arg, (void)table;
	for (size_t i = 0; i < key.len; i++)
		read_bytes += key.at[i];
	for (size_t i = 0; value.at != NULL && i < value.len; i++)
		read_bytes += value.at[i];
	return true;
}

static bool
stray(void *arg, struct gw_span key, struct gw_span value, uint64_t offset)
{
	assert(offset + value.len <= pages * PAGE);
	return entry(arg, "", key, value);
}

static void
lost(void *arg, const char *table, struct gw_span low, struct gw_span high)
{
	(void)entry(arg, table, low, high);
}

// LMDB itself ends the process by whatever it does not like.
static void
read_all(void)
{
	MDB_env *env;
	MDB_txn *txn;

	assert(mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, 2) == 0);
	if (mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0600) != 0 || mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0) {
		mdb_env_close(env);
		return;
	}
	for (int i = 0; i < 2; i++) {
		MDB_cursor *cursor;
		MDB_val key, value;
		MDB_dbi table;
		int rc;

		if (mdb_dbi_open(txn, i == 0 ? "rows" : "journal", i == 0 ? 0 : MDB_INTEGERKEY, &table) != 0)
			continue;
		assert(mdb_cursor_open(txn, table, &cursor) == 0);
		while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
			(void)entry(NULL, "", gw_span(key.mv_data, key.mv_size), gw_span(value.mv_data, value.mv_size));
		assert(rc == MDB_NOTFOUND);
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	mdb_env_close(env);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct gw_pages_walk quick = { .deep = size % 2 == 0 };
	struct gw_pages_walk all = { .each = entry, .lost = lost, .stray = stray, .deep = true };
	struct gw_pages_seen seen, again;

	if (file < 0)
		make_template();
	edit(data, size);
	assert(pwrite(file, spoilt, pages * PAGE, 0) == (ssize_t)(pages * PAGE));
	if (gw_pages_walk(file, &quick, &seen, NULL) == GW_OK && seen.damaged == 0)
		read_all();
	(void)!gw_pages_walk(file, &all, &again, NULL);
	all.shunned = again.twice;
	all.shunned_count = again.twice_count;
	(void)!gw_pages_walk(file, &all, &seen, NULL);
	return 0;
}
