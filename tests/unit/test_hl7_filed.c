// SPDX-License-Identifier: Apache-2.0
// Rows of a destination's ledger: what is put comes back, by device and time; settling, damage, sizes, and the sweep of old ones.
#include "adapters/hl7/filed.h"
#include "intake_help.h"

#define PREFIX "outlet/hl7/pdms/"
#define SECOND INT64_C(1000000)

static struct gw_hl7_filed_item items[GW_HL7_FILED_ITEMS_MAX];

// A message of `count` readings, a second apart from `least_us` on.
static struct gw_hl7_filed
message(const char *device, int64_t least_us, const char *control_id, size_t count)
{
	struct gw_hl7_filed filed = { .least_us = least_us, .state = GW_HL7_FILED_MADE, .made_us = least_us + 60 * SECOND, .items = items, .count = count };

	strcpy(filed.device, device);
	strcpy(filed.control_id, control_id);
	for (size_t i = 0; i < count; i++)
		items[i] = (struct gw_hl7_filed_item){ .position = 100 + i, .place = (uint16_t)(i % 7), .gone = i % 3 == 1,
			.effective_us = least_us + (int64_t)i * SECOND, .uncertainty_ms = (uint32_t)i };
	return filed;
}

static void
put(const struct gw_hl7_filed *filed)
{
	struct gw_ticket *ticket = ticket_get();

	assert_int_equal(gw_hl7_filed_put(PREFIX, ticket, filed), GW_OK);
	ticket_commit(ticket);
}

static void
put_state(const char *device, int64_t least_us, const char *control_id, enum gw_hl7_filed_state state)
{
	struct gw_hl7_filed filed = message(device, least_us, control_id, 3);

	filed.state = (uint8_t)state;
	put(&filed);
}

// ---- What comes back ----

struct seen {
	char text[2048]; // "id id id"
	size_t count, stop_at;
	struct gw_hl7_filed last;
	struct gw_hl7_filed_item items[GW_HL7_FILED_ITEMS_MAX];
};

static bool
see(void *arg, const struct gw_hl7_filed *filed)
{
	struct seen *seen = arg;
	size_t len = strlen(seen->text);

	snprintf(seen->text + len, sizeof(seen->text) - len, "%s%s", len > 0 ? " " : "", filed->control_id);
	seen->last = *filed;
	memcpy(seen->items, filed->items, filed->count * sizeof(*filed->items));
	return ++seen->count != seen->stop_at;
}

static const struct seen *
look(const char *device, int64_t from_us, int64_t to_us)
{
	static struct seen seen;

	memset(&seen, 0, sizeof(seen));
	assert_int_equal(gw_hl7_filed_each(journal, PREFIX, gw_span_text(device), from_us, to_us, see, &seen), GW_OK);
	return &seen;
}

static struct gw_hl7_filed
full_row(void)
{
	struct gw_hl7_filed filed = message("monitor-1", T0, "0123456789ABCDEFGHJK", 4);

	filed.state = GW_HL7_FILED_SENT;
	filed.status = 2;
	filed.hub_time = filed.sure = true;
	filed.owner = (struct gw_owner){ .whose = GW_WHOSE_PATIENT, .patient = UINT64_C(0xFFFFFFFF12345678) };
	strcpy(filed.profile, "bedside-json");
	memset(filed.owner.bed, 'b', GW_BED_MAX);
	memset(filed.owner.visit, 'v', 64);
	strcpy(filed.owner.patient_class, "I");
	strcpy(filed.owner.order, "ORD-1");
	strcpy(filed.owner.order_authority, "HIS");
	filed.answered_us = T0 + 61 * SECOND;
	strcpy(filed.answer, "AA");
	filed.from_us = T0 - SECOND;
	filed.to_us = T0 + 59 * SECOND;
	filed.opened_us = T0 + 2;
	filed.device_us = -5;
	filed.hub_us = 7;
	filed.epoch = 3;
	strcpy(filed.origin, "KJHGFEDCBA9876543210");
	filed.again = 7;
	return filed;
}

