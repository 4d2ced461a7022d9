// SPDX-License-Identifier: Apache-2.0
// What golden messages do not show by themselves: every order control with every status, the precedence of times, names of beds and devices, mapping by
// name, which acknowledgements are wanted, limits, and that no patient's data gets into an answer.
#include "adapters/hl7/answer.h"
#include "adapters/hl7/interpret.h"

#include "store_help.h"

#define RECEIVED T0

static struct gw_hl7_in in;
static struct gw_hl7_mapping mapping;
static struct gw_hl7_meaning meaning;
static struct gw_hl7_context context;

static int
begin(void **state)
{
	(void)state;
	gw_hl7_mapping_init(&mapping);
	context = (struct gw_hl7_context){ .mapping = &mapping, .received_us = RECEIVED };
	return 0;
}

static int
finish(void **state)
{
	(void)state;
	gw_hl7_in_fini(&in);
	return 0;
}

static void
set(const char *name, const char *value)
{
	struct gw_why why;

	if (gw_hl7_mapping_set(&mapping, name, gw_span_text(value), &why) != GW_OK)
		fail_msg("%s", why.text);
}

static const struct gw_patient_event *
understand(const char *message)
{
	struct gw_why why;

	if (gw_hl7_parse(&in, gw_span_text(message), NULL, &why) != GW_OK)
		fail_msg("%s", why.text);
	gw_hl7_interpret(&in, &context, &meaning);
	return meaning.count > 0 ? &meaning.events[0] : NULL;
}

// ---- Orders ----

// '+' begins or goes on, '-' ends, '.' nothing. Columns: ORC-5 empty, A, IP, SC, HD, CM, CA, DC, RP, ER.
static const char *const statuses[] = { "", "A", "IP", "SC", "HD", "CM", "CA", "DC", "RP", "ER" };
static const struct { const char *control, *verbs; } orders[] = {
	{ "NW", "++++-----+" }, { "SN", "++++-----+" }, { "PA", "++++-----+" }, { "CH", "++++-----+" }, { "RO", "++++-----+" },
	{ "CA", "----------" }, { "DC", "----------" }, { "HD", "----------" }, { "OC", "----------" }, { "OD", "----------" }, { "CR", "----------" },
	{ "RL", "+++++----+" }, { "RE", "+++++----+" }, { "OE", "+++++----+" },
	{ "XO", "++++-----+" }, { "XX", "++++-----+" }, { "SC", "++++-----+" }, { "RP", "++++-----+" }, { "RU", "++++-----+" },
	{ "OK", ".........." }, { "UA", ".........." }, { "SR", ".........." }, { "NA", ".........." }, { "??", ".........." },
};

static void
test_order_control_and_status(void **state)
{
	(void)state;
	set("services", "M1");
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
		for (size_t k = 0; k < sizeof(statuses) / sizeof(statuses[0]); k++) {
			char message[512], found;
			const struct gw_patient_event *event;

			snprintf(message, sizeof(message), "MSH|^~\\&|A|F|V|F|20261120||ORM^O01|1|P|2.5\rPID|||7\rPV1||I|U^^1\rORC|%s|P1|||%s\rOBR|1|P1||M1",
			    orders[i].control, statuses[k]);
			event = understand(message);
			found = event == NULL ? '.' : event->verb == GW_PATIENT_ASSOCIATE ? '+' : event->verb == GW_PATIENT_DISSOCIATE ? '-' : '?';
			if (found != orders[i].verbs[k] || meaning.means == GW_HL7_MEANS_FAULT)
				fail_msg("%s with %s: %c", orders[i].control, statuses[k], found);
		}
}

