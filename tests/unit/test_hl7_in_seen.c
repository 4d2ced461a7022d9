// SPDX-License-Identifier: Apache-2.0
// What was taken is known again: over a restart, by content, within its bounds.
#include "tests/unit/store_help.h"

#include "adapters/hl7/in_seen.h"

#define HOUR INT64_C(3600000000)

struct scene {
	struct gw_journal *journal;
	struct gw_intake *intake;
	struct gw_source source;
	struct gw_hl7_seen *seen;
};

static void
open_scene(struct scene *scene, uint32_t max, int64_t age_us)
{
	struct gw_why why = { "" };

	*scene = (struct scene){ .journal = store_open() };
	assert_int_equal(gw_intake_open(&(struct gw_intake_options){ .journal = scene->journal }, &scene->intake, &why), GW_OK);
	assert_int_equal(gw_source_init(&scene->source, scene->intake, 4), GW_OK);
	assert_int_equal(gw_hl7_seen_open(scene->journal, max, age_us, &scene->seen, &why), GW_OK);
}

static void
close_scene(struct scene *scene)
{
	gw_hl7_seen_close(scene->seen);
	gw_source_fini(&scene->source);
	gw_intake_stop(scene->intake);
	gw_intake_close(scene->intake);
	gw_journal_close(scene->journal);
}

static struct gw_hl7_seen_key
key_of(const char *peer, const char *id, const char *message)
{
	struct gw_hl7_seen_key key;

	gw_hl7_seen_key(peer, gw_span_text("A"), gw_span_text("F"), gw_span_text(id), gw_span_text(message), &key);
	return key;
}

static uint64_t
add(struct scene *scene, const char *id, const char *message, enum gw_hl7_seen_result result, int64_t now_us)
{
	struct gw_hl7_seen_key key = key_of("p", id, message);
	struct gw_ticket *ticket = gw_ticket_get(&scene->source);
	uint64_t number;

	assert_int_equal(gw_hl7_seen_add(scene->seen, &key, result, now_us, ticket, &number), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	return number;
}

static enum gw_hl7_seen_result
look(struct scene *scene, const char *id, const char *message, bool *reused)
{
	struct gw_hl7_seen_key key = key_of("p", id, message);
	uint64_t number;

	return gw_hl7_seen_look(scene->seen, &key, &number, reused);
}

static bool
count_row(void *arg, struct gw_span key, struct gw_span value)
{
	(void)key, (void)value;
	++*(unsigned *)arg;
	return true;
}

static unsigned
rows(struct scene *scene)
{
	unsigned count = 0;

	assert_int_equal(gw_journal_each(scene->journal, gw_span_text(GW_HL7_SEEN_PREFIX), gw_span("", 0), count_row, &count), GW_OK);
	return count;
}

static void
test_known_again_after_a_restart(void **state)
{
	struct scene scene;
	bool reused;

	(void)state;
	open_scene(&scene, 1000, HOUR);
	assert_int_equal(look(&scene, "1", "one", &reused), GW_HL7_SEEN_NEW);
	add(&scene, "1", "one", GW_HL7_SEEN_TAKEN, T0);
	add(&scene, "2", "two", GW_HL7_SEEN_REFUSED, T0);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(look(&scene, "1", "one", &reused), GW_HL7_SEEN_TAKEN);
		assert_false(reused);
		assert_int_equal(look(&scene, "2", "two", &reused), GW_HL7_SEEN_REFUSED);
		assert_int_equal(look(&scene, "1", "other", &reused), GW_HL7_SEEN_NEW);
		assert_true(reused);
		assert_int_equal(look(&scene, "3", "one", &reused), GW_HL7_SEEN_NEW);
		assert_false(reused);
		close_scene(&scene);
		open_scene(&scene, 1000, HOUR);
	}
	// Numbers go on where they were.
	assert_true(add(&scene, "3", "three", GW_HL7_SEEN_TAKEN, T0) == 3);
	close_scene(&scene);
}

static void
test_whose_message_it_is_counts(void **state)
{
	struct gw_hl7_seen_key a = key_of("p", "1", "m"), b = key_of("q", "1", "m"), c, d;

	(void)state;
	assert_true(a.id != b.id);
	// Fields are told apart where they touch.
	gw_hl7_seen_key("p", gw_span_text("AB"), gw_span_text("C"), gw_span_text("1"), gw_span_text("m"), &c);
	gw_hl7_seen_key("p", gw_span_text("A"), gw_span_text("BC"), gw_span_text("1"), gw_span_text("m"), &d);
	assert_true(c.id != d.id);
}

static void
test_the_oldest_go_beyond_the_count(void **state)
{
	struct scene scene;
	char id[16];

	(void)state;
	open_scene(&scene, 300, HOUR);
	for (int i = 0; i < 1000; i++) {
		snprintf(id, sizeof(id), "%d", i);
		add(&scene, id, "m", GW_HL7_SEEN_TAKEN, T0 + i);
	}
	assert_int_equal(gw_hl7_seen_count(scene.seen), 300);
	assert_int_equal(rows(&scene), 300);
	assert_int_equal(look(&scene, "699", "m", NULL), GW_HL7_SEEN_NEW);
	assert_int_equal(look(&scene, "700", "m", NULL), GW_HL7_SEEN_TAKEN);
	assert_int_equal(look(&scene, "999", "m", NULL), GW_HL7_SEEN_TAKEN);
	close_scene(&scene);
	open_scene(&scene, 300, HOUR);
	assert_int_equal(gw_hl7_seen_count(scene.seen), 300);
	assert_int_equal(look(&scene, "700", "m", NULL), GW_HL7_SEEN_TAKEN);
	close_scene(&scene);
}

