// SPDX-License-Identifier: Apache-2.0
// One message from bytes to tickets and answer: what is applied, kept, remembered and said.
#include "tests/unit/hl7_in_help.h"

#define YAML HUB_YAML("    - {name: adt, addresses: [10.0.0.0/8], zone: Europe/Berlin}\n" \
	"    - {name: orders, addresses: [10.0.0.1], zone: UTC, orr: true, charset: 8859/1, fields: {services: MON}}\n", "")

struct scene {
	struct gw_hl7_in_settings settings;
	struct gw_hl7_seen *seen;
	struct gw_hl7_take *take;
	struct gw_source source;
	struct gw_hl7_request request;
	char answer[8192];
	enum gw_error result;
};

static struct scene *
open_scene(void)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	struct gw_why why = { "" };
	struct gw_hl7_take_options options;

	hub_open(YAML);
	assert_non_null(scene);
	if (gw_hl7_in_settings_make(hub_config, &scene->settings, &why) != GW_OK ||
	    gw_hl7_seen_open(hub.journal, 1000, INT64_C(3600000000), &scene->seen, &why) != GW_OK)
		fail_msg("%s", why.text);
	options = (struct gw_hl7_take_options){ .registry = hub.registry, .patients = hub.patients, .seen = scene->seen, .settings = &scene->settings };
	scene->take = gw_hl7_take_new(&options);
	assert_non_null(scene->take);
	assert_int_equal(gw_source_init(&scene->source, hub.intake, 4), GW_OK);
	return scene;
}

static void
close_scene(struct scene *scene)
{
	gw_hl7_request_fini(&scene->request);
	gw_source_fini(&scene->source);
	gw_hl7_take_free(scene->take);
	gw_hl7_seen_close(scene->seen);
	gw_hl7_in_settings_fini(&scene->settings);
	free(scene);
	hub_close();
}

// With a result of the commit that is made up, where it is not GW_OK: nothing is stored then.
static enum gw_hl7_kind
send_to(struct scene *scene, const char *peer_name, const char *message, enum gw_error result)
{
	const struct gw_hl7_peer *peer = gw_hl7_peer_named(&scene->settings, gw_span_text(peer_name));
	struct gw_ticket *ticket = gw_ticket_get(&scene->source), *after = gw_ticket_get(&scene->source);
	bool both, reload, good;

	gw_hl7_request_reset(&scene->request);
	gw_hl7_take_read(scene->take, peer, GW_AUTH_NONE, gw_span_text(message), gw_clock_wall_us());
	gw_patients_lock(hub.patients);
	both = gw_hl7_take_apply(scene->take, &scene->request, ticket, after);
	gw_patients_unlock(hub.patients);
	if (result == GW_OK) {
		result = gw_intake_commit(ticket);
		if (both)
			result = gw_intake_commit(after);
	}
	gw_ticket_release(ticket);
	gw_ticket_release(after);
	good = gw_hl7_take_done(scene->take, &scene->request, result, &reload);
	if (reload)
		assert_int_equal(gw_patients_reload(hub.patients), GW_OK);
	if (good && scene->request.answer.len > 0)
		memcpy(scene->answer, scene->request.answer.at, scene->request.answer.len);
	scene->answer[good ? scene->request.answer.len : 0] = '\0';
	return scene->request.kind;
}

static enum gw_hl7_kind
send_it(struct scene *scene, const char *message)
{
	return send_to(scene, "adt", message, GW_OK);
}

#define assert_says(scene, text) assert_non_null(strstr((scene)->answer, text))
#define assert_says_not(scene, text) assert_null(strstr((scene)->answer, text))

static uint64_t
quarantined(void)
{
	struct gw_journal_stats stats;

	gw_journal_stats(hub.journal, &stats);
	return stats.quarantine_count;
}