static void
test_what_is_put_comes_back(void **state)
{
	struct gw_hl7_filed put_in = full_row();
	const struct seen *seen;
	const struct gw_hl7_filed *got;

	(void)state;
	put(&put_in);
	seen = look("monitor-1", T0, T0 + 1);
	assert_int_equal(seen->count, 1);
	got = &seen->last;
	assert_string_equal(got->device, "monitor-1");
	assert_string_equal(got->profile, "bedside-json");
	assert_string_equal(got->control_id, "0123456789ABCDEFGHJK");
	assert_string_equal(got->origin, "KJHGFEDCBA9876543210");
	assert_string_equal(got->answer, "AA");
	assert_true(got->hub_time && got->sure && !got->has_clock);
	assert_int_equal(got->state, GW_HL7_FILED_SENT);
	assert_int_equal(got->status, 2);
	assert_int_equal(got->owner.whose, GW_WHOSE_PATIENT);
	assert_true(got->owner.patient == put_in.owner.patient);
	assert_string_equal(got->owner.bed, put_in.owner.bed);
	assert_string_equal(got->owner.visit, put_in.owner.visit);
	assert_string_equal(got->owner.patient_class, "I");
	assert_string_equal(got->owner.order, "ORD-1");
	assert_string_equal(got->owner.order_authority, "HIS");
	assert_true(got->least_us == T0 && got->made_us == put_in.made_us && got->answered_us == put_in.answered_us);
	assert_true(got->from_us == put_in.from_us && got->to_us == put_in.to_us && got->opened_us == put_in.opened_us);
	assert_true(got->device_us == -5 && got->hub_us == 7 && got->epoch == 3 && got->again == put_in.again);
	assert_int_equal(got->count, 4);
	for (size_t i = 0; i < 4; i++) {
		assert_true(seen->items[i].position == items[i].position && seen->items[i].place == items[i].place);
		assert_true(seen->items[i].effective_us == items[i].effective_us && seen->items[i].uncertainty_ms == items[i].uncertainty_ms);
	}
}

static void
test_rows_are_walked_by_device_and_time(void **state)
{
	(void)state;
	put_state("m", T0, "LATER", GW_HL7_FILED_MADE);
	put_state("m", -5 * SECOND, "BEFORE1970", GW_HL7_FILED_MADE); // and to 3 s before
	put_state("m", T0 - 3600 * SECOND, "EARLIER", GW_HL7_FILED_MADE);
	put_state("m", T0, "HELD", GW_HL7_FILED_HELD);
	put_state("m1", T0, "OTHER", GW_HL7_FILED_MADE); // a name that begins the same
	assert_string_equal(look("m", INT64_MIN, INT64_MAX)->text, "BEFORE1970 EARLIER HELD LATER");
	assert_string_equal(look("m1", INT64_MIN, INT64_MAX)->text, "OTHER");
	assert_string_equal(look("", INT64_MIN, INT64_MAX)->text, "BEFORE1970 EARLIER HELD LATER OTHER");
	assert_string_equal(look("", T0, INT64_MAX)->text, "HELD LATER OTHER");
	assert_string_equal(look("x", INT64_MIN, INT64_MAX)->text, "");
	// [from, to): a row counts by the least and the latest of its readings.
	assert_string_equal(look("m", T0 + 2 * SECOND, T0 + 3 * SECOND)->text, "HELD LATER");
	assert_string_equal(look("m", T0 + 2 * SECOND + 1, INT64_MAX)->text, "");
	assert_string_equal(look("m", T0 - 3600 * SECOND, T0)->text, "EARLIER");
	assert_string_equal(look("m", -4 * SECOND, -3 * SECOND)->text, "BEFORE1970");
}

static void
test_a_walk_ends_when_told(void **state)
{
	struct seen *seen = calloc(1, sizeof(*seen));

	(void)state;
	for (int i = 0; i < 5; i++)
		put_state("m", T0 + i * SECOND, (char[2]){ (char)('A' + i), 0 }, GW_HL7_FILED_MADE);
	seen->stop_at = 2;
	assert_int_equal(gw_hl7_filed_each(journal, PREFIX, gw_span_text("m"), INT64_MIN, INT64_MAX, see, seen), GW_OK);
	assert_string_equal(seen->text, "A B");
	free(seen);
}

static void
settle(int64_t least_us, const char *control_id, enum gw_hl7_filed_state to, const char *answer)
{
	struct gw_ticket *ticket = ticket_get();

	assert_int_equal(gw_hl7_filed_settle(journal, PREFIX, ticket, "m", least_us, control_id, to, answer, T0 + 99), GW_OK);
	ticket_commit(ticket);
}

