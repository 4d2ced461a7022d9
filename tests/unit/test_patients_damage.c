// SPDX-License-Identifier: Apache-2.0
// Rows of patients and associations whose bytes turned on the disk: nobody is given readings that may be another's, and nothing else is held.
#include "tests/unit/patients_help.h"

#include <lmdb.h>

// A bit in the middle of the value of the first row that begins so.
static void
turn_a_bit(const char *prefix)
{
	static uint8_t copy[65536];
	MDB_val key = { strlen(prefix), (void *)(uintptr_t)prefix }, data;
	MDB_cursor *cursor;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi rows;

	hub_stop();
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
	assert_int_equal(mdb_env_set_mapsize(env, store_options.budget_bytes), 0);
	assert_int_equal(mdb_env_open(env, store_dir, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "rows", 0, &rows), 0);
	assert_int_equal(mdb_cursor_open(txn, rows, &cursor), 0);
	assert_int_equal(mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE), 0);
	assert_true(key.mv_size >= strlen(prefix) && memcmp(key.mv_data, prefix, strlen(prefix)) == 0 && data.mv_size < sizeof(copy));
	memcpy(copy, data.mv_data, data.mv_size);
	copy[data.mv_size / 2] ^= 4;
	data.mv_data = copy;
	assert_int_equal(mdb_cursor_put(cursor, &key, &data, MDB_CURRENT), 0);
	mdb_cursor_close(cursor);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	hub_start();
}

// 1 in ICU^^3, 2 in B2, where m1 stands; m2 is 2's directly.
static void
tell_all(void)
{
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B2")));
	told(EVENT(ADMIT, 0, WHO("1^^^K"), BED("ICU^^3")));
	told(EVENT(ADMIT, 1, WHO("2^^^K"), BED("B2")));
	told(EVENT(ASSOCIATE, 5, WHO("2^^^K"), DEVICE("m2")));
	assert_whose("wall3", 20, "1");
	assert_whose("m1", 20, "2");
	assert_whose("m2", 20, "2");
}

// He may have lain in any bed: none is anybody's. What is a device's own is known.
static void
a_patient_who_cannot_be_read_may_be_anywhere(void **state)
{
	(void)state;
	tell_all();
	turn_a_bit("patient/0000000000000001");
	assert_whose("m1", 20, "!");
	assert_whose("m2", 20, "2");
	assert_int_not_equal(owner_of("wall3", at(20), 0).whose, GW_WHOSE_PATIENT);
	told(EVENT(ADMIT, 30, WHO("3^^^K"), BED("B7"))); // it goes on
	hub_restart();
	assert_whose("m1", 20, "!");
}

static void
an_association_that_cannot_be_read_holds_its_device(void **state)
{
	(void)state;
	tell_all();
	turn_a_bit("patient-device/m2/");
	assert_whose("m2", 20, "!");
	assert_whose("m1", 20, "2");
	assert_whose("wall3", 20, "1");
}

static void
a_device_of_a_patient_who_cannot_be_read_is_not_its_beds(void **state)
{
	(void)state;
	tell_all();
	turn_a_bit("patient/0000000000000002");
	assert_whose("m2", 20, "!");
	assert_whose("wall3", 20, "!");
	assert_int_not_equal(owner_of("m1", at(20), 0).whose, GW_WHOSE_PATIENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_open, hub_close)

int
main(void)
{
	const struct CMUnitTest tests[] = { TEST(a_patient_who_cannot_be_read_may_be_anywhere), TEST(an_association_that_cannot_be_read_holds_its_device),
		TEST(a_device_of_a_patient_who_cannot_be_read_is_not_its_beds) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