static bool
is_known(const char *id)
{
	struct gw_patient patient;

	for (uint64_t n = 0; n < 300; n++)
		if (gw_patients_get(hub.patients, n, &patient))
			for (size_t i = 0; i < patient.identifier_count; i++)
				if (strcmp(patient.identifiers[i].id, id) == 0)
					return true;
	return false;
}

static bool
is_merged(const char *id)
{
	struct gw_patient patient;

	for (uint64_t n = 0; n < 300; n++)
		if (gw_patients_get(hub.patients, n, &patient) && patient.merged && patient.identifier_count > 0 && strcmp(patient.identifiers[0].id, id) == 0)
			return true;
	return false;
}

static void
test_taken_once(void **state)
{
	struct scene *scene = open_scene();
	uint64_t last;

	(void)state;
	assert_int_equal(send_it(scene, MSH("ADT^A01", "1") PID("77") PV1("3")), GW_HL7_TOOK);
	assert_says(scene, "\x0bMSH|^~\\&|VG|H|ADT1|KLINIK|");
	assert_says(scene, "\rMSA|AA|1\r\x1c\r");
	assert_true(is_known("77"));
	last = gw_journal_last(hub.journal);
	assert_true(last > 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(send_it(scene, MSH("ADT^A01", "1") PID("77") PV1("3")), GW_HL7_AGAIN);
		assert_says(scene, "\rMSA|AA|1\r");
	}
	assert_true(gw_journal_last(hub.journal) == last);
	// The same id from another peer, and with other content, is another message.
	assert_int_equal(send_to(scene, "orders", MSH("ADT^A01", "1") PID("77") PV1("3"), GW_OK), GW_HL7_TOOK);
	assert_int_equal(send_it(scene, MSH("ADT^A01", "1") PID("78") PV1("4")), GW_HL7_TOOK);
	assert_true(is_known("78"));
	close_scene(scene);
}

static void
test_a_bad_one_is_kept_once_and_answered_each_time(void **state)
{
	struct scene *scene = open_scene();

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(send_it(scene, MSH("ADT^A01", "1") "\rPID|1||\rPV1|1|I|ICU^^3\r"), GW_HL7_REFUSED);
		assert_says(scene, "\rMSA|AE|1\r");
		assert_says(scene, "\rERR||PID^1^3|101^");
		assert_int_equal(quarantined(), 1);
	}
	assert_int_equal(send_it(scene, "what is this?"), GW_HL7_REFUSED);
	assert_says(scene, "\rMSA|AR|");
	assert_int_equal(quarantined(), 2);
	assert_int_equal(send_it(scene, "MSH|^~\\&|A|B|C|D|2026||ADT^A01|9|P|3.0\r"), GW_HL7_REFUSED);
	assert_says(scene, "\rMSA|AR|9");
	assert_int_equal(quarantined(), 3);
	close_scene(scene);
}

static void
test_what_is_not_for_us_is_accepted_and_recorded(void **state)
{
	struct scene *scene = open_scene();
	static const char *const messages[] = {
		MSH("ADT^A60", "1") PID("77") "\r", MSH("MDM^T02", "2") "\r", MSH("ORM^O01", "3") PID("77") "\rORC|NW|1\rOBR|1|1||XRAY\r", MSH("SIU^S12", "4") "\r",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		uint64_t last = gw_journal_last(hub.journal);

		assert_int_equal(send_it(scene, messages[i]), GW_HL7_UNUSED);
		assert_says(scene, "\rMSA|AA|");
		assert_true(gw_journal_last(hub.journal) == last + 1);
		assert_int_equal(send_it(scene, messages[i]), GW_HL7_AGAIN);
		assert_true(gw_journal_last(hub.journal) == last + 1);
	}
	assert_int_equal(quarantined(), 0);
	// Where there is no room to record it, it blocks nothing all the same.
	assert_int_equal(send_to(scene, "adt", MSH("ADT^A60", "9") PID("77") "\r", GW_E_FULL), GW_HL7_UNUSED);
	assert_says(scene, "\rMSA|AA|9");
	close_scene(scene);
}