static void
test_settling(void **state)
{
	const struct seen *seen;

	(void)state;
	put_state("m", T0, "A", GW_HL7_FILED_MADE);
	settle(T0, "A", GW_HL7_FILED_PARKED, "AR");
	seen = look("m", T0, T0 + 1);
	assert_int_equal(seen->last.state, GW_HL7_FILED_PARKED);
	assert_string_equal(seen->last.answer, "AR");
	assert_true(seen->last.answered_us == T0 + 99);
	assert_int_equal(seen->last.count, 3);
	settle(T0, "A", GW_HL7_FILED_SENT, "AA");
	assert_int_equal(look("m", T0, T0 + 1)->last.state, GW_HL7_FILED_SENT);
	// What was found to be wrong stays so, whatever the peer answers then.
	put_state("m", T0 + 5 * SECOND, "W", GW_HL7_FILED_WRONG);
	settle(T0 + 5 * SECOND, "W", GW_HL7_FILED_SENT, "CA");
	seen = look("m", T0 + 5 * SECOND, T0 + 6 * SECOND);
	assert_int_equal(seen->last.state, GW_HL7_FILED_WRONG);
	assert_string_equal(seen->last.answer, "CA");
	// One that is swept already is none, and none is made.
	settle(T0 + 77, "A", GW_HL7_FILED_SENT, "AA");
	assert_int_equal(row_count(PREFIX), 2);
}

static void
test_a_row_is_asked_for_its_state(void **state)
{
	enum gw_hl7_filed_state found = 0;

	(void)state;
	put_state("m", T0, "A", GW_HL7_FILED_PARKED);
	assert_int_equal(gw_hl7_filed_state(journal, PREFIX, "m", T0, "A", &found), GW_OK);
	assert_int_equal(found, GW_HL7_FILED_PARKED);
	assert_int_equal(gw_hl7_filed_state(journal, PREFIX, "m", T0, "B", &found), GW_E_NOT_FOUND);
}

// What is held has a table of its own, so that looking at it does not cost the messages of a week.
static void
test_what_is_held_stands_apart(void **state)
{
	char one[GW_HL7_ID_LEN + 1], two[GW_HL7_ID_LEN + 1];
	struct seen *seen = calloc(1, sizeof(*seen));
	struct gw_hl7_filed_at at = { 0 };
	struct gw_ticket *ticket;
	bool more;

	(void)state;
	gw_hl7_held_id(&(struct gw_hl7_filed_item){ .position = 5, .place = 1 }, one);
	gw_hl7_held_id(&(struct gw_hl7_filed_item){ .position = 5, .place = 2 }, two);
	assert_int_equal(strlen(one), GW_HL7_ID_LEN);
	assert_string_not_equal(one, two);
	put_state("m", T0, "MESSAGE", GW_HL7_FILED_SENT);
	put_state("m", T0 - SECOND, one, GW_HL7_FILED_HELD);
	put_state("m", T0 + SECOND, two, GW_HL7_FILED_HELD);
	assert_int_equal(look("m", INT64_MIN, INT64_MAX)->count, 3);
	assert_int_equal(gw_hl7_held_each(journal, PREFIX, gw_span_text("m"), T0, INT64_MAX, see, seen), GW_OK);
	assert_int_equal(seen->count, 2); // one of them by its latest reading
	assert_int_equal(seen->last.state, GW_HL7_FILED_HELD);
	free(seen);
	ticket = ticket_get(); // never swept
	assert_int_equal(gw_hl7_filed_sweep(journal, PREFIX, ticket, INT64_MAX, 100, &at, &more), GW_OK);
	assert_int_equal(gw_hl7_filed_del(PREFIX, ticket, "m", T0 + SECOND, two), GW_OK);
	ticket_commit(ticket);
	assert_string_equal(look("m", INT64_MIN, INT64_MAX)->text, one);
}

static void
test_deleting(void **state)
{
	struct gw_ticket *ticket;

	(void)state;
	put_state("m", T0, "A", GW_HL7_FILED_MADE);
	put_state("m", T0, "B", GW_HL7_FILED_MADE);
	ticket = ticket_get();
	assert_int_equal(gw_hl7_filed_del(PREFIX, ticket, "m", T0, "A"), GW_OK);
	ticket_commit(ticket);
	assert_string_equal(look("m", T0, T0 + 1)->text, "B");
}

