// SPDX-License-Identifier: Apache-2.0
// Writes every key and value that a store's transactions can still see, of all tables, one after the other: what a search for erased data has to look at. Pages that
// are free are left out; they hold old bytes until they are used again.
//   live_bytes FOLDER    (of data.mdb)
#include <lmdb.h>
#include <stdio.h>
#include <string.h>

static int
dump(MDB_txn *txn, MDB_val name)
{
	char text[512];
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_dbi table;
	int rc;

	if (name.mv_size >= sizeof(text))
		return MDB_BAD_VALSIZE;
	memcpy(text, name.mv_data, name.mv_size);
	text[name.mv_size] = '\0';
	if ((rc = mdb_dbi_open(txn, text, 0, &table)) != 0 || (rc = mdb_cursor_open(txn, table, &cursor)) != 0)
		return rc;
	while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
		fwrite(key.mv_data, 1, key.mv_size, stdout);
		fputc('\n', stdout);
		fwrite(value.mv_data, 1, value.mv_size, stdout);
		fputc('\n', stdout);
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
main(int argc, char **argv)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi names;
	int rc;

	if (argc != 2 || mdb_env_create(&env) != 0)
		return 2;
	mdb_env_set_maxdbs(env, 64);
	if ((rc = mdb_env_open(env, argv[1], MDB_RDONLY | MDB_NOLOCK, 0600)) != 0 || (rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn)) != 0 ||
	    (rc = mdb_dbi_open(txn, NULL, 0, &names)) != 0 || (rc = mdb_cursor_open(txn, names, &cursor)) != 0) {
		fprintf(stderr, "%s: %s\n", argv[1], mdb_strerror(rc));
		return 1;
	}
	while (rc == 0 && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
		rc = dump(txn, key);
	if (rc != 0)
		fprintf(stderr, "%s: %s\n", argv[1], mdb_strerror(rc));
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	mdb_env_close(env);
	return rc == 0 ? 0 : 1;
}