#define WANTS(id, accept, application) "MSH|^~\\&|ADT1|K|VG|H|20261120101500+0000||ADT^A01|" id "|P|2.6|||" accept "|" application
#define GOOD PID("77") PV1("3")
#define BAD "\rPID|1||\rPV1|1|I|ICU^^3\r"

static void
test_enhanced_mode(void **state)
{
	static const struct { const char *message; const char *first, *second; } table[] = {
		{ WANTS("1", "AL", "NE") GOOD, "MSA|CA|1", NULL },
		{ WANTS("2", "NE", "AL") GOOD, "MSA|AA|2", NULL },
		{ WANTS("3", "AL", "AL") GOOD, "MSA|CA|3", "MSA|AA|3" },
		{ WANTS("4", "NE", "NE") GOOD, NULL, NULL },
		{ WANTS("5", "ER", "SU") GOOD, "MSA|AA|5", NULL },
		{ WANTS("6", "AL", "NE") BAD, "MSA|CE|6", NULL },
		{ WANTS("7", "AL", "AL") BAD, "MSA|CA|7", "MSA|AE|7" }, // it is kept, in quarantine
		{ WANTS("8", "NE", "ER") BAD, "MSA|AE|8", NULL },
		{ WANTS("9", "SU", "NE") BAD, NULL, NULL },
	};
	struct scene *scene = open_scene();

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *first, *second;

		(void)send_it(scene, table[i].message);
		first = table[i].first != NULL ? strstr(scene->answer, table[i].first) : NULL;
		second = table[i].second != NULL ? strstr(scene->answer, table[i].second) : NULL;
		assert_true((first == NULL) == (table[i].first == NULL));
		assert_true((second == NULL) == (table[i].second == NULL) && (second == NULL || second > first));
		if (first == NULL)
			assert_string_equal(scene->answer, "");
		else if (second == NULL)
			assert_null(strstr(first + 1, "\rMSA|"));
	}
	close_scene(scene);
}

static void
test_what_was_not_stored_is_told_later_and_taken_then(void **state)
{
	struct scene *scene = open_scene();

	(void)state;
	assert_int_equal(send_to(scene, "adt", MSH("ADT^A01", "1") PID("77") PV1("3"), GW_E_FULL), GW_HL7_LATER);
	assert_says(scene, "\rMSA|AE|1\r");
	assert_says(scene, "|207^");
	assert_false(is_known("77"));
	assert_int_equal(send_to(scene, "adt", MSH("ADT^A01", "2") BAD, GW_E_FULL), GW_HL7_LATER);
	assert_says(scene, "|207^");
	// In enhanced mode it was not accepted, so nothing follows.
	assert_int_equal(send_to(scene, "adt", WANTS("3", "AL", "AL") GOOD, GW_E_FULL), GW_HL7_LATER);
	assert_says(scene, "\rMSA|CE|3\r");
	assert_says_not(scene, "MSA|A");
	// A store that broke or stops says nothing: the sender comes again.
	(void)send_to(scene, "adt", MSH("ADT^A01", "4") PID("77") PV1("3"), GW_E_SYNC);
	assert_string_equal(scene->answer, "");
	assert_int_equal(send_it(scene, MSH("ADT^A01", "1") PID("77") PV1("3")), GW_HL7_TOOK);
	assert_says(scene, "\rMSA|AA|1\r");
	assert_true(is_known("77"));
	// Quarantine is full: refused with what is wrong, so that it does not come for ever.
	assert_int_equal(send_to(scene, "adt", MSH("ADT^A01", "5") BAD, GW_E_QUOTA), GW_HL7_REFUSED);
	assert_says(scene, "|101^");
	close_scene(scene);
}