static void
test_damaged_rows_are_skipped(void **state)
{
	struct gw_hl7_filed filed = message("m", T0, "A", 2);
	char key[128];
	uint8_t row[512], bad[512];
	size_t len;

	(void)state;
	put(&filed);
	snprintf(key, sizeof(key), PREFIX "filed/m/%016llx/A", (unsigned long long)T0 ^ (1ULL << 63));
	assert_int_equal(gw_journal_get(journal, gw_span_text(key), row, sizeof(row), &len), GW_OK);
	key[strlen(key) - 1] = 'B';
	for (size_t cut = 0; cut < len; cut++) { // of any length
		row_put(key, row, cut);
		assert_string_equal(look("m", INT64_MIN, INT64_MAX)->text, "A");
	}
	for (size_t at = 0; at < len; at++) { // and with any byte another
		memcpy(bad, row, len);
		bad[at] ^= 0xFF;
		row_put(key, bad, len);
		assert_in_range(look("m", INT64_MIN, INT64_MAX)->count, 0, 2);
	}
	row_put(key, row, len);
	for (const char *const *odd = (const char *const[]){ PREFIX "filed/", PREFIX "filed/m", PREFIX "filed/m/", PREFIX "filed/m/0123456789abcdef",
	         PREFIX "filed/m/0123456789abcdef/", PREFIX "filed//0123456789abcdef/A", PREFIX "filed/m/8/A", NULL }; *odd != NULL; odd++)
		row_put(*odd, row, len);
	assert_int_equal(look("m", T0, INT64_MAX)->count, 2);
}

static void
test_sizes(void **state)
{
	struct gw_hl7_filed filed = message("m", T0, "A", GW_HL7_FILED_ITEMS_MAX);
	struct gw_ticket *ticket;
	const struct seen *seen;

	(void)state;
	put(&filed);
	seen = look("m", T0, T0 + 1);
	assert_int_equal(seen->count, 1);
	assert_int_equal(seen->last.count, GW_HL7_FILED_ITEMS_MAX);
	assert_memory_equal(&seen->items[GW_HL7_FILED_ITEMS_MAX - 1].effective_us, &items[GW_HL7_FILED_ITEMS_MAX - 1].effective_us, 8);
	settle(T0, "A", GW_HL7_FILED_SENT, "AA"); // in whole
	assert_int_equal(look("m", T0, T0 + 1)->last.count, GW_HL7_FILED_ITEMS_MAX);
	filed.count++;
	ticket = ticket_get();
	assert_int_equal(gw_hl7_filed_put(PREFIX, ticket, &filed), GW_E_TOO_LARGE);
	assert_int_equal(ticket->ops_len, 0);
	gw_ticket_release(ticket);
	filed = message("m", T0 + SECOND, "EMPTY", 0);
	put(&filed);
	assert_string_equal(look("m", T0 - SECOND, INT64_MAX)->text, "A"); // no reading, no time
}

// ---- Sweeping ----

// One call; returns how many rows went.
static size_t
sweep(int64_t before_us, size_t limit, struct gw_hl7_filed_at *at, bool *more)
{
	size_t before = row_count(PREFIX);
	struct gw_ticket *ticket = ticket_get();

	assert_int_equal(gw_hl7_filed_sweep(journal, PREFIX, ticket, before_us, limit, at, more), GW_OK);
	ticket_commit(ticket);
	return before - row_count(PREFIX);
}

static void
test_old_rows_are_swept(void **state)
{
	struct gw_hl7_filed_at at = { 0 };
	struct gw_hl7_filed late = message("m1", T0, "BACKFILL", 1);
	bool more = true;

	(void)state;
	for (int i = 0; i < 4; i++) {
		put_state("m1", T0 + i * 60 * SECOND, (char[2]){ (char)('A' + i), 0 }, GW_HL7_FILED_SENT); // made a minute after
		put_state("m2", T0 + i * 60 * SECOND, (char[2]){ (char)('a' + i), 0 }, GW_HL7_FILED_PARKED);
	}
	put_state("m1", T0, "HELD", GW_HL7_FILED_HELD);
	put_state("m1", T0 + 1, "MADE", GW_HL7_FILED_MADE);
	late.state = GW_HL7_FILED_SENT;
	late.made_us = T0 + 3600 * SECOND; // of old readings, and young itself
	put(&late);
	row_put("outlet/hl7/pdms/gap/0000000000000001", "x", 1);
	assert_int_equal(sweep(T0, 100, &at, &more), 0);
	assert_false(more);
	assert_int_equal(sweep(T0 + 130 * SECOND, 100, &at, &more), 4); // A, B, a, b
	assert_false(more);
	assert_string_equal(look("m1", INT64_MIN, INT64_MAX)->text, "BACKFILL HELD MADE C D");
	assert_string_equal(look("m2", INT64_MIN, INT64_MAX)->text, "c d");
	assert_int_equal(sweep(INT64_MAX, 100, &at, &more), 5);
	assert_string_equal(look("", INT64_MIN, INT64_MAX)->text, "HELD MADE");
	assert_int_equal(row_count(PREFIX "gap/"), 1);
}