static void
test_no_service_no_order(void **state)
{
	static const char message[] = "MSH|^~\\&|A|F|V|F|20261120||ORM^O01|1|P|2.5\rPID|||7\rPV1||I|U^^1\rORC|NW|P1\rOBR|1|P1||M1^x^L^M2^y^SCT";

	(void)state;
	assert_null(understand(message));
	assert_int_equal(meaning.means, GW_HL7_MEANS_NOTHING);
	set("services", "M1^LN, M2^LN");
	assert_null(understand(message));
	set("services", "M1^L");
	assert_non_null(understand(message));
	set("services", "M2^SCT");
	assert_non_null(understand(message));
	set("services", "");
	assert_null(understand(message));
}

static void
test_order_without_orc(void **state)
{
	(void)state;
	set("services", "M1");
	assert_null(understand("MSH|^~\\&|A|F|V|F|20261120||ORM^O01|1|P|2.5\rPID|||7\rPV1||I|U^^1\rOBR|1|P1||M1"));
	assert_int_equal(meaning.means, GW_HL7_MEANS_FAULT);
	assert_string_equal(meaning.fault.segment, "ORC");
	assert_null(understand("MSH|^~\\&|A|F|V|F|20261120||ORM^O01|1|P|2.5\rPID|||7\rPV1||I|U^^1\rORC||P1\rOBR|1|P1||M1"));
	assert_int_equal(meaning.fault.code, 101);
}

// ---- Times ----

static int64_t
minute(int n)
{
	return T0 - T0 % INT64_C(3600000000) + n * INT64_C(60000000);
}