// Behind a first one that failed there is no second one that was taken.
static void
test_the_same_message_twice_under_way(void **state)
{
	struct scene *scene = open_scene();
	const struct gw_hl7_peer *peer = gw_hl7_peer_named(&scene->settings, gw_span_text("adt"));
	struct gw_hl7_request first = { 0 }, second = { 0 };
	struct gw_ticket *tickets[2] = { gw_ticket_get(&scene->source), gw_ticket_get(&scene->source) }, *after = gw_ticket_get(&scene->source);
	struct gw_span message = gw_span_text(MSH("ADT^A01", "1") PID("77") PV1("3"));
	bool reload;

	(void)state;
	for (int i = 0; i < 2; i++) {
		gw_hl7_take_read(scene->take, peer, GW_AUTH_NONE, message, gw_clock_wall_us());
		gw_patients_lock(hub.patients);
		assert_false(gw_hl7_take_apply(scene->take, i == 0 ? &first : &second, tickets[i], after));
		gw_patients_unlock(hub.patients);
	}
	assert_int_equal(second.kind, GW_HL7_AGAIN);
	assert_int_equal(tickets[1]->ops_len, 0);
	assert_true(gw_hl7_take_done(scene->take, &first, GW_E_FULL, &reload) && reload);
	assert_true(gw_hl7_take_done(scene->take, &second, GW_OK, &reload) && !reload);
	assert_int_equal(second.kind, GW_HL7_LATER);
	assert_non_null(memmem(second.answer.at, second.answer.len, "MSA|AE|1", 8));
	for (int i = 0; i < 2; i++)
		gw_ticket_release(tickets[i]);
	gw_ticket_release(after);
	gw_hl7_request_fini(&first);
	gw_hl7_request_fini(&second);
	close_scene(scene);
}

static void
test_orders_by_orr_and_in_another_set(void **state)
{
	struct scene *scene = open_scene();

	(void)state;
	assert_int_equal(send_to(scene, "orders", MSH("ORM^O01", "1") "\rPID|1||77^^^K^PI||M\xfcller\rPV1|1|I|ICU^^3\rORC|NW|P1\rOBR|1|P1||MON\r", GW_OK), GW_HL7_TOOK);
	assert_says(scene, "|ORR^O02");
	assert_says(scene, "\rORC|OK|P1");
	assert_int_equal(send_to(scene, "orders", MSH("ADT^A08", "2") "\rPID|1||77^^^K^PI||M\xfcller\rPV1|1|I|ICU^^3\r", GW_OK), GW_HL7_TOOK);
	assert_says(scene, "|ACK^A08");
	close_scene(scene);
}

static void
test_answers_are_not_answered(void **state)
{
	struct scene *scene = open_scene();

	(void)state;
	assert_int_equal(send_it(scene, MSH("ACK", "1") "\rMSA|CA|0815\r"), GW_HL7_IS_ANSWER);
	assert_string_equal(scene->answer, "");
	assert_int_equal(gw_journal_last(hub.journal), 0);
	close_scene(scene);
}

// A merge of two groups, of which the second is refused: what holds by itself is applied, the message is in quarantine, and again it does no more.
static void
test_part_of_a_message_is_refused_by_the_model(void **state)
{
	static const char message[] = MSH("ADT^A40", "1") "\rPID|1||1^^^KLINIK^PI\rMRG|2^^^KLINIK^PI\rPID|2||3^^^KLINIK^PI\rMRG|4^^^KLINIK^PI\r";
	struct scene *scene = open_scene();
	uint64_t last = 0;

	(void)state;
	gw_patients_configure(hub.patients, &(struct gw_patients_options){ .patients_max = 3 });
	assert_int_equal(send_it(scene, MSH("ADT^A01", "a") PID("1") PV1("1")), GW_HL7_TOOK);
	assert_int_equal(send_it(scene, MSH("ADT^A01", "b") PID("2") PV1("2")), GW_HL7_TOOK);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(send_it(scene, message), GW_HL7_REFUSED);
		assert_says(scene, "\rMSA|AE|1");
		assert_says(scene, "|207^");
		assert_int_equal(quarantined(), 1);
		if (i == 1)
			assert_true(gw_journal_last(hub.journal) == last);
		last = gw_journal_last(hub.journal);
	}
	// The part that was applied is stored, not only remembered.
	assert_int_equal(gw_patients_reload(hub.patients), GW_OK);
	assert_true(is_merged("2"));
	// When there is room it is taken whole.
	gw_patients_configure(hub.patients, &(struct gw_patients_options){ 0 });
	assert_int_equal(send_it(scene, message), GW_HL7_TOOK);
	assert_says(scene, "\rMSA|AA|1");
	assert_true(is_merged("4"));
	close_scene(scene);
}