static void
test_the_old_go(void **state)
{
	struct scene scene;

	(void)state;
	open_scene(&scene, 1000, HOUR);
	add(&scene, "1", "m", GW_HL7_SEEN_TAKEN, T0);
	add(&scene, "2", "m", GW_HL7_SEEN_TAKEN, T0 + 1);
	add(&scene, "3", "m", GW_HL7_SEEN_TAKEN, T0 + HOUR);
	assert_int_equal(gw_hl7_seen_count(scene.seen), 3);
	add(&scene, "4", "m", GW_HL7_SEEN_TAKEN, T0 + HOUR + 2);
	assert_int_equal(look(&scene, "1", "m", NULL), GW_HL7_SEEN_NEW);
	assert_int_equal(look(&scene, "2", "m", NULL), GW_HL7_SEEN_NEW);
	assert_int_equal(look(&scene, "3", "m", NULL), GW_HL7_SEEN_TAKEN);
	assert_int_equal(rows(&scene), 2);
	close_scene(&scene);
}

static void
test_one_control_id_with_ever_new_content_stays_small(void **state)
{
	struct scene scene;
	char message[16];

	(void)state;
	open_scene(&scene, 100, HOUR);
	add(&scene, "other", "m", GW_HL7_SEEN_TAKEN, T0);
	for (int i = 0; i < 150; i++) {
		snprintf(message, sizeof(message), "%d", i);
		add(&scene, "same", message, GW_HL7_SEEN_TAKEN, T0);
	}
	assert_int_equal(gw_hl7_seen_count(scene.seen), GW_HL7_SEEN_OF_ONE + 1);
	assert_int_equal(rows(&scene), GW_HL7_SEEN_OF_ONE + 1);
	assert_int_equal(look(&scene, "same", "149", NULL), GW_HL7_SEEN_TAKEN);
	assert_int_equal(look(&scene, "other", "m", NULL), GW_HL7_SEEN_TAKEN);
	// Numbers that are gone do not pile up behind one that stays: it goes.
	for (int i = 150; i < 400; i++) {
		snprintf(message, sizeof(message), "%d", i);
		add(&scene, "same", message, GW_HL7_SEEN_TAKEN, T0);
	}
	assert_int_equal(look(&scene, "other", "m", NULL), GW_HL7_SEEN_NEW);
	close_scene(&scene);
	open_scene(&scene, 100, HOUR);
	assert_int_equal(look(&scene, "same", "399", NULL), GW_HL7_SEEN_TAKEN);
	close_scene(&scene);
}

static void
test_a_refused_one_that_is_taken_later(void **state)
{
	struct scene scene;
	uint64_t first, second;

	(void)state;
	open_scene(&scene, 100, HOUR);
	first = add(&scene, "1", "m", GW_HL7_SEEN_REFUSED, T0);
	second = add(&scene, "1", "m", GW_HL7_SEEN_TAKEN, T0);
	assert_false(gw_hl7_seen_has(scene.seen, first));
	assert_true(gw_hl7_seen_has(scene.seen, second));
	assert_int_equal(rows(&scene), 1);
	close_scene(&scene);
	open_scene(&scene, 100, HOUR);
	assert_int_equal(look(&scene, "1", "m", NULL), GW_HL7_SEEN_TAKEN);
	close_scene(&scene);
}

static void
test_what_was_not_stored_was_not_seen(void **state)
{
	struct scene scene;
	uint64_t number;

	(void)state;
	open_scene(&scene, 100, HOUR);
	number = add(&scene, "1", "m", GW_HL7_SEEN_TAKEN, T0);
	gw_hl7_seen_forget(scene.seen, number);
	gw_hl7_seen_forget(scene.seen, number); // once is enough
	gw_hl7_seen_forget(scene.seen, 99);
	assert_false(gw_hl7_seen_has(scene.seen, number));
	assert_int_equal(look(&scene, "1", "m", NULL), GW_HL7_SEEN_NEW);
	assert_int_equal(gw_hl7_seen_count(scene.seen), 0);
	close_scene(&scene);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_known_again_after_a_restart, store_make, store_remove),
		cmocka_unit_test(test_whose_message_it_is_counts),
		cmocka_unit_test_setup_teardown(test_the_oldest_go_beyond_the_count, store_make, store_remove),
		cmocka_unit_test_setup_teardown(test_the_old_go, store_make, store_remove),
		cmocka_unit_test_setup_teardown(test_one_control_id_with_ever_new_content_stays_small, store_make, store_remove),
		cmocka_unit_test_setup_teardown(test_a_refused_one_that_is_taken_later, store_make, store_remove),
		cmocka_unit_test_setup_teardown(test_what_was_not_stored_was_not_seen, store_make, store_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