static void
test_a_sweep_goes_on_where_it_was(void **state)
{
	struct gw_hl7_filed_at at = { 0 };
	size_t gone = 0, calls = 0;
	char id[16];
	bool more = true;

	(void)state;
	for (int i = 0; i < 200; i++) { // long held ones stand before what is to go
		snprintf(id, sizeof(id), "%d", i);
		put_state(i % 2 ? "m1" : "m2", T0 + i * SECOND, id, i < 150 ? GW_HL7_FILED_HELD : GW_HL7_FILED_SENT);
	}
	for (; more; calls++) {
		size_t now = sweep(T0 + 3600 * SECOND, 3, &at, &more);

		assert_in_range(now, 0, 3);
		gone += now;
	}
	assert_int_equal(gone, 50);
	assert_in_range(calls, 17, 40);
	assert_int_equal(at.len, 0);
	assert_int_equal(sweep(T0 + 3600 * SECOND, 1000, &at, &more), 0);
}

static void
test_a_sweep_does_not_look_at_young_rows(void **state)
{
	struct gw_hl7_filed_at at = { 0 };
	char device[16], id[16];
	bool more = true;

	(void)state;
	for (int d = 0; d < 10; d++)
		for (int i = 0; i < 20; i++) {
			snprintf(device, sizeof(device), "m%d", d);
			snprintf(id, sizeof(id), "%d", i);
			put_state(device, T0 + i * 60 * SECOND, id, GW_HL7_FILED_SENT);
		}
	// 176 looks in one call: one deleted and one kept for each of ten devices, of 200 rows.
	assert_int_equal(sweep(T0 + 61 * SECOND, 11, &at, &more), 10);
	assert_false(more);
}

static void
test_a_sweep_over_rows_that_cannot_be_read(void **state)
{
	static const uint8_t newer[200] = { 9 };
	struct gw_hl7_filed_at at = { 0 };
	bool more = true;

	(void)state;
	row_put(PREFIX "filed/m/80000000000000ff/SHORT", "x", 1);
	row_put(PREFIX "filed/m/80000000000000ff/NEWER", newer, sizeof(newer));
	row_put(PREFIX "filed/m/80/ODD", newer, sizeof(newer));
	put_state("m", T0, "A", GW_HL7_FILED_SENT);
	assert_int_equal(sweep(INT64_MAX, 100, &at, &more), 2);
	assert_false(more);
	assert_int_equal(row_count(PREFIX "filed/m/80000000000000ff/NEWER"), 1);
	assert_int_equal(row_count(PREFIX "filed/m/80/"), 1);
}

static void
test_states_have_names(void **state)
{
	(void)state;
	assert_string_equal(gw_hl7_filed_state_name(GW_HL7_FILED_HELD), "held");
	assert_string_equal(gw_hl7_filed_state_name(0), "unknown");
	assert_string_equal(gw_hl7_filed_state_name(200), "unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_put_comes_back, intake_begin, intake_finish),
		cmocka_unit_test_setup_teardown(test_rows_are_walked_by_device_and_time, intake_begin, intake_finish),
		cmocka_unit_test_setup_teardown(test_a_walk_ends_when_told, intake_begin, intake_finish),
		cmocka_unit_test_setup_teardown(test_settling, intake_begin, intake_finish),
		cmocka_unit_test_setup_teardown(test_a_row_is_asked_for_its_state, intake_begin, intake_finish),
		cmocka_unit_test_setup_teardown(test_what_is_held_stands_apart, intake_begin, intake_finish),
		cmocka_unit_test_setup_teardown(test_deleting, intake_begin, intake_finish),
		cmocka_unit_test_setup_teardown(test_damaged_rows_are_skipped, intake_begin, intake_finish),
		cmocka_unit_test_setup_teardown(test_sizes, intake_begin, intake_finish),
		cmocka_unit_test_setup_teardown(test_old_rows_are_swept, intake_begin, intake_finish),
		cmocka_unit_test_setup_teardown(test_a_sweep_goes_on_where_it_was, intake_begin, intake_finish),
		cmocka_unit_test_setup_teardown(test_a_sweep_does_not_look_at_young_rows, intake_begin, intake_finish),
		cmocka_unit_test_setup_teardown(test_a_sweep_over_rows_that_cannot_be_read, intake_begin, intake_finish),
		cmocka_unit_test(test_states_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