static void
test_an_identifier_of_somebody_else(void **state)
{
	struct scene *scene = open_scene();

	(void)state;
	assert_int_equal(send_it(scene, MSH("ADT^A01", "a") PID("1") PV1("1")), GW_HL7_TOOK);
	assert_int_equal(send_it(scene, MSH("ADT^A01", "b") PID("2") PV1("2")), GW_HL7_TOOK);
	assert_int_equal(send_it(scene, MSH("ADT^A47", "c") "\rPID|1||1^^^KLINIK^PI\rMRG|2^^^KLINIK^PI\r"), GW_HL7_REFUSED);
	assert_says(scene, "\rMSA|AE|c");
	assert_says(scene, "\rERR||PID^1^3|205^");
	close_scene(scene);
}

static void
test_the_head_of_a_large_one(void **state)
{
	struct scene *scene = open_scene();
	const struct gw_hl7_peer *peer = &scene->settings.peers[0];

	(void)state;
	gw_hl7_take_read_head(scene->take, peer, GW_AUTH_NONE, gw_span_text(MSH("MDM^T02", "1") "\rOBX|1|ED|||JVBERi0xLj"), 1);
	assert_int_equal(gw_hl7_take_meaning(scene->take)->means, GW_HL7_MEANS_NOTHING);
	gw_hl7_take_read_head(scene->take, peer, GW_AUTH_NONE, gw_span_text(MSH("ADT^A01", "1") "\rPID|1||77"), 1);
	assert_int_equal(gw_hl7_take_meaning(scene->take)->means, GW_HL7_MEANS_FAULT);
	gw_hl7_take_read_head(scene->take, peer, GW_AUTH_NONE, gw_span_text("xxxxxxxxxxxxxxxxxxxxx"), 1);
	assert_int_equal(gw_hl7_take_meaning(scene->take)->means, GW_HL7_MEANS_FAULT);
	close_scene(scene);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_taken_once, hub_make_dir, hub_remove_dir),
		cmocka_unit_test_setup_teardown(test_a_bad_one_is_kept_once_and_answered_each_time, hub_make_dir, hub_remove_dir),
		cmocka_unit_test_setup_teardown(test_what_is_not_for_us_is_accepted_and_recorded, hub_make_dir, hub_remove_dir),
		cmocka_unit_test_setup_teardown(test_enhanced_mode, hub_make_dir, hub_remove_dir),
		cmocka_unit_test_setup_teardown(test_what_was_not_stored_is_told_later_and_taken_then, hub_make_dir, hub_remove_dir),
		cmocka_unit_test_setup_teardown(test_the_same_message_twice_under_way, hub_make_dir, hub_remove_dir),
		cmocka_unit_test_setup_teardown(test_orders_by_orr_and_in_another_set, hub_make_dir, hub_remove_dir),
		cmocka_unit_test_setup_teardown(test_answers_are_not_answered, hub_make_dir, hub_remove_dir),
		cmocka_unit_test_setup_teardown(test_part_of_a_message_is_refused_by_the_model, hub_make_dir, hub_remove_dir),
		cmocka_unit_test_setup_teardown(test_an_identifier_of_somebody_else, hub_make_dir, hub_remove_dir),
		cmocka_unit_test_setup_teardown(test_the_head_of_a_large_one, hub_make_dir, hub_remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