static void
test_precedence_of_times(void **state)
{
	const struct { const char *trigger, *zbe, *evn6, *pv1_44, *evn2; int at; } rows[] = {
		{ "A01", "2026112008010", "", "", "", -1 }, // no time at all
		{ "A01", "202611200801", "202611200802", "202611200803", "202611200804", 1 },
		{ "A01", "", "202611200802", "202611200803", "202611200804", 2 },
		{ "A01", "", "", "202611200803", "202611200804", 3 },
		{ "A01", "", "", "", "202611200804", 4 },
		{ "A01", "", "", "", "", 5 },
		{ "A04", "", "", "202611200803", "202611200804", 3 },
		{ "A02", "", "", "202611200803", "202611200804", 4 }, // PV1-44 only for an admission
		{ "A03", "", "", "202611200803", "202611200804", 4 },
		{ "A03", "202611200801", "202611200802", "", "202611200804", 1 },
		{ "A08", "202611200801", "202611200802", "202611200803", "202611200804", 5 }, // the message's own
		{ "A01", "\"\"", "20261120", "", "202611200804", 4 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char message[512];
		const struct gw_patient_event *event;

		snprintf(message, sizeof(message), "MSH|^~\\&|A|F|V|F|202611200805||ADT^%s|1|P|2.5\rEVN||%s||||%s\rPID|||7\r"
		    "PV1||I|U^^1|||||||||||||||||||||||||||||||||||||||||%s\rZBE|1|%s\r", rows[i].trigger, rows[i].evn2, rows[i].evn6, rows[i].pv1_44, rows[i].zbe);
		event = understand(message);
		if (rows[i].at < 0) {
			assert_string_equal(meaning.fault.segment, "ZBE");
			continue;
		}
		assert_non_null(event);
		if (event->time_us != minute(rows[i].at))
			fail_msg("row %zu: minute %lld", i, (long long)((event->time_us - minute(0)) / 60000000));
	}
	assert_int_equal(understand("MSH|^~\\&|A|F|V|F|||ADT^A03|1|P|2.5\rPID|||7\r")->time_us, RECEIVED);
	set("times", "PV1-45");
	assert_int_equal(understand("MSH|^~\\&|A|F|V|F|202611200805||ADT^A03|1|P|2.5\rPID|||7\rPV1||I|U^^1||||||||||||||||||||||||||||||||||||||||||"
	    "202611200801\r")->time_us, minute(1));
}

static void
test_when_it_was_said(void **state)
{
	static const struct { const char *msh_7; int64_t told_us; } rows[] = {
		{ "20261120081459.5+0000", T0 - 500000 }, { "20261120081459", T0 - 1000000 }, { "202611200814", T0 }, { "", T0 }, { "20991120081459+0000", T0 },
		{ "junk", T0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char message[256];

		snprintf(message, sizeof(message), "MSH|^~\\&|A|F|V|F|%s||ADT^A03|1|P|2.5\rEVN||202611200801\rPID|||7\r", rows[i].msh_7);
		assert_int_equal(understand(message)->told_us, rows[i].told_us);
	}
}

// ---- Beds, identifiers ----

static void
check_bed(const char *pv1_3, const char *bed)
{
	char message[512];

	snprintf(message, sizeof(message), "MSH|^~\\&|A|F|V|F|202611200805||ADT^A03|1|P|2.5\rPID|||7\rPV1||I|%s\r", pv1_3);
	assert_non_null(understand(message));
	if (!gw_span_is(meaning.events[0].bed, bed))
		fail_msg("%s is \"%.*s\"", pv1_3, GW_SPAN_FMT(meaning.events[0].bed));
}

static void
test_names_of_beds(void **state)
{
	(void)state;
	check_bed("ICU^2^12^HAUS&1.2&ISO^^B", "ICU^2^12^HAUS");
	check_bed("ICU^^12", "ICU^^12");
	check_bed("ICU^2^12^", "ICU^2^12");
	check_bed("^^12", "^^12");
	check_bed("ICU\\T\\N^^1\\S\\2", "ICU&N^^1^2");
	check_bed("ICU^2^\"\"", "");
	check_bed("ICU^2", "");
	check_bed("\"\"", "");
	set("bed_needs", "0");
	check_bed("ICU^2", "ICU^2");
	check_bed("ICU", "ICU");
	set("bed_components", "3");
	check_bed("ICU^2^12^HAUS", "^^12");
	set("bed", "PV1-3.3");
	check_bed("ICU^2^12^HAUS", "12");
}

static void
test_what_is_too_long(void **state)
{
	static const struct { const char *before, *after; size_t fits; } rows[] = {
		{ "PID|||", "", 64 }, { "PID|||7^^^", "", 64 }, { "PID|||7\rPV1|||||||||||||||||||", "^x", 64 }, { "PID|||7\rPV1|||", "^^1", GW_BED_MAX - 3 },
		{ "PID|||7|||||||||||||||", "", 64 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t more = 0; more <= 1; more++) {
			char message[512], text[200];

			memset(text, 'x', sizeof(text));
			text[rows[i].fits + more] = '\0';
			snprintf(message, sizeof(message), "MSH|^~\\&|A|F|V|F|1999||ADT^A03|1|P|2.5\r%s%s%s\r", rows[i].before, text, rows[i].after);
			understand(message);
			assert_int_equal(meaning.means, more == 0 ? GW_HL7_MEANS_EVENTS : GW_HL7_MEANS_FAULT);
			if (more == 1)
				assert_int_equal(meaning.fault.code, 102);
		}
}

static void
test_more_than_its_share(void **state)
{
	char message[4096], *at = message;
	const struct gw_patient_event *event;

	(void)state;
	at += sprintf(at, "MSH|^~\\&|A|F|V|F|1999||ADT^A03|1|P|2.5\rPID|||1");
	for (int i = 2; i <= 40; i++)
		at += sprintf(at, "~%d", i);
	event = understand(message);
	assert_non_null(event);
	assert_int_equal(event->person.identifier_count, GW_IDENTIFIERS_MAX);
	at = message + sprintf(message, "MSH|^~\\&|A|F|V|F|1999||ADT^A40|1|P|2.5");
	for (int i = 0; i < 17; i++)
		at += sprintf(at, "\rPID|||%d\rMRG|%d", i, i + 100);
	assert_null(understand(message));
	assert_int_equal(meaning.fault.code, 207);
}

// ---- Devices ----

static void
test_names_of_devices(void **state)
{
	static const struct { uint64_t eui64; const char *name, *id; } rows[] = {
		{ 0x231A8456B1CB2366, "", "mon-1" }, { 0x231A8456B1CB2366, "mon-1", "mon-1" }, { 0x231A8456B1CB2366, "MON5588", "mon-1" }, { 0, "mon-1", "mon-1" },
		{ 0, "S1", "mon-1" }, { 0, "A1", "pump-2" }, { 1, "pump-2", "pump-2" },
		{ 0x231A8456B1CB2366, "pump-2", NULL }, // two that contradict each other
		{ 1, "mon-1", NULL },                    // called so, but another
		{ 0, "SAME", NULL }, { 0, "", NULL }, { 7, "", NULL }, { 0, "nobody", NULL },
	};
	struct gw_journal *journal = store_open();
	struct gw_intake_options options = { .journal = journal, .group_bytes_max = 4u << 20, .group_tickets_max = 64 };
	struct gw_intake *intake;
	struct gw_registry *registry;
	const struct gw_snapshot *snapshot;
	struct gw_device devices[] = {
		{ .id = "mon-1", .eui64 = 0x231A8456B1CB2366, .serial = "S1" }, { .id = "pump-2", .asset = "A1", .serial = "SAME" }, { .id = "pump-3", .serial = "SAME" },
	};

	(void)state;
	assert_int_equal(gw_intake_open(&options, &intake, NULL), GW_OK);
	assert_int_equal(gw_registry_open(journal, intake, &registry, NULL), GW_OK);
	assert_int_equal(gw_registry_add_many(registry, devices, 3, NULL), GW_OK);
	snapshot = gw_snapshot_get(registry);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct gw_span id = { 0 };
		bool found = gw_hl7_find_device((void *)(uintptr_t)snapshot, rows[i].eui64, gw_span_text(rows[i].name), &id);

		if (found != (rows[i].id != NULL) || (found && !gw_span_is(id, rows[i].id)))
			fail_msg("row %zu", i);
	}
	gw_snapshot_put(snapshot);
	gw_registry_close(registry);
	gw_intake_stop(intake);
	gw_intake_close(intake);
	gw_journal_close(journal);
}

// ---- Mapping ----

static void
test_mapping_by_name(void **state)
{
	static const char *const names[] = { "patient", "prior_patient", "visit", "class", "account", "bed", "prior_bed", "order_device", "association_device", "times",
		"admission_times", "update_times", "order_times", "association_times", "dissociation_times" };
	static const struct { const char *name, *value; enum gw_error error; } rows[] = {
		{ "bogus", "PID-3", GW_E_NOT_FOUND }, { "patient", "PID", GW_E_CONFIG }, { "bed_needs", "5", GW_E_CONFIG }, { "bed_needs", "", GW_E_CONFIG },
		{ "bed_components", "5", GW_E_CONFIG }, { "bed_components", "", GW_E_CONFIG }, { "processing", "", GW_E_CONFIG }, { "processing", "PTDABCDE", GW_E_CONFIG },
		{ "services", "012345678901234567890123456789012", GW_E_CONFIG }, { "patient_not", "AN,01234567890123456", GW_E_CONFIG },
	};
	struct gw_why why;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		set(names[i], "ZZZ-1.2");
	assert_int_equal(mapping.dissociation_times.count, 1);
	assert_int_equal(mapping.patient.path[0].component, 2);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		why.text[0] = '\0';
		assert_int_equal(gw_hl7_mapping_set(&mapping, rows[i].name, gw_span_text(rows[i].value), &why), rows[i].error);
		assert_true(why.text[0] != '\0');
	}
	set("patient", "ZPI-2");
	set("bed", "ZPI-3.1");
	understand("MSH|^~\\&|A|F|V|F|1999||ADT^A03|1|P|2.5\rPID|||7\rZPI||42^^^X|bed 9\r");
	assert_true(gw_span_is(meaning.events[0].person.identifiers[0].id, "42"));
	assert_true(gw_span_is(meaning.events[0].bed, "bed 9"));
}

// Whose number it is: a person's, unless the site says otherwise.
static void
test_identifiers_of_no_person(void **state)
{
	static const char message[] = "MSH|^~\\&|A|F|V|F|1999||ADT^A03|1|P|2.5\rPID|||1^^^F^AN~2^^^F^MR~3^^^F^VN\r";
	static const struct { const char *patient, *patient_not, *ids; } rows[] = {
		{ "PID-3", NULL, "2" }, { "PID-3", "", "123" }, { "PID-3", "MR, VN", "1" }, { "PID-3(AN)", NULL, "1" }, { "PID-3[3]", NULL, "3" }, { "PID-3.1", NULL, "2" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char ids[8] = "";

		gw_hl7_mapping_init(&mapping);
		set("patient", rows[i].patient);
		if (rows[i].patient_not != NULL)
			set("patient_not", rows[i].patient_not);
		understand(message);
		for (size_t k = 0; k < meaning.events[0].person.identifier_count; k++)
			strncat(ids, (const char *)meaning.events[0].person.identifiers[k].id.at, 1);
		assert_string_equal(ids, rows[i].ids);
	}
}

// ---- Answers ----

static void
test_wanted(void **state)
{
	static const struct { const char *type, *accept, *application; bool enhanced, ca, aa, ca_failed, aa_failed; } rows[] = {
		{ "ADT^A01", "", "", false, false, true, false, true },
		{ "ADT^A01", "AL", "NE", true, true, false, true, false },
		{ "ADT^A01", "NE", "AL", true, false, true, false, true },
		{ "ADT^A01", "AL", "AL", true, true, true, true, true },
		{ "ADT^A01", "ER", "SU", true, false, true, true, false },
		{ "ADT^A01", "SU", "ER", true, true, false, false, true },
		{ "ADT^A01", "NE", "NE", true, false, false, false, false },
		{ "ADT^A01", "AL", "", true, true, false, true, false },
		{ "ACK^A01", "", "", false, false, false, false, false },
		{ "ACK^A01", "AL", "NE", true, true, false, true, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct gw_hl7_wanted taken, failed;
		char message[128];

		snprintf(message, sizeof(message), "MSH|^~\\&|A|F|V|F|1999||%s|1|P|2.5|||%s|%s\r", rows[i].type, rows[i].accept, rows[i].application);
		understand(message);
		taken = gw_hl7_wanted(&in, GW_HL7_TAKEN);
		failed = gw_hl7_wanted(&in, GW_HL7_REJECTED);
		if (taken.enhanced != rows[i].enhanced || taken.accept != rows[i].ca || taken.application != rows[i].aa || failed.accept != rows[i].ca_failed ||
		    failed.application != rows[i].aa_failed)
			fail_msg("row %zu", i);
	}
}

static void
test_answer_to_what_is_not_hl7(void **state)
{
	const struct gw_hl7_answer_options options = { .control_id = "VG1", .now_us = T0, .application = "VG", .facility = "ICU" };
	struct gw_hl7_out out = { 0 };
	enum gw_hl7_outcome outcome;
	struct gw_hl7_fault fault;
	struct gw_why why;

	(void)state;
	fault = gw_hl7_fault_of(gw_hl7_parse(&in, gw_span_text("GET / HTTP/1.0"), NULL, &why), &why, &outcome);
	assert_int_equal(outcome, GW_HL7_REJECTED);
	gw_hl7_answer(&in, outcome, &fault, &options, &out);
	gw_hl7_put_bytes(&out, gw_span("", 1));
	assert_string_equal((char *)out.at, "MSH|^~\\&|VG|ICU|||20261120081500+0000||ACK|VG1|P|2.5\rMSA|AR|\r"
	    "ERR|||100^Segment sequence error^HL70357|E|||not HL7 v2: the message does not begin with MSH|not HL7 v2: the message does not begin with MSH\r");
	gw_hl7_out_fini(&out);
}

static void
test_faults_of_the_gateway(void **state)
{
	static const struct { enum gw_error error; unsigned code; enum gw_hl7_outcome outcome; } rows[] = {
		{ GW_E_NOT_FOUND, 204, GW_HL7_FAILED }, { GW_E_EXISTS, 205, GW_HL7_FAILED }, { GW_E_ARGUMENT, 102, GW_HL7_FAILED }, { GW_E_FULL, 207, GW_HL7_FAILED },
		{ GW_E_BUSY, 207, GW_HL7_FAILED }, { GW_E_FORMAT, 100, GW_HL7_REJECTED }, { GW_E_TOO_LARGE, 207, GW_HL7_REJECTED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum gw_hl7_outcome outcome;
		struct gw_hl7_fault fault = gw_hl7_fault_of(rows[i].error, NULL, &outcome);

		assert_int_equal(fault.code, rows[i].code);
		assert_int_equal(outcome, rows[i].outcome);
		assert_string_equal(fault.why.text, gw_error_text(rows[i].error));
	}
}

// Each field of the patient's is made wrong in turn; nothing of it comes back.
static void
test_no_patient_in_an_answer(void **state)
{
	static const char *const messages[] = {
		"MSH|^~\\&|A|F|V|F|1999||ADT^A02|1|P|2.5\rPID|||SECRET^^^SECRET||SECRET^SECRET||SECRET|SECRET\rPV1||SECRET||||SECRET^^1\r",
		"MSH|^~\\&|A|F|V|F|1999||ADT^A01|1|P|2.4\rEVN||SECRET\rPID|||SECRET||SECRET\rPV1||I|SECRET^^1\r",
		"MSH|^~\\&|A|F|V|F|1999||ADT^A40|1|P|2.5\rPID|||SECRET||SECRET\r",
		"MSH|^~\\&|A|F|V|F|1999||ADT^A01|1|P|2.5\rPID||||SECRET|SECRET\r",
	};
	const struct gw_hl7_answer_options options = { .control_id = "VG1", .now_us = T0 };

	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		struct gw_hl7_out out = { 0 };

		understand(messages[i]);
		assert_int_equal(meaning.means, GW_HL7_MEANS_FAULT);
		gw_hl7_answer(&in, GW_HL7_FAILED, &meaning.fault, &options, &out);
		assert_null(memmem(out.at, out.len, "SECRET", 6));
		assert_null(strstr(meaning.fault.why.text, "SECRET"));
		gw_hl7_out_fini(&out);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_order_control_and_status, begin),
		cmocka_unit_test_setup(test_no_service_no_order, begin),
		cmocka_unit_test_setup(test_order_without_orc, begin),
		cmocka_unit_test_setup(test_precedence_of_times, begin),
		cmocka_unit_test_setup(test_when_it_was_said, begin),
		cmocka_unit_test_setup(test_names_of_beds, begin),
		cmocka_unit_test_setup(test_what_is_too_long, begin),
		cmocka_unit_test_setup(test_more_than_its_share, begin),
		cmocka_unit_test_setup_teardown(test_names_of_devices, store_make, store_remove),
		cmocka_unit_test_setup(test_mapping_by_name, begin),
		cmocka_unit_test_setup(test_identifiers_of_no_person, begin),
		cmocka_unit_test_setup(test_wanted, begin),
		cmocka_unit_test_setup(test_answer_to_what_is_not_hl7, begin),
		cmocka_unit_test_setup(test_faults_of_the_gateway, begin),
		cmocka_unit_test_setup(test_no_patient_in_an_answer, begin),
	};

	return cmocka_run_group_tests(tests, NULL, finish);
}
